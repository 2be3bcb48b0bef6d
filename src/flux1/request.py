"""All that may be asked of a model: checked once, frozen, and complete (nothing left to
default)."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

from flux1 import presets
from flux1.errors import RequestError
from flux1.flow import solvers
from flux1.flow.shift import Spacing
from flux1.habits import unknown_keyword
from flux1.knobs import KNOBS, UPSCALES, choice, finite, in_range, number, text, whole
from flux1.presets import Preset
from flux1.variants import Variant

if TYPE_CHECKING:
    from flux1.flow.guidance import Condition

SOLVERS = tuple(solvers.SOLVERS)
MAX_IMAGES = 100
MAX_SEED = 2**64 - 1  # of a picture: what torch's generator takes
MAX_LORAS = 16
MAX_LORA_SCALE = 10
MAX_UPSCALED_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class LoraUse:
    """A LoRA and how much of it: 1 is as trained, 0 none, less than 0 the opposite.

    `name` is a loaded LoRA's name, or a file's path.
    """

    name: str
    scale: float = 1.0


class Asked(TypedDict, total=False):
    """The fields of a request beside its prompt. What is left out, or None, takes the model's own
    value; `ImageRequest` says what each means."""

    width: int | None
    height: int | None
    seed: int | None
    num_images: int | None
    steps: int | None
    guidance: float | None
    true_cfg: float | None
    negative_prompt: str | None
    solver: str | None
    schedule: str | None
    loras: Sequence["LoraUse | tuple[str, float] | str"]
    like: str | None
    upscale: int | None


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """Everything that was asked for one picture.

    `guidance` is the distilled scale that the network is told (None where it has no such input);
    `true_cfg` above 1 adds a second evaluation for `negative_prompt` at every point. `schedule`
    says how the times of the steps are spread ("even", "karras", "exponential"). `like` names
    a program whose rounding, noise, times and text length are matched (`presets.py`). `width` and
    `height` are drawn; the finished picture has `upscale` times these sides.
    """

    model: str
    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    guidance: float | None
    true_cfg: float
    seed: int
    solver: str
    schedule: Spacing = "even"
    like: str | None = None
    upscale: int = 1


@dataclass(frozen=True, kw_only=True)
class ImageRequest(PictureSettings):
    """One prompt, `num_images` pictures: picture k is drawn from seed + k."""

    num_images: int
    loras: tuple[LoraUse, ...] = ()

    @property
    def conditions(self) -> "tuple[Condition, ...]":
        """The conditions that each point of the path is evaluated under: true CFG doubles that."""
        return ("prompt",) if self.true_cfg == 1 else ("prompt", "negative")

    @property
    def words(self) -> "dict[Condition, str]":
        """The text of each condition."""
        texts: dict[Condition, str] = {"prompt": self.prompt, "negative": self.negative_prompt}
        return {name: texts[name] for name in self.conditions}

    @property
    def evaluations_per_step(self) -> int:
        """The points of the path that one step asks for."""
        return solvers.SOLVERS[self.solver].evaluations

    @property
    def evaluations(self) -> int:
        """The points of the path at which one picture is evaluated."""
        return self.steps * self.evaluations_per_step

    @property
    def preset(self) -> Preset:
        """The rounding of numbers on the way: as the program does that `like` names."""
        return presets.find(self.like)

    @property
    def least_text(self) -> int | None:
        """The text tokens that are read at least; None for the model's own number."""
        return self.preset.text_at_least

    @property
    def finished_size(self) -> tuple[int, int]:
        """Width and height of the picture as it is given."""
        return self.width * self.upscale, self.height * self.upscale


@dataclass(frozen=True)
class Origin:
    """The origin of a picture: the weights (the first digits of their sha256), where and how their
    networks computed, and the program that ran them."""

    model_hash: str
    device: str
    dtype: str
    runtime: str = "torch"


@dataclass(frozen=True)
class Order:
    """A request on its way through the engine: who asks, how urgently, and until when.

    `owner` is the account that shares the machine with others in proportion to `weight`. Of one
    owner's orders the one of higher `priority` goes first. `deadline` is a time of
    `time.monotonic()`. `previews` of each picture are shown while it is drawn. What was `promised`
    before, by a process that ended, is taken in however long the queue is.
    """

    id: str
    request: ImageRequest
    owner: str
    weight: float = 1.0
    priority: int = 0
    deadline: float | None = None
    previews: int = 0
    promised: bool = False


