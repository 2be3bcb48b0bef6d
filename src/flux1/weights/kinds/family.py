"""The FLUX.1 that a network is, as far as its tensors and its file's name tell."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from flux1.errors import WeightsError
from flux1.model.config import TransformerConfig
from flux1.variants import (
    APACHE,
    DEV_NON_COMMERCIAL,
    FLUX_DEV,
    FLUX_SCHNELL,
    VARIANTS,
    Licence,
    Variant,
)


@dataclass(frozen=True)
class Relatives:
    """Published models whose transformers have the same tensors."""

    titles: tuple[str, ...]
    licence: Licence
    extra_input: str = ""  # what is concatenated to the noisy latents

    def __str__(self) -> str:
        last = self.titles[-1]
        if len(self.titles) == 1:
            return last
        return f"{', '.join(self.titles[:-1])} or {last} (their tensors are alike)"


RELATIVES = {  # (in_channels, guidance_embed)
    (64, True): Relatives(
        ("FLUX.1 [dev]", "FLUX.1 Krea [dev]", "FLUX.1 Kontext [dev]"), DEV_NON_COMMERCIAL
    ),
    (64, False): Relatives(("FLUX.1 [schnell]",), APACHE),
    (128, True): Relatives(
        ("FLUX.1 Canny [dev]", "FLUX.1 Depth [dev]"), DEV_NON_COMMERCIAL, "a control image"
    ),
    (384, True): Relatives(
        ("FLUX.1 Fill [dev]",), DEV_NON_COMMERCIAL, "a masked image and its mask"
    ),
}


def relatives(config: TransformerConfig) -> Relatives | None:
    """The published models that a transformer of this shape can be; None if it has another width
    than theirs."""
    if config.hidden_size != TransformerConfig().hidden_size:
        return None
    return RELATIVES.get((config.in_channels, config.guidance_embed))


def row_for(name: str, config: TransformerConfig) -> Variant:
    """The row of a model that was given by path: the one of its name, or one like it.

    A name that has a row's words among its own (`flux1-krea-dev-Q4_0`) is like that row, else like
    [dev] if the network embeds guidance, like [schnell] if not.
    """
    for row in VARIANTS:
        exact = (row.id, last_part(row).lower(), Path(bfl_name(row)).stem)
        if name.lower() in exact and row.text.t5 is not None:
            return row
    like = named_row(name)
    if like is None or like.transformer.guidance_embed != config.guidance_embed:
        like = FLUX_DEV if config.guidance_embed else FLUX_SCHNELL
    return replace(like, id=name, title=f"{name}, as {like.title}", aliases=(), repository=None)


def named_row(name: str) -> Variant | None:
    """The row with repository whose words (`krea`, `dev`) are all in `name`; the one with the most
    words."""
    words = _words(name)
    found = [row for row in VARIANTS if row.repository and _words(bfl_name(row)) <= words]
    return max(found, key=lambda row: len(_words(bfl_name(row))), default=None)


def page_of(row: Variant) -> str | None:
    """The repository of a row, or of the published model that it is like."""
    like = FLUX_DEV if row.transformer.guidance_embed else FLUX_SCHNELL
    return row.repository or like.repository


def last_part(row: Variant) -> str:
    """FLUX.1-Krea-dev."""
    return (row.repository or row.id).rpartition("/")[2]


def bfl_name(row: Variant) -> str:
    """FLUX.1-Krea-dev to flux1-krea-dev.safetensors."""
    return last_part(row).lower().replace(".", "") + ".safetensors"


def check_fit(place: Path, row: Variant, wanted: Variant) -> None:
    """WeightsError unless the parts fit each other and the network is of the wanted kind."""
    shape, text = row.transformer, row.text
    if shape.guidance_embed != wanted.transformer.guidance_embed:
        has = "embeds" if shape.guidance_embed else "does not embed"
        raise WeightsError(f"{place}: its transformer {has} guidance, unlike {wanted.id}'s")
    known = relatives(shape)
    if known is not None and known.extra_input:
        raise WeightsError(
            f"{place}: is {known}, which draws from {known.extra_input} too; not built yet"
        )
    if text.clip is None or text.t5 is None:
        return
    pairs = (
        ("in_channels", shape.in_channels, 4 * row.autoencoder.latent_channels),
        ("out_channels", shape.out_channels, 4 * row.autoencoder.latent_channels),
        ("pooled width", shape.vec_in_dim, text.clip.hidden_size),
        ("text width", shape.context_in_dim, text.t5.hidden_size),
    )
    for name, width, needs in pairs:
        if width != needs:
            raise WeightsError(
                f"{place}: the transformer's {name} is {width}, the other parts have {needs}"
            )


def _words(name: str) -> set[str]:
    stem = name.lower().removesuffix(".safetensors")
    return set(re.split(r"[^a-z0-9]+", stem)) - {"flux1", "flux", "1"}
