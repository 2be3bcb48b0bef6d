"""A picture classifier from a folder, as Hugging Face's tools export it to ONNX.

Import it inside functions only: `onnxruntime` comes with the `serve` extra.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import onnxruntime
from PIL import Image
from pydantic import BaseModel, Field, PositiveInt, ValidationError

from flux1.errors import MissingWeightsError, WeightsError, nearest

CONFIG, PREPARATION = "config.json", "preprocessor_config.json"
MODELS = ("model.onnx", "onnx/model.onnx")  # the first that is there

_Read = TypeVar("_Read", bound=BaseModel)

# What classifiers call things. None: harmless.
_LABELS = {
    **dict.fromkeys(("nsfw", "porn", "hentai", "sexy", "sexual", "explicit", "nude"), "sexual"),
    "gore": "violence/graphic",
    "violence": "violence",
    **dict.fromkeys(("sfw", "normal", "safe", "neutral", "drawing", "drawings"), None),
}


class _Config(BaseModel):
    """`problem_type`: labels that exclude each other, whose shares a softmax gives."""

    id2label: dict[int, str]
    problem_type: Literal["single_label_classification"] | None = None


class _Size(BaseModel, extra="forbid"):
    height: PositiveInt = 0
    width: PositiveInt = 0
    shortest_edge: PositiveInt = 0


class _Preparation(BaseModel, extra="forbid"):
    """Picture to network input. What is left out or unknown is refused: a guess scores wrongly."""

    do_resize: bool
    size: _Size
    resample: Image.Resampling
    do_center_crop: bool = False
    crop_size: _Size = _Size()
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    # of no effect here
    do_convert_rgb: bool = True
    image_processor_type: str = ""
    feature_extractor_type: str = ""
    processor_class: str = ""
    data_format: str = "channels_first"
    valid_processor_keys: list[str] = Field([], alias="_valid_processor_keys")

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """float32, (3, height, width)."""
        picture = picture.convert("RGB")
        if self.do_resize:
            size = self.size.width, self.size.height
            if short := self.size.shortest_edge:
                least = min(picture.size)
                size = short * picture.width // least, short * picture.height // least
            picture = picture.resize(size, self.resample)
        if self.do_center_crop:
            width, height = self.crop_size.width, self.crop_size.height
            left, top = (picture.width - width) // 2, (picture.height - height) // 2
            picture = picture.crop((left, top, left + width, top + height))
        pixels = np.asarray(picture, np.float32).transpose(2, 0, 1)
        if self.do_rescale:
            pixels = pixels * self.rescale_factor
        if self.do_normalize:
            mean, std = np.array([self.image_mean, self.image_std])[:, :, None, None]
            pixels = (pixels - mean) / std
        return np.ascontiguousarray(pixels, np.float32)


class OnnxClassifier:
    """One label a picture (softmax over the model's first output), on one CPU thread."""

    def __init__(self, folder: Path) -> None:
        """MissingWeightsError or WeightsError, in one line, if the folder cannot be used."""
        labels = _read(folder / CONFIG, _Config).id2label
        self._categories = [_category(folder, labels[i].lower()) for i in sorted(labels)]
        self._prepare = _read(folder / PREPARATION, _Preparation)
        path = next((folder / name for name in MODELS if (folder / name).is_file()), None)
        if path is None:
            raise MissingWeightsError(
                f"picture classifier: there is no {folder / MODELS[0]}, nor {MODELS[1]}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
            self._input = self._session.get_inputs()[0].name
            answers = self._logits(Image.new("RGB", (64, 48))).size
        except Exception as failure:  # the runtime's own share no other base
            reason = " ".join(str(failure).split())
            raise WeightsError(f"picture classifier: {path} does not run: {reason}") from failure
        if answers != len(labels):
            raise WeightsError(
                f"picture classifier: {path} gives {answers} numbers, config.json {len(labels)} "
                "labels"
            )

    def scores(self, picture: Image.Image) -> Mapping[str, float]:
        logits = self._logits(picture).astype(np.float64)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        found: dict[str, float] = {}
        for category, share in zip(self._categories, shares, strict=True):
            if category is not None:
                found[category] = found.get(category, 0.0) + float(share)
        return found

    def _logits(self, picture: Image.Image) -> np.ndarray:
        logits: np.ndarray = self._session.run(None, {self._input: self._prepare(picture)[None]})[0]
        return logits[0]


def _category(folder: Path, label: str) -> str | None:
    if label not in _LABELS:
        raise WeightsError(
            f"picture classifier: label {label!r} of {folder} is not one of {', '.join(_LABELS)}"
            f"{nearest(label, _LABELS)}"
        )
    return _LABELS[label]


def _read(path: Path, kind: type[_Read]) -> _Read:
    try:
        fields: Any = json.loads(path.read_text(encoding="utf-8"))
        return kind.model_validate({k: v for k, v in fields.items() if v is not None})
    except FileNotFoundError:
        raise MissingWeightsError(f"picture classifier: there is no {path}") from None
    except ValidationError as failure:
        first = failure.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise WeightsError(
            f"picture classifier: {field!r} in {path} is not understood ({first['msg']})"
        ) from failure
    except (OSError, ValueError, AttributeError) as failure:
        raise WeightsError(f"picture classifier: {path} is not a JSON object") from failure
