"""The way of a drawn picture: looked at, made a file, signed, stored."""

import hashlib
from datetime import UTC, datetime, timedelta

import PIL.Image
from anyio import CapacityLimiter, to_thread
from PIL.Image import Image
from starlette.concurrency import run_in_threadpool

from flux1.errors import BlockedError, RequestError
from flux1.events import Finished
from flux1.safety.provenance import Recipe, encode_picture, recipe_of
from flux1.safety.verdict import Verdict
from flux1.server.ask import Ask
from flux1.server.open_request import Kept, OpenRequest
from flux1.server.parts import Parts
from flux1.server.problems import Problem
from flux1.store.requests import NewPicture, StoredRequest

FILES_AT_ONCE = 4  # threads that look at, encode, sign and store pictures
LONGEST_SIDE = {"webp": 16_383, "jpeg": 65_535}


class PictureFiles:
    """One for each server, on its event loop; what blocks runs in its threads."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._threads = CapacityLimiter(FILES_AT_ONCE)
        self._words = CapacityLimiter(FILES_AT_ONCE)

    async def look_over(self, ask: Ask) -> Verdict:
        """Before anything is drawn: can the file be made (RequestError, OutputError), and what are
        its words worth? A long prompt takes a second, so the database's threads do not do it."""
        return await to_thread.run_sync(self._look_over, ask, limiter=self._words)

    def _look_over(self, ask: Ask) -> Verdict:
        self.check_output(ask)
        # not the negative prompt: to keep something out, one has to name it
        return self._parts.prompts.check(ask.request.prompt, ask.tolerance)

    def check_output(self, ask: Ask) -> None:
        """Before anything is drawn: RequestError or OutputError if the file could not be made."""
        longest = max(ask.request.finished_size)
        if longest > LONGEST_SIDE.get(ask.output.format, longest):
            limit = LONGEST_SIDE[ask.output.format]
            raise RequestError(
                "output_format", f"{ask.output.format} holds at most {limit} pixels a side"
            )
        _encoded(ask, PIL.Image.new("RGB", (16, 16)), ask.request.seed)

    async def may_show(self, picture: Image, tolerance: int) -> bool:
        """Return whether a preview is within policy: late ones are almost the picture."""
        check = self._parts.pictures.check
        verdict = await to_thread.run_sync(check, picture, tolerance, limiter=self._threads)
        return not verdict.blocked

    async def keep(self, opened: OpenRequest, event: Finished) -> Kept:
        """Store a picture's signed file; its verdict is noted in `opened`. BlockedError if it is
        against policy."""
        return await to_thread.run_sync(self._keep, opened, event, limiter=self._threads)

    def _keep(self, opened: OpenRequest, event: Finished) -> Kept:
        ask, picture = opened.ask, event.picture
        opened.trace.lap("wait", event.image)  # for one of the threads
        verdict = self._parts.pictures.check(picture, ask.tolerance)
        opened.verdicts[f"picture {event.image}"] = {
            "blocked": list(verdict.categories),
            "scores": dict(verdict.scores),
        }
        if verdict.blocked:
            raise BlockedError(
                "the picture is against this server's policy and was not kept;",
                verdict.categories,
                "output",
            )
        opened.trace.lap("classify", event.image)
        encoded = _encoded(ask, picture, event.seed)
        opened.trace.lap("encode", event.image)
        data = self._parts.credentials.sign(*encoded)
        opened.trace.lap("sign", event.image)
        picture_id = f"{opened.stored.id.replace('req_', 'img_')}_{event.image}"
        self._parts.store.pictures.put(picture_id, data, ask.output.media_type)
        opened.trace.lap("store", event.image)
        days = self._parts.settings.retention_days
        stored = NewPicture(
            id=picture_id, index=event.image, seed=event.seed, width=picture.width,
            height=picture.height, media_type=ask.output.media_type, size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            expires=datetime.now(UTC) + timedelta(days=days) if days else None,
        )  # fmt: skip
        return Kept(stored, data)

    def drop(self, pictures: list[NewPicture]) -> None:
        """Delete files that no row names. Blocks."""
        for picture in pictures:
            self._parts.store.pictures.delete(picture.id, picture.media_type)


def _encoded(ask: Ask, picture: Image, seed: int) -> tuple[bytes, str, Recipe]:
    """A picture's file with its recipe inside (OutputError if its format cannot hold that)."""
    recipe, output = recipe_of(ask.request, seed, ask.model.origin), ask.output
    data = encode_picture(picture, recipe, output.format.upper(), output.quality)
    return data, output.media_type, recipe


async def read_again(parts: Parts, stored: StoredRequest) -> list[Kept]:
    """The pictures of a request that has ended, for the same question asked again (Problem 410)."""
    kept = []
    for picture in stored.pictures:
        data = await run_in_threadpool(parts.store.pictures.get, picture.id, picture.media_type)
        if data is None or picture.erased is not None:
            raise Problem(410, f"the pictures of {stored.id} are no longer kept", "pictures_erased")
        kept.append(Kept(picture, data))
    return kept
