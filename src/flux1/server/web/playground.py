"""The playground: a form, and a stream of what it draws."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from flux1.knobs import KNOBS, MAX_PROMPT_CHARACTERS
from flux1.server import openai
from flux1.server.arrival import arrival_of
from flux1.server.auth import account_caller
from flux1.server.generation import Generation
from flux1.server.ids import plain_id
from flux1.server.open_request import OpenRequest
from flux1.server.openai import ImageGenerationBody
from flux1.server.parts import Parts, parts_of
from flux1.server.ports import Model
from flux1.server.problems import not_found
from flux1.server.stream import streamed
from flux1.server.web.render import page
from flux1.server.web.sessions import Posted, SignedIn
from flux1.store.requests import StoredRequest
from flux1.variants import Variant

router = APIRouter(include_in_schema=False)
_SHAPES = {
    "Square": (1, 1), "Landscape 4:3": (4, 3), "Landscape 3:2": (3, 2), "Wide 16:9": (16, 9),
    "Portrait 3:4": (3, 4), "Portrait 2:3": (2, 3), "Tall 9:16": (9, 16),
}  # fmt: skip


FIELDS = (
    "prompt", "size", "width", "height", "n", "seed", "output_format",
    *(knob.name for knob in KNOBS),
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    label: str
    width: int
    height: int


@dataclass(frozen=True)
class Choice:
    """A model as the form offers it. `usual` are the values of knobs that are left alone."""

    name: str
    title: str
    licence: str
    sizes: tuple[Size, ...]
    multiple: int
    embedded: bool
    usual: dict[str, Any]


def choice_of(model: Model) -> Choice:
    """The model's entry in the form. Where the network is not told a scale, guidance means the
    classifier-free one."""
    variant = model.variant
    embedded = variant.transformer.guidance_embed
    usual = {knob.name: knob.usual(variant) for knob in KNOBS}
    if not embedded:
        usual["guidance"] = usual["true_cfg"]
    return Choice(
        model.names[0], variant.title, variant.licence.name, sizes_of(variant),
        variant.size_multiple, embedded, usual,
    )  # fmt: skip


def sizes_of(variant: Variant) -> tuple[Size, ...]:
    """The usual shapes at the model's usual number of pixels, and a larger square if it can."""
    usual, multiple = variant.defaults, variant.size_multiple
    pixels = usual.width * usual.height
    sizes = [Size("Usual", usual.width, usual.height)]
    for label, (across, down) in _SHAPES.items():
        width = math.sqrt(pixels * across / down)
        sides = [round(side / multiple) * multiple for side in (width, pixels / width)]
        sizes.append(Size(label, *sides))
    largest = math.isqrt(variant.max_pixels) // multiple * multiple
    sizes.append(Size("Largest square", largest, largest))
    sizes += [Size("Trained", *sides) for sides in variant.trained_sizes]
    seen: dict[tuple[int, int], Size] = {}
    for size in sizes:
        if 0 < size.width * size.height <= variant.max_pixels:
            seen.setdefault((size.width, size.height), size)
    return tuple(_marked(size, variant) for size in seen.values())


def _marked(size: Size, variant: Variant) -> Size:
    """A size that the model was not trained at says so."""
    if not variant.trained_sizes or (size.width, size.height) in variant.trained_sizes:
        return size
    return replace(size, label=f"{size.label}, not trained")


@router.get("/playground")
async def playground(
    request: Request,
    session: SignedIn,
    again: Annotated[str, Query(max_length=100)] = "",
    seed: Annotated[int | None, Query(ge=0, le=2**53 - 1)] = None,
) -> Response:
    """The form, empty or as an earlier request of the same account (`again`) filled it."""
    parts = parts_of(request)
    filled: dict[str, Any] = dict.fromkeys(FIELDS, "") | {"model": parts.default_model.names[0]}
    if again:
        find, account_id = parts.store.requests.get, session.account.id
        stored = await run_in_threadpool(find, plain_id(again), account_id)
        if stored is None or not stored.parameters:
            raise not_found("request of that id among yours")
        filled |= _filled(stored, parts)
    if seed is not None:
        filled |= {"seed": seed, "n": 1}
    return page(
        request, "playground.html",
        choices=[choice_of(model) for model in parts.engine.models.values()], filled=filled,
        knobs=KNOBS, most=openai.MAX_IMAGES, longest=MAX_PROMPT_CHARACTERS,
    )  # fmt: skip


def _filled(stored: StoredRequest, parts: Parts) -> dict[str, Any]:
    """The form's fields that ask for the same pictures again."""
    asked = stored.parameters
    loaded = parts.engine.models.get(stored.model)
    filled = {knob.name: asked.get(knob.name, "") for knob in KNOBS} | {
        "prompt": stored.prompt, "size": f"{asked['width']}x{asked['height']}",
        "width": asked["width"], "height": asked["height"],
        "n": asked["num_images"], "seed": asked["seed"], "output_format": stored.output["format"],
    }  # fmt: skip
    if loaded is None:  # another model draws another picture anyway: its own scale suits it better
        return filled | {"guidance": "", "true_cfg": ""}
    filled["model"] = loaded.names[0]
    if loaded.variant.transformer.guidance_embed:
        return filled
    return filled | {"guidance": asked["true_cfg"], "true_cfg": ""}


@router.post("/playground/generate")
async def generate(request: Request, body: ImageGenerationBody, form: Posted) -> Response:
    """OpenAI's stream of events, for a session in place of a key. `x-job-id` is what the request
    is called from now on; going away cancels it."""
    generation: Generation = request.app.state.generation
    parts = parts_of(request)
    caller = account_caller(form.session.account, parts)
    request.state.rate_headers = generation.hit(caller)
    body = body.model_copy(update={"stream": True})
    ask = openai.to_ask(body, parts, caller.limits.tolerance)
    came = arrival_of(request, "playground", body=await request.body())
    work = await generation.accept(ask, caller, came)
    answer = streamed(request, work, ask, keep_on=False)
    answer.headers["x-job-id"] = work.stored.id if isinstance(work, OpenRequest) else work.id
    return answer


@router.get("/playground/place/{job_id}")
async def place(request: Request, job_id: str, session: SignedIn) -> Response:
    """Return where a request stands: `ahead` and `seconds` are null once it has begun. Nothing
    (204) where none of one's own is open: it may have ended while the page asked, which is no
    error."""
    generation: Generation = request.app.state.generation
    work = generation.find(job_id)
    if work is None or work.stored.account_id != session.account.id:
        return Response(status_code=204)
    waiting = parts_of(request).engine.place(job_id)
    ahead, seconds = (None, None) if waiting is None else (waiting.ahead, waiting.seconds)
    stands = {"ahead": ahead, "seconds": seconds, "progress": generation.progress(job_id)}
    return JSONResponse(stands, headers={"cache-control": "no-store"})
