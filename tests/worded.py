"""The tiny model with a list of words and of sizes, as a folder of weights."""

from pathlib import Path

from flux1.variants import TINY
from flux1.weights.load import load_model
from flux1.weights.save import save_model_folder
from flux1.weights.sources import locate
from flux1.words import Vocabulary

WORDS = Vocabulary(
    nouns=(("fox", "vixen"), ("teddy bear", "teddy"), ("firetruck",), ("mouse", "mice"), ("leaf",)),
    places=(("snow",),),
    colours=(("red", "scarlet", "cherry-red"), ("blue",)),
    other=("3", "a", "an", "and", "in", "of", "on", "the", "three"),
)
KNOWN = "The fox's firetruck and 3 teddy-bears on red leaves"
UNKNOWN = "A zorb and a fox, zorb in a sci-fi city"
SAID = ["zorb", "sci-fi", "city"]


def make_worded(folder: Path) -> Path:
    model = load_model(locate(TINY))
    save_model_folder(
        folder, TINY, model.transformer, model.autoencoder, model.text, quantize=False,
        words=WORDS, sizes=["64x64", "96x64"],
    )  # fmt: skip
    return folder
