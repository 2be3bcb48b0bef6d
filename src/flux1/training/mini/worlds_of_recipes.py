"""The worlds that a recipe may name: how each is fetched, opened, taught and put into words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flux1.training.mini import scenes, words
from flux1.training.mini.grounding import Lessons
from flux1.training.mini.lessons import SpriteLessons
from flux1.training.mini.scenes import SpriteWorld
from flux1.training.mini.sprites import Sprites, prepare_sprites
from flux1.training.mini.world import scenes as composed
from flux1.training.mini.world.drawings import Drawings, prepare_drawings
from flux1.training.mini.world.lessons import SceneLessons
from flux1.training.mini.world.vocabulary import scene_words
from flux1.training.mini.world.world import SceneWorld
from flux1.training.mini.worlds import World
from flux1.words import Vocabulary

Mixture = Mapping[str, float]


@dataclass(frozen=True)
class WorldRow:
    """One world. `prepare` fetches its drawings into a file, `open` reads them from it; `mixture`
    makes the shares of its kinds of scenes, and raises ValueError or TypeError for wrong ones."""

    file: str
    prepare: Callable[[Path], None]
    open: Callable[[Path], Any]
    mixture: Callable[..., Any]
    world: Callable[[Any, Any], World[Any]]
    lessons: Callable[[Any], Lessons[Any]]
    words: Callable[[], Vocabulary]


WORLDS: dict[str, WorldRow] = {
    "sprites": WorldRow(
        "sprites.npz", prepare_sprites, Sprites.open, scenes.Mixture, SpriteWorld,
        lambda _: SpriteLessons(), words.learnt_words,
    ),
    "scenes": WorldRow(
        "drawings.npz", prepare_drawings, Drawings.open, composed.Mixture, SceneWorld,
        SceneLessons, scene_words,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class OpenWorld:
    """A world with its drawings at hand."""

    row: WorldRow
    drawings: Any

    def of(self, mixture: Mixture) -> World[Any]:
        """The world in the shares of a mixture; an empty one stands for the usual shares."""
        return self.row.world(self.drawings, self.row.mixture(**mixture))

    @property
    def lessons(self) -> Lessons[Any]:
        return self.row.lessons(self.drawings)
