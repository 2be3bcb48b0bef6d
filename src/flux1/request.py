"""What may be asked of a model: checked once, frozen, and complete (nothing left to default)."""

import math
import operator
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flux1 import presets
from flux1.errors import RequestError, nearest
from flux1.flow import solvers
from flux1.presets import Preset
from flux1.variants import Variant

if TYPE_CHECKING:
    from flux1.flow.guidance import Condition

SOLVERS = tuple(solvers.SOLVERS)
MAX_STEPS = 1000
MAX_IMAGES = 100
MAX_SEED = 2**64 - 1  # of a picture: what torch's generator takes
MAX_PROMPT_CHARACTERS = 32_000
MAX_LORAS = 16
MAX_LORA_SCALE = 10
UPSCALES = (1, 2, 4)
MAX_UPSCALED_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class LoraUse:
    """A LoRA and how much of it: 1 is as trained, 0 none, less than 0 the opposite.

    `name` is a loaded LoRA's name, or a file's path.
    """

    name: str
    scale: float = 1.0


@dataclass(frozen=True)
class ImageRequest:
    """One prompt, `num_images` pictures: picture k is drawn from seed + k.

    `guidance` is the distilled scale that the network is told (None where it has no such input);
    `true_cfg` above 1 adds a second evaluation for `negative_prompt` at every point. `like` names
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
    num_images: int
    solver: str
    loras: tuple[LoraUse, ...] = ()
    like: str | None = None
    upscale: int = 1

    @property
    def conditions(self) -> "tuple[Condition, ...]":
        """What each point of the path is evaluated under: true CFG doubles that."""
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
        """How numbers are rounded on the way: as the program does that `like` names."""
        return presets.find(self.like)

    @property
    def finished_size(self) -> tuple[int, int]:
        """Width and height of the picture as it is given."""
        return self.width * self.upscale, self.height * self.upscale


@dataclass(frozen=True)
class Origin:
    """What drew a picture: the weights (the first digits of their sha256), where and how their
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


def make_request(
    variant: Variant,
    prompt: str,
    *,
    negative_prompt: str | None = None,
    width: int | None = None,
    height: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    true_cfg: float | None = None,
    seed: int | None = None,
    num_images: int = 1,
    solver: str | None = None,
    loras: Sequence[LoraUse | tuple[str, float] | str] = (),
    like: str | None = None,
    upscale: int | None = None,
) -> ImageRequest:
    """Fill in the variant's defaults and check every field.

    Raises RequestError with the field, the value and the nearest good one. A missing seed is
    drawn here, so that the request says which picture it is.
    """
    defaults = variant.defaults
    negative_prompt = "" if negative_prompt is None else negative_prompt
    _check_text("prompt", prompt)
    _check_text("negative_prompt", negative_prompt)
    if not prompt.strip():
        raise RequestError("prompt", "is empty; say what to draw, for example 'a red fox'")
    width = defaults.width if width is None else _whole("width", width)
    height = defaults.height if height is None else _whole("height", height)
    _check_size(variant, width, height)
    steps = defaults.steps if steps is None else _whole("steps", steps)
    num_images = _whole("num_images", num_images)
    _check_range("steps", steps, 1, MAX_STEPS)
    _check_range("num_images", num_images, 1, MAX_IMAGES)
    if seed is None:
        seed = secrets.randbelow(2**32)
    seed = _whole("seed", seed)
    _check_range("seed", seed, 0, MAX_SEED - (num_images - 1))

    if guidance is not None and not variant.transformer.guidance_embed:
        raise RequestError(
            "guidance",
            f"{guidance} would have no effect: {variant.id} is not told a guidance scale; "
            "leave it out, or use true_cfg",
        )
    guidance = defaults.guidance if guidance is None else _number("guidance", guidance)
    if guidance is not None:
        _check_finite("guidance", guidance, 0, 100)
    true_cfg = defaults.true_cfg if true_cfg is None else _number("true_cfg", true_cfg)
    _check_finite("true_cfg", true_cfg, 1, 100)
    if negative_prompt and true_cfg == 1:
        raise RequestError(
            "negative_prompt", "has no effect at true_cfg 1; set true_cfg above 1, for example 2"
        )
    solver = defaults.solver if solver is None else solver
    if solver not in SOLVERS:
        known = ", ".join(SOLVERS)
        raise RequestError("solver", f"{solver!r} is not one of {known}{nearest(solver, SOLVERS)}")
    _check_like(variant, like, solver)
    upscale = 1 if upscale is None else _whole("upscale", upscale)
    check_upscale(width, height, upscale)
    return ImageRequest(
        model=variant.id,
        prompt=prompt,
        negative_prompt=negative_prompt,
        width=width,
        height=height,
        steps=steps,
        guidance=guidance,
        true_cfg=true_cfg,
        seed=seed,
        num_images=num_images,
        solver=solver,
        loras=lora_uses(loras),
        like=like,
        upscale=upscale,
    )


def _check_like(variant: Variant, like: str | None, solver: str) -> None:
    """Refuse a program's choices where they say nothing: a promise that could not be kept."""
    row = presets.find(like)
    if row.text_at_least is not None and variant.text.t5 is None:
        raise RequestError(
            "like", f"{row.id!r} sets the length of T5's text, and {variant.id} has no T5"
        )
    if row.solvers is not None and solver not in row.solvers:
        raise RequestError(
            "solver", f"{solver!r} is not matched with like {row.id!r}; take {row.solvers[0]!r}"
        )


def check_upscale(width: int, height: int, upscale: int, most: int = MAX_UPSCALED_PIXELS) -> None:
    """RequestError unless a picture may be enlarged so: by 2 or 4 (1: as it is), to at most `most`
    pixels."""
    if upscale not in UPSCALES:
        near = min(UPSCALES, key=lambda one: abs(one - upscale))
        known = ", ".join(map(str, UPSCALES))
        raise RequestError("upscale", f"{upscale} is not one of {known}; nearest: {near}")
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
    scale = _number("loras", scale)
    _check_finite("loras", scale, -MAX_LORA_SCALE, MAX_LORA_SCALE)
    return LoraUse(name, scale)


def _check_text(field: str, text: object) -> None:
    if not isinstance(text, str):
        raise RequestError(field, f"must be text, not {type(text).__name__}; one prompt a call")
    if len(text) > MAX_PROMPT_CHARACTERS:
        limit = MAX_PROMPT_CHARACTERS
        raise RequestError(field, f"has {len(text)} characters, at most {limit} are read")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestError(field, "holds bytes that are not UTF-8 text") from None
    if "\0" in text:
        raise RequestError(field, "holds a NUL character, which is not text")


def _whole(field: str, value: object) -> int:
    """An int, or what counts as one (numpy's), but not a truth value."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise RequestError(field, f"{value!r} is not a whole number") from None


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RequestError(field, f"{value!r} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise RequestError(field, "is too large") from None


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


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        near = min(max(value, low), high)
        raise RequestError(field, f"{value} is not from {low} to {high}; nearest: {near}")


def _check_finite(field: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        near = min(max(value, low), high) if math.isfinite(value) else low
        raise RequestError(field, f"{value:g} is not from {low:g} to {high:g}; nearest: {near:g}")
