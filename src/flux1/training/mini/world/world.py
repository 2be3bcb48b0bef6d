"""The world as a recipe takes it: scenes sampled, drawn, described and written down."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from pydantic import TypeAdapter

from flux1.training.mini.world.captions import caption
from flux1.training.mini.world.compose import compose
from flux1.training.mini.world.drawings import Drawings
from flux1.training.mini.world.sample import Sampler
from flux1.training.mini.world.scenes import Mixture, Scene
from flux1.training.mini.worlds import Caption

_FORM = TypeAdapter(Scene)


@dataclass(frozen=True)
class SceneWorld:
    """Scenes of drawings in places, in the shares of a mixture."""

    drawings: Drawings
    mixture: Mixture

    def to_json(self, scene: Scene) -> str:
        return _FORM.dump_json(scene, exclude_defaults=True).decode()

    def from_json(self, line: str) -> Scene:
        return _FORM.validate_json(line)

    def sample(self, rng: np.random.Generator, size: tuple[int, int]) -> Scene:
        return Sampler(self.drawings, self.mixture, *size).scene(rng)

    def picture(
        self, scene: Scene, size: tuple[int, int], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A scene's pixels; they follow from the scene alone, `rng` is not asked."""
        return compose(scene, self.drawings, *size)

    def caption(self, scene: Scene, rng: np.random.Generator) -> Caption:
        return caption(scene, rng)
