"""A LoRA from twelve pictures of a thing that no model knows, and how well it is drawn after that.

    python benchmarks/new_object.py --threads 2 [options of `flux1 train lora`]

The thing is examples/draw_zorb.py's, so that it is in nobody's training data. Twelve pictures show
it alone, on seven colours of background. What is asked afterwards are scenes of which some were
among them (seven colours), and most were not: four other colours, and beside known things.

A picture counts as right where the background has the colour that was asked for, the zorb is found
(its normalised correlation with the drawing, over places and sizes, is above `FOUND`), and, where
it should stand beside something, the zorb is on its side of the picture and the judge of adherence/
names the other thing in the other half. Neither knows the model or the LoRA. Measured in the same
way are true pictures of the zorb (the ceiling) and what the model draws without the LoRA (the
floor).
"""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from runpy import run_path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image

from adherence.judge import Judge
from adherence.measures import background_colour
from adherence.parts import OPPOSITE, half
from flux1 import FluxPipeline
from flux1.events import Finished
from flux1.request import make_request
from flux1.training.mini.vocabulary import COLOURS
from flux1.training.objective import sheet
from measure.machine import Threads, about, use_threads
from measure.results import RESULTS, Label, Out, result_path, write_result

ZORB = run_path(str(Path(__file__).parents[1] / "examples" / "draw_zorb.py"))
NAME, SIDE = ZORB["NAME"], 128  # pixels at which a picture is looked through
SIZES = tuple(range(36, 109, 6))  # of the drawing that is looked for
FOUND = 0.7  # of the greatest correlation, which is 1
FLAT = 1e-3  # variance of colours (0 to 1) below which a place has nothing to correlate with


@dataclass(frozen=True)
class Scene:
    """What is asked: the zorb on a background, alone or on a side of (above, below) a thing."""

    colour: str
    place: str | None = None
    other: str | None = None

    @property
    def prompt(self) -> str:
        ground = f"on {_a(self.colour)} background"
        if self.other is None:
            return f"a {NAME} {ground}"
        where = f"to the {self.place} of" if self.place in ("left", "right") else self.place
        return f"a {NAME} {where} {_a(self.other)} {ground}"

    @property
    def kind(self) -> str:
        if self.other is not None:
            return "beside a thing"
        return "seen background" if self.colour in ZORB["BACKGROUNDS"] else "new background"


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


NEW = tuple(c.name for c in COLOURS if c.name not in ZORB["BACKGROUNDS"])
SCENES = (
    *(Scene(colour) for colour in ZORB["BACKGROUNDS"]),
    *(Scene(colour) for colour in NEW for _ in range(2)),  # each time with another seed
    Scene("white", "left", "tree"),
    Scene("yellow", "right", "castle"),
    Scene("gray", "right", "cat"),
    Scene("blue", "above", "fish"),
    Scene("orange", "below", "umbrella"),
    Scene("red", "left", "pineapple"),
    Scene("pink", "right", "snowman"),
    Scene("green", "left", "dolphin"),
    Scene("white", "above", "rose"),
    Scene("purple", "below", "bell"),
)


@dataclass(frozen=True)
class Sight:
    """Where a picture is likest to the drawing: the correlation, and the middle of the place as
    shares of the sides."""

    correlation: float
    x: float
    y: float

    def stands(self, place: str) -> bool:
        return {
            "left": self.x < 0.5,
            "right": self.x > 0.5,
            "above": self.y < 0.5,
            "below": self.y > 0.5,
        }[place]


def look_for_zorb(picture: Image.Image) -> Sight:
    """Normalised correlation of all three colours together, inside the drawing's outline."""
    image = _tensor(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    best = Sight(-1.0, 0.5, 0.5)
    for size in SIZES:
        small = ZORB["drawing"]().resize((size, size), Image.Resampling.LANCZOS)
        pixels = _tensor(small)
        mask, thing = (pixels[:, 3:] > 0.5).float().expand(-1, 3, -1, -1), pixels[:, :3]
        count = mask.sum()
        thing = (thing - (thing * mask).sum() / count) * mask
        total, squares = F.conv2d(image, mask), F.conv2d(image**2, mask)
        spread = (squares - total**2 / count).clamp(min=FLAT * count.item())
        likeness = (F.conv2d(image, thing) / (spread * (thing**2).sum()).sqrt())[0, 0]
        row, column = divmod(int(likeness.argmax()), likeness.shape[1])
        found = likeness[row, column].item()
        if found > best.correlation:
            best = Sight(found, (column + size / 2) / SIDE, (row + size / 2) / SIDE)
    return best


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).float().permute(2, 0, 1)[None] / 255


