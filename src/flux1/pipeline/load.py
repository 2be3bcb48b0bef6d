"""Files to a ready pipeline: find, choose device and dtype, load, join."""

import logging
from functools import cache
from pathlib import Path

import torch

from flux1.errors import Flux1Error, nearest
from flux1.pipeline.encode import FluxTextEncoder, SentenceTextEncoder, TextEncoder
from flux1.pipeline.pipeline import FluxPipeline
from flux1.settings import Settings, read
from flux1.variants import FluxText, Licence, SentenceText
from flux1.weights.load import FluxTextParts, Keep, SentenceTextParts, TextParts, load_model
from flux1.weights.numbers.quantize import Quantization
from flux1.weights.sources import Source, locate

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # float16 overflows in FLUX.1
_log = logging.getLogger("flux1")


def load_pipeline(
    name_or_path: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    keep: Keep = "plain",
    quantize: Quantization | None = None,
    memory: int | str | None = None,
) -> FluxPipeline:
    """See `FluxPipeline.from_pretrained`."""
    source = locate(name_or_path, read(Settings).models)
    return load_source(
        source, device=device, dtype=dtype, keep=keep, quantize=quantize, memory=memory
    )


def load_source(
    source: Source,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    keep: Keep = "plain",
    quantize: Quantization | None = None,
    memory: int | str | None = None,
) -> FluxPipeline:
    """See `FluxPipeline.from_pretrained`; the files were found already."""
    settings = read(Settings)
    place = choose_device(settings.device if device is None else device)
    number = choose_dtype(settings.dtype if dtype is None else dtype, place)
    origin = str(source.root or source.layout)
    if memory is not None:
        if keep != "plain":
            raise Flux1Error(f"keep: {keep!r} is chosen by memory; give one of the two")
        from flux1.pipeline.staged import StagedPipeline

        staged = StagedPipeline(source, origin, place, number, memory, quantize)
        announce_licence(source.variant.licence, origin)
        return staged
    model = load_model(source, number, place, keep, quantize)
    announce_licence(source.variant.licence, origin)
    return FluxPipeline(
        source.variant,
        model.transformer,
        model.autoencoder,
        text_encoder(model.text, source.variant.text),
        source.model_hash,
        origin,
    )


@cache
def announce_licence(licence: Licence, origin: str) -> None:
    """Said once for each set of weights that asks something of whoever runs them."""
    if not licence.commercial_use:
        _log.warning(
            "licence of these weights: %s (%s); %s; kept in %s",
            licence.name, licence.duties, licence.url, origin,
        )  # fmt: skip


def text_encoder(parts: TextParts, text: FluxText | SentenceText) -> TextEncoder:
    """Text networks and tokenizers to what turns prompts into conditioning."""
    if isinstance(parts, FluxTextParts) and isinstance(text, FluxText):
        longest = min(parts.clip_tokenizer.model_max_length, text.clip.max_length)
        lengths = longest, text.max_tokens
        return FluxTextEncoder(
            parts.clip, parts.t5, parts.clip_tokenizer, parts.t5_tokenizer, *lengths
        )
    assert isinstance(parts, SentenceTextParts)  # a variant has one kind of text or the other
    return SentenceTextEncoder(parts.bert, parts.tokenizer, text.max_tokens)


def choose_device(wanted: str | torch.device) -> torch.device:
    """'auto': CUDA if there is a card, else the CPU. Anything else must exist (Flux1Error)."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError):
        raise Flux1Error(
            f"device: {wanted!r} is not a device{nearest(str(wanted), ('cpu', 'cuda', 'mps'))}"
        ) from None
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        here = ", ".join(name for name, there in present.items() if there)
        raise Flux1Error(f"device: {wanted} is not on this machine; here: {here}")
    return device


def choose_dtype(wanted: str | torch.dtype, device: torch.device) -> torch.dtype:
    """'auto': bfloat16 on an accelerator, float32 on the CPU (where bfloat16 is slower)."""
    if isinstance(wanted, torch.dtype):
        wanted = str(wanted).removeprefix("torch.")
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if not isinstance(wanted, str) or wanted not in DTYPES:
        known = ", ".join(DTYPES)
        raise Flux1Error(f"dtype: {wanted!r} is not one of {known}{nearest(wanted, DTYPES)}")
    return DTYPES[wanted]
