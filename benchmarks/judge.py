"""The judge: a small classifier that says which noun, in which style, a crop shows.

It is trained on the same drawings as flux-mini, apart from it: its own compositions, seeds and
augmentations, and no generated picture. `check` tells how far to trust it: the share of real,
freshly composed scenes that it and the rulers of `measures.py` read right.

    python benchmarks/judge.py train --sprites sprites.npz
    python benchmarks/judge.py check --sprites sprites.npz
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from jaxtyping import Float
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from compositions import SIDE, STYLE_NAMES, Deck, compose, sampled
from flux1.training.scenes import Scene, Thing, render
from flux1.training.sprites import Sprites
from flux1.training.vocabulary import NOUNS
from measures import COMPACT, background_colour, background_rgb, object_colour, things

WEIGHTS = Path(__file__).parent / "judge.safetensors"
TRAINING_SEED, CHECK_SEED = 71_001, 71_002
SPRITES = Annotated[Path, typer.Option(help="sprites.npz of a run of `flux1 train flux-mini`.")]


def _stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class JudgeNet(nn.Module):
    """Half a million weights: 64x64 pixels in [-1, 1] to scores of nouns and of styles."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            _stage(12, 32, stride=2),
            _stage(32, 64, stride=1),
            _stage(64, 96, stride=2),
            _stage(96, 128, stride=1),
            _stage(128, 256, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.noun = nn.Linear(256, len(NOUNS))
        self.style = nn.Linear(256, len(STYLE_NAMES))

    def forward(
        self, x: Float[Tensor, "b 3 64 64"]
    ) -> tuple[Float[Tensor, "b nouns"], Float[Tensor, "b styles"]]:
        features = self.body(x)
        return self.noun(features), self.style(features)


@dataclass(frozen=True)
class Verdict:
    """The five likeliest nouns, best first, the likelier style, and how sure of the first noun."""

    nouns: tuple[str, ...]
    style: str
    confidence: float  # softmax probability; low where the crop looks like nothing it knows

    @property
    def noun(self) -> str:
        return self.nouns[0]


class Judge:
    """Names what crops show."""

    def __init__(self, net: JudgeNet, trust: dict[str, float]) -> None:
        self.net = net.eval()
        self.trust = trust  # share of real scenes read right, by kind of reading

    @classmethod
    def open(cls, path: Path = WEIGHTS) -> "Judge":
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            trust = json.loads(file.metadata()["trust"])
        net = JudgeNet()
        net.load_state_dict(weights)
        return cls(net, trust)

    @torch.inference_mode()
    def __call__(self, crops: Sequence[Image.Image]) -> list[Verdict]:
        """Crops of any size, each showing one object."""
        if not crops:
            return []
        pixels = torch.stack([_pixels(crop) for crop in crops])
        nouns, styles = self.net(pixels)
        best = nouns.softmax(dim=1).topk(5)
        return [
            Verdict(tuple(NOUNS[i] for i in five), STYLE_NAMES[style], round(sure[0], 3))
            for five, sure, style in zip(
                best.indices.tolist(), best.values.tolist(), styles.argmax(1).tolist(), strict=True
            )
        ]


def _pixels(crop: Image.Image) -> Float[Tensor, "3 64 64"]:
    small = crop.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1) / 127.5 - 1