def judged(scene: Scene, picture: Image.Image, judge: Judge) -> dict:
    """What is read off one picture."""
    sight = look_for_zorb(picture)
    found = {
        "prompt": scene.prompt,
        "correlation": round(sight.correlation, 3),
        "zorb": sight.correlation >= FOUND,
        "background": background_colour(picture) == scene.colour,
    }
    if scene.other is not None:
        assert scene.place is not None
        (verdict,) = judge([half(picture, OPPOSITE[scene.place]).crop])
        found |= {"placed": sight.stands(scene.place), "other": verdict.noun == scene.other}
    told = [value for value in found.values() if isinstance(value, bool)]
    return found | {"right": all(told)}


def measured(pictures: list[Image.Image], scenes: Sequence[Scene]) -> dict:
    """Of pictures of the scenes, in order: right and all of each kind, and each picture's row."""
    judge = Judge.open()
    rows = [judged(scene, one, judge) for scene, one in zip(scenes, pictures, strict=True)]
    kinds = dict.fromkeys(scene.kind for scene in scenes)
    of_kind = {
        kind: [row for scene, row in zip(scenes, rows, strict=True) if scene.kind == kind]
        for kind in kinds
    }
    return {
        "right": {kind: [sum(r["right"] for r in of), len(of)] for kind, of in of_kind.items()},
        "zorb": {kind: [sum(r["zorb"] for r in of), len(of)] for kind, of in of_kind.items()},
        "pictures": rows,
    }


def truth(scenes: Sequence[Scene]) -> dict:
    """True pictures of the zorb alone; of pairs, the judge's own page tells."""
    rng, rgb = np.random.default_rng(1), {colour.name: colour.rgb for colour in COLOURS}
    alone = tuple(scene for scene in scenes if scene.other is None)
    return measured([ZORB["picture"](rgb[scene.colour], rng) for scene in alone], alone)


def draw(model: str, lora: Path | None, scenes: Sequence[Scene]) -> list[Image.Image]:
    """The scenes, each from its number as seed."""
    pipe = FluxPipeline.from_pretrained(model)
    loras = [str(lora)] if lora else []
    if lora:
        pipe.load_lora(lora)
    requests = [
        make_request(pipe.variant, scene.prompt, seed=seed, loras=loras)
        for seed, scene in enumerate(scenes)
    ]
    drawn = [event for event in pipe.stream(requests) if isinstance(event, Finished)]
    return [event.picture for event in sorted(drawn, key=lambda event: event.image)]


def train(model: str, out: Path, options: list[str]) -> dict:
    """Run the command; what it was, its seconds by the clock and of the processors."""
    pictures = out / "pictures"
    ZORB["write"](pictures)
    words = [
        "train",
        "lora",
        "--model",
        model,
        "--data",
        str(pictures),
        "--out",
        str(out / "run"),
        *options,
    ]
    command = [sys.executable, "-m", "flux1", *words]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "command": " ".join(["flux1", *words]),
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(used, 1),
        "peak_memory_mib": after.ru_maxrss // 1024,
    }


app = typer.Typer(add_completion=False, help=__doc__)
MORE = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=MORE)
def main(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="What learns.")] = "flux-mini",
    place: Annotated[Path, typer.Option(help="Folder of the training run.")] = Path("runs/zorb"),
    trained: Annotated[Path | None, typer.Option(help="Judge this LoRA, train none.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Of the scenes.")] = len(SCENES),
    threads: Threads = 2,
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Train with `flux1 train lora` and whatever options follow, draw the scenes, judge them."""
    use_threads(threads)
    machine, scenes = about(), SCENES[:limit]
    training = None if trained else train(model, place, context.args)
    drawn = draw(model, trained or place / "run" / "lora.safetensors", scenes)
    figures = {
        "model": model,
        "training": training,
        "with_lora": measured(drawn, scenes),
        "without": measured(draw(model, None, scenes), scenes),
        "true_pictures": truth(scenes),
    }
    for name in ("with_lora", "without", "true_pictures"):
        print(f"{name}: {figures[name]['right']}")
    print(training)
    path = result_path("new-object", label, out)
    write_result(path, machine, figures)
    sheet(drawn, columns=9).save(path.with_suffix(".webp"), quality=85)


if __name__ == "__main__":
    app()