def make_request(variant: Variant, prompt: str, **asked: Unpack[Asked]) -> ImageRequest:
    """The request that `asked` makes with the variant's defaults, every field checked.

    Raises RequestError with the field, the value and the nearest good one. A missing seed is
    drawn here, so that the request says which picture it is.
    """
    _check_names(asked)
    given = {name: value for name, value in asked.items() if value is not None}
    if not text("prompt", prompt).strip():
        raise RequestError("prompt", "is empty; say what to draw, for example 'a red fox'")
    width = whole("width", given.get("width", variant.defaults.width))
    height = whole("height", given.get("height", variant.defaults.height))
    _check_size(variant, width, height)
    _check_told(variant, given.get("guidance"))
    turned = {knob.name: knob.value(given.get(knob.name), variant) for knob in KNOBS}
    num_images = in_range(
        "num_images", whole("num_images", given.get("num_images", 1)), 1, MAX_IMAGES
    )
    seed = whole("seed", given.get("seed", secrets.randbelow(2**32)))
    like = presets.find(asked.get("like"))
    loras = lora_uses(asked["loras"] if "loras" in given else ())
    request = ImageRequest(
        model=variant.id,
        prompt=prompt,
        width=width,
        height=height,
        seed=in_range("seed", seed, 0, MAX_SEED - (num_images - 1)),
        num_images=num_images,
        loras=loras,
        like=asked.get("like"),
        **turned,
    )
    _check_together(variant, request, like)
    return request


def _check_names(asked: Asked) -> None:
    known = Asked.__annotations__
    for name in asked:
        if name not in known:
            raise RequestError(name, unknown_keyword(name, known))


def _check_told(variant: Variant, guidance: object) -> None:
    if guidance is not None and not variant.transformer.guidance_embed:
        raise RequestError(
            "guidance",
            f"{guidance} would have no effect: {variant.id} is not told a guidance scale; "
            "leave it out, or use true_cfg",
        )


def _check_together(variant: Variant, request: ImageRequest, like: Preset) -> None:
    """Refuse what is good alone and means nothing together."""
    if request.negative_prompt and len(request.conditions) == 1:
        raise RequestError(
            "negative_prompt", "has no effect at true_cfg 1; set true_cfg above 1, for example 2"
        )
    _check_like(variant, like, request)
    check_upscale(request.width, request.height, request.upscale)


def _check_like(variant: Variant, row: Preset, request: ImageRequest) -> None:
    """Refuse a program's choices where they say nothing: a promise that could not be kept."""
    if row.text_at_least is not None and variant.text.t5 is None:
        raise RequestError(
            "like", f"{row.id!r} sets the length of T5's text, and {variant.id} has no T5"
        )
    if row.solvers is not None and request.solver not in row.solvers:
        raise RequestError(
            "solver",
            f"{request.solver!r} is not matched with like {row.id!r}; take {row.solvers[0]!r}",
        )
    if row.id != presets.OWN.id and request.schedule != variant.schedule.spacing:
        raise RequestError(
            "schedule",
            f"{request.schedule!r} is not matched with like {row.id!r}; "
            f"take {variant.schedule.spacing!r}",
        )


def check_upscale(width: int, height: int, upscale: int, most: int = MAX_UPSCALED_PIXELS) -> None:
    """RequestError unless a picture may be enlarged so: by 2 or 4 (1: as it is), to at most `most`
    pixels."""
    choice("upscale", upscale, UPSCALES)
    if upscale > 1 and width * height * upscale**2 > most:
        fits = max(one for one in UPSCALES if one == 1 or width * height * one**2 <= most)
        raise RequestError(
            "upscale",
            f"{width}x{height} times {upscale} is {width * upscale}x{height * upscale}, more than "
            f"the {most} pixels that are made; nearest: {fits}",
        )


def lora_uses(given: Sequence[LoraUse | tuple[str, float] | str]) -> tuple[LoraUse, ...]:
    """Names, pairs of name and scale, or uses; each LoRA once. RequestError for what is none."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise RequestError(
            "loras", f"{given!r} is not a list; for example [('x.safetensors', 0.8)]"
        )
    if len(given) > MAX_LORAS:
        raise RequestError("loras", f"are {len(given)}, at most {MAX_LORAS} are taken")
    uses = [_lora(one) for one in given]
    for use in uses:
        if sum(use.name == other.name for other in uses) > 1:
            raise RequestError("loras", f"{use.name!r} is there twice; add up its scales")
    return tuple(uses)


def _lora(given: object) -> LoraUse:
    match given:
        case LoraUse(name, scale) | (name, scale):
            pass
        case _:
            name, scale = given, 1.0
    if not isinstance(name, str) or not name or "\0" in name:
        raise RequestError("loras", f"{name!r} is not a LoRA's name or file")
    return LoraUse(name, finite("loras", number("loras", scale), -MAX_LORA_SCALE, MAX_LORA_SCALE))


def _check_size(variant: Variant, width: int, height: int) -> None:
    multiple = variant.size_multiple
    for field, side in (("width", width), ("height", height)):
        longest = variant.max_pixels // multiple // multiple * multiple
        if not 0 < side <= longest or side % multiple:
            near = min(longest, max(multiple, (side + multiple // 2) // multiple * multiple))
            wanted = f"a positive multiple of {multiple}, at most {longest}"
            raise RequestError(field, f"{side} is not {wanted}; nearest: {near}")
    if width * height > variant.max_pixels:
        shrink = math.sqrt(variant.max_pixels / (width * height))
        sides = [
            max(multiple, int(side * shrink) // multiple * multiple) for side in (width, height)
        ]
        raise RequestError(
            "size",
            f"{width}x{height} is more than the {variant.max_pixels} pixels that {variant.id} "
            f"draws; nearest: {sides[0]}x{sides[1]}",
        )