# Where the two objects of a pair are looked for: the square that fills half of the picture's side.
HALVES = {"left": (0.27, 0.5), "right": (0.73, 0.5), "above": (0.5, 0.27), "below": (0.5, 0.73)}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def half(picture: Image.Image, place: str) -> Image.Image:
    """The half-sized square of a picture on the left, right, above or below."""
    width, height = picture.size
    left, top = (round((c - 0.25) * s) for c, s in zip(HALVES[place], (width, height), strict=True))
    return picture.crop((left, top, left + width // 2, top + height // 2))


def cut_out(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """A box of a picture in the middle of a square of the background's colour, a little larger."""
    patch = picture.crop(box)
    side = round(1.15 * max(patch.size))
    colour = tuple(int(c) for c in background_rgb(picture))
    square = Image.new("RGB", (side, side), colour)
    square.paste(patch, ((side - patch.width) // 2, (side - patch.height) // 2))
    return square


def fit(deck: Deck, steps: int, batch: int, peak: float = 4e-3) -> JudgeNet:
    """AdamW, one cycle."""
    torch.manual_seed(TRAINING_SEED)
    rng = np.random.default_rng(TRAINING_SEED)
    net = JudgeNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.15)
    for _ in track(range(steps), description="training the judge"):
        crops = compose(deck, batch, rng)
        nouns, styles = net(crops.pixels.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(nouns, crops.nouns, label_smoothing=0.05)
        loss = loss + 0.3 * F.cross_entropy(styles, crops.styles)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
    return net.eval()


# How far to trust it: real scenes, composed as flux-mini's are, from another seed.


@dataclass(frozen=True)
class Real:
    """A composed picture and the truth about it."""

    scene: Scene
    picture: Image.Image

    @property
    def first(self) -> Thing:
        return self.scene.things[0]


def real_scenes(sprites: Sprites, count: int, wanted: Callable[[Scene], bool]) -> Iterator[Real]:
    """Freshly composed 128x128 scenes of the wanted kind."""
    rng = np.random.default_rng(CHECK_SEED)
    for _ in range(count):
        scene = sampled(rng, wanted)
        yield Real(scene, Image.fromarray(render(scene, sprites, 128, rng)))


def _share(right: Iterable[bool]) -> float:
    return round(float(np.mean(list(right))), 4)


def _trust_singles(judge: Judge, reals: Sequence[Real]) -> dict[str, float]:
    verdicts = judge([real.picture for real in reals])
    read = list(zip(reals, verdicts, strict=True))
    return {
        "object": _share(v.noun == r.first.noun for r, v in read),
        "object, recoloured": _share(v.noun == r.first.noun for r, v in read if r.first.colour),
        "object, own colours": _share(
            v.noun == r.first.noun for r, v in read if r.first.colour is None
        ),
        "object, in the first five": _share(r.first.noun in v.nouns for r, v in read),
        "style": _share(v.style == r.scene.style for r, v in read),
        "object colour": _share(
            object_colour(r.picture) == r.first.colour for r in reals if r.first.colour
        ),
        "background colour": _share(
            background_colour(r.picture) == r.scene.background for r in reals
        ),
    }


def _trust_pairs(judge: Judge, reals: Sequence[Real]) -> dict[str, float]:
    first = judge([half(r.picture, r.scene.relation) for r in reals])
    second = judge([half(r.picture, OPPOSITE[r.scene.relation]) for r in reals])
    right = [
        (a.noun == r.scene.things[0].noun, b.noun == r.scene.things[1].noun)
        for r, a, b in zip(reals, first, second, strict=True)
    ]
    return {
        "object in its half of a pair": _share(ok for both in right for ok in both),
        "both objects of a pair": _share(all(both) for both in right),
    }


def trust(judge: Judge, sprites: Sprites, count: int = 1000) -> dict[str, float]:
    """Share of real scenes that the judge and the rulers read right, by kind of reading."""
    singles = list(real_scenes(sprites, count, lambda s: len(s.things) == 1))
    pairs = list(real_scenes(sprites, count // 2, lambda s: s.relation is not None))
    copies = real_scenes(sprites, count // 5, _countable)
    return {
        **_trust_singles(judge, singles),
        **_trust_pairs(judge, pairs),
        "count, compact objects": _share(
            len(things(r.picture)) == len(r.scene.things) for r in copies
        ),
    }


def _countable(scene: Scene) -> bool:
    first = scene.things[0]
    several = scene.relation is None and len(scene.things) > 1
    return several and first.noun in COMPACT and first.colour is None


app = typer.Typer(add_completion=False, help=__doc__)


def _report(found: dict[str, float]) -> None:
    table = Table("read on real, fresh scenes", "right", title="how far to trust the judge")
    for reading, share in found.items():
        table.add_row(reading, f"{100 * share:.1f} %")
    Console().print(table)


@app.command()
def train(sprites: SPRITES, steps: int = 1800, batch: int = 128, out: Path = WEIGHTS) -> None:
    """Train it, measure it as it is saved (half precision), and write both to one file."""
    drawings = Sprites.open(sprites)
    net = fit(Deck.of(drawings), steps, batch).half()
    found = trust(Judge(net.float(), {}), drawings)
    weights = {
        name: (w.half() if w.is_floating_point() else w).contiguous()
        for name, w in net.state_dict().items()
    }
    about = {"steps": str(steps), "batch": str(batch), "seed": str(TRAINING_SEED)}
    save_file(weights, out, metadata={"trust": json.dumps(found), **about})
    _report(found)


@app.command()
def check(sprites: SPRITES, weights: Path = WEIGHTS) -> None:
    """Read real scenes with the saved judge."""
    _report(trust(Judge.open(weights), Sprites.open(sprites)))


if __name__ == "__main__":
    app()
