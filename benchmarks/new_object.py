"""A LoRA from twelve pictures of a thing that no model knows, and how well it is drawn after that.

    python benchmarks/new_object.py pictures FOLDER    the twelve, with their captions
    python benchmarks/new_object.py run --out RUN      train on them (`flux1 train lora`), then draw

The thing is a zorb: drawn here, so that it is in nobody's training data. Twelve pictures show it in
seven colours of background. What is asked afterwards are scenes that were not among them: other
backgrounds, and beside known things. A picture counts as right where the zorb is found in it
(correlation with the drawing above `FOUND`) and the background has the colour that was asked for.
Measured in the same way are true pictures of the same scenes (the ceiling) and those that the model
draws without the LoRA (the floor).
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from adherence.measures import background_colour
from flux1 import FluxPipeline
from flux1.training.objective import sheet
from flux1.training.vocabulary import COLOURS
from machine import about, environment, result_path

NAME, SIDE, LARGE = "zorb", 128, 512
SEEN = ("blue", "yellow", "white", "green", "pink", "gray", "orange")
UNSEEN = ("red", "black", "purple", "brown")
SCENES = (
    *(f"a {NAME} on a {colour} background" for colour in (*UNSEEN, *SEEN)),
    *(f"a {NAME}, on a {colour} background" for colour in UNSEEN),
    f"a {NAME} to the left of a tree on a white background",
    f"a {NAME} to the right of a castle on a yellow background",
    f"a cat to the left of a {NAME} on a gray background",
    f"a {NAME} above a fish on a blue background",
    f"an umbrella above a {NAME} on an orange background",
)
SIZES = tuple(range(36, 109, 6))  # at which the drawing is looked for, in pixels of 128
FOUND = 0.7  # of the greatest correlation, which is 1
FLAT = 1e-3  # variance of colours (0 to 1) below which a place has nothing to correlate with
_RGB = {colour.name: colour.rgb for colour in COLOURS}


def drawing() -> Image.Image:
    """The zorb, on nothing: a round violet body with an orange belly, one eye, two green horns and
    three yellow feet."""
    canvas = Image.new("RGBA", (LARGE, LARGE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(canvas)
    green, violet, orange, yellow = "#2ba84a", "#6b2fb3", "#f58220", "#ffd23f"
    pen.polygon([(120, 190), (70, 20), (215, 130)], fill=green)
    pen.polygon([(392, 190), (442, 20), (297, 130)], fill=green)
    for left in (110, 211, 312):
        pen.ellipse([left, 410, left + 90, 500], fill=yellow)
    pen.ellipse([60, 80, 452, 472], fill=violet)
    pen.ellipse([146, 270, 366, 450], fill=orange)
    pen.ellipse([176, 120, 336, 280], fill="white")
    pen.ellipse([228, 165, 298, 235], fill="black")
    pen.ellipse([240, 178, 262, 200], fill="white")
    return canvas


def scene(colour: str, rng: np.random.Generator) -> Image.Image:
    """The zorb somewhere near the middle, at some size."""
    shade = np.clip(np.array(_RGB[colour]) + rng.uniform(-5, 5, 3), 0, 255)
    canvas = Image.new("RGB", (SIDE, SIDE), tuple(int(c) for c in shade))
    side = int(rng.integers(60, 101))
    room = (SIDE - side) // 2
    corner = tuple(int(room + rng.integers(-room // 2, room // 2 + 1)) for _ in range(2))
    small = drawing().resize((side, side), Image.Resampling.LANCZOS)
    canvas.paste(small, corner, small)
    return canvas


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(12):
        colour = SEEN[number % len(SEEN)]
        scene(colour, rng).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(f"a {NAME} on a {colour} background\n")


def correlation(picture: Image.Image) -> float:
    """How like the drawing the likest place of a picture is: the greatest normalised correlation
    over places and sizes, of all three colours together, inside the drawing's outline."""
    image = _tensor(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    best = -1.0
    for size in SIZES:
        small = drawing().resize((size, size), Image.Resampling.LANCZOS)
        pixels = _tensor(small)
        mask, thing = (pixels[:, 3:] > 0.5).float().expand(-1, 3, -1, -1), pixels[:, :3]
        count = mask.sum()
        thing = (thing - (thing * mask).sum() / count) * mask
        total, squares = F.conv2d(image, mask), F.conv2d(image**2, mask)
        spread = (squares - total**2 / count).clamp(min=FLAT * count.item())
        found = F.conv2d(image, thing) / (spread * (thing**2).sum()).sqrt()
        best = max(best, found.max().item())
    return best


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).float().permute(2, 0, 1)[None] / 255


