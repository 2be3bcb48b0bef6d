"""A folder of pictures to what is trained on: sizes chosen, everything encoded, all said.

examples -> a size for each -> text features and latents on disk -> EncodedPicture
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from flux1.errors import DataError
from flux1.pipeline.memory import give_back
from flux1.training.finetune.base_networks import BaseNetworks
from flux1.training.finetune.cache import Cache, RememberedText, encode_captions, encode_picture
from flux1.training.finetune.dataset import Example, read_examples
from flux1.training.finetune.encoded import EncodedPicture
from flux1.training.finetune.remarks import Remarks
from flux1.training.finetune.settings import Pictures
from flux1.training.finetune.sizes import Fit, fit

MANY_CROPPED = 0.25  # a share of a picture, from which on it is said
CAPTIONS_AT_ONCE = 8
WORDS_SHOWN = 40  # characters of what is not read of a caption
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Preparation:
    """The preparation of one run's pictures; `remarks` are told what is wrong with any."""

    pictures: Pictures
    parts: BaseNetworks
    cache: Cache
    remarks: Remarks
    console: Console

    def encoded(self, prompts: Sequence[str]) -> tuple[EncodedPicture, ...]:
        """Everything that can be learnt from, encoded, with the `prompts` of previews. DataError
        if there is nothing."""
        examples = read_examples(self.pictures, self.remarks, self.cache.folder / "datasets")
        wanted = self._fitted(examples)
        said = {prompt: prompt for prompt in prompts} | {e.name: e.caption for e, _ in wanted}
        self._encode_captions(["", *said.values()])
        for name, caption in said.items():
            self._remark_on_length(name, caption)
        wanted = self._encode_pictures(wanted)
        if not wanted:
            raise DataError(
                f"data: {', '.join(map(str, self.pictures.folders))}: nothing to learn from: "
                f"{'; '.join(self.remarks)}"
            )
        multiple = self.parts.source.variant.size_multiple
        return tuple(
            EncodedPicture(
                example.name,
                example.caption,
                self.cache.latents_file(example.sha256, size.sides),
                (size.height // multiple, size.width // multiple),
            )
            for example, size in wanted
            for _ in range(example.repeats)
        )

    def _fitted(self, examples: Sequence[Example]) -> list[tuple[Example, Fit]]:
        """Each picture at each wanted resolution that it is large enough for, each size once."""
        multiple, wanted = self.parts.source.variant.size_multiple, []
        sides = self.parts.settings.resolutions
        for example in examples:
            seen = example.look
            fits = [fit(seen.width, seen.height, side, multiple) for side in sides]
            found = dict.fromkeys(one for one in fits if one is not None)
            if not found:
                self.remarks.add(
                    f"of less than a quarter of {min(sides)}x{min(sides)} pixels, left out",
                    f"{example.name} ({seen.width}x{seen.height})",
                )
            for one in found:
                if one.cropped > MANY_CROPPED:
                    self.remarks.add(
                        "of which more than a quarter is cut off",
                        f"{example.name} ({one.cropped:.0%}, for {one.width}x{one.height})",
                    )
                wanted.append((example, one))
        return wanted

    def _encode_captions(self, captions: Iterable[str]) -> None:
        wanted = [c for c in dict.fromkeys(captions) if not self.cache.has_text(c)]
        if not wanted:
            return
        encoder = self.parts.text_encoder()
        starts = range(0, len(wanted), CAPTIONS_AT_ONCE)
        for start in self._tracked(starts, "encoding captions"):
            encode_captions(self.cache, encoder, wanted[start : start + CAPTIONS_AT_ONCE])
        del encoder
        give_back()

    def _remark_on_length(self, name: str, caption: str) -> None:
        (words,) = RememberedText(self.cache)([caption])
        if words.dropped:
            self.remarks.add(
                f"of more than {len(words.txt)} tokens in words, the rest is not read",
                f"{name} (from {words.dropped[:WORDS_SHOWN]!r})",
            )

    def _encode_pictures(self, wanted: list[tuple[Example, Fit]]) -> list[tuple[Example, Fit]]:
        """Those that are encoded now; the rest cannot be."""
        missing = [
            (example, one)
            for example, one in wanted
            if not self.cache.has_latents(example.sha256, one.sides)
        ]
        if not missing:
            return wanted
        autoencoder = self.parts.autoencoder()
        for example, one in self._tracked(missing, "encoding pictures"):
            try:
                if not encode_picture(self.cache, autoencoder, example, one.sides):
                    self.remarks.add("without finite latents, left out", example.name)
            except DataError as failure:
                self.remarks.add("unreadable, left out", f"{example.name} ({failure})")
        del autoencoder
        give_back()
        return [pair for pair in wanted if self.cache.has_latents(pair[0].sha256, pair[1].sides)]

    def _tracked(self, things: Sequence[Thing], doing: str) -> Iterable[Thing]:
        quiet = not self.console.is_terminal
        return track(things, doing, console=self.console, transient=True, disable=quiet)