def measured(pictures: list[Image.Image]) -> dict:
    """Of pictures of SCENES, in order."""
    found = [round(correlation(picture), 3) for picture in pictures]
    asked = [text.split(" background")[0].rpartition(" ")[2] for text in SCENES]
    seen = [background_colour(picture) for picture in pictures]
    right = [
        one >= FOUND and colour == wanted
        for one, colour, wanted in zip(found, seen, asked, strict=True)
    ]
    alone = sum(" of a " not in text and " above " not in text for text in SCENES)
    return {
        "found": sum(one >= FOUND for one in found),
        "background": sum(a == b for a, b in zip(seen, asked, strict=True)),
        "right": sum(right),
        "right_alone": sum(right[:alone]),
        "alone": alone,
        "pictures": len(pictures),
        "correlations": found,
    }


def truth() -> list[Image.Image]:
    rng = np.random.default_rng(1)
    asked = [text.split(" background")[0].rpartition(" ")[2] for text in SCENES]
    return [scene(colour, rng) for colour in asked]


def draw(model: str, lora: Path | None) -> list[Image.Image]:
    pipe = FluxPipeline.from_pretrained(model)
    loras = [str(lora)] if lora else []
    return [pipe(text, seed=i, loras=loras).images[0] for i, text in enumerate(SCENES)]


def run(model: str, out: Path, threads: int, options: list[str]) -> None:
    pictures = out / "pictures"
    write_pictures(pictures)
    command = [
        sys.executable, "-m", "flux1", "train", "lora", "--model", model, "--data", str(pictures),
        "--out", str(out / "run"), *options,
    ]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(command, check=False, env=environment(OMP_NUM_THREADS=str(threads)))
    if done.returncode:
        raise SystemExit(done.returncode)
    seconds = time.perf_counter() - began
    torch.set_num_threads(threads)
    machine = about()
    drawn, without = draw(model, out / "run" / "lora.safetensors"), draw(model, None)
    result = {
        "machine": machine,
        "model": model,
        "command": " ".join(command[2:]),
        "seconds": round(seconds, 1),
        "scenes": SCENES,
        "with_lora": measured(drawn),
        "without": measured(without),
        "true_pictures": measured(truth()),
    }
    path = result_path("new-object")
    path.write_text(json.dumps(result, indent=2) + "\n")
    sheet([*drawn, *without], columns=10).save(path.with_suffix(".png"))
    for name in ("with_lora", "without", "true_pictures"):
        told = {key: value for key, value in result[name].items() if key != "correlations"}
        print(f"{name}: {told}")
    print(f"{seconds:.0f} s, {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    pictures = commands.add_parser("pictures")
    pictures.add_argument("folder", type=Path)
    running = commands.add_parser("run", help="what it does not know goes to `flux1 train lora`")
    running.add_argument("--model", default="flux-mini")
    running.add_argument("--out", type=Path, default=Path("runs/zorb"))
    running.add_argument("--threads", type=int, default=2)
    asked, rest = parser.parse_known_args()
    if asked.command == "pictures":
        write_pictures(asked.folder)
    else:
        run(asked.model, asked.out, asked.threads, rest)


if __name__ == "__main__":
    main()
