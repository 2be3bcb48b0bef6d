"""Files to networks that can draw: find, choose device and dtype, load."""

import logging
from functools import cache
from pathlib import Path

import torch

from flux1.errors import Flux1Error, nearest
from flux1.pipeline.encode import text_encoder
from flux1.pipeline.loaded import Loaded
from flux1.pipeline.staged import Staged
from flux1.settings import Settings, read
from flux1.variants import Licence
from flux1.weights.load import load_model
from flux1.weights.numbers.keep import Keep
from flux1.weights.numbers.quantize import Quantization
from flux1.weights.sources import Source, locate

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # float16 overflows in FLUX.1
_log = logging.getLogger("flux1")


Networks = Loaded | Staged


def load(
    name_or_path: str | Path | Source,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    memory: int | str | None = None,
    keep: Keep = "plain",
    quantize: Quantization | None = None,
) -> Networks:
    """The networks of a model: all of them now, or with `memory` as it allows. The arguments and
    errors are those of `FluxPipeline.from_pretrained`; a Source has been found already."""
    settings = read(Settings)
    source = (
        name_or_path if isinstance(name_or_path, Source) else locate(name_or_path, settings.models)
    )
    place = choose_device(settings.device if device is None else device)
    number = choose_dtype(settings.dtype if dtype is None else dtype, place)
    if memory is None:
        networks: Networks = _load_all(source, place, number, keep, quantize)
    elif keep == "plain":
        networks = Staged(source, place, number, memory, quantize)
    else:
        raise Flux1Error(f"keep: {keep!r} is chosen by memory; give one of the two")
    announce_licence(source.variant.licence, str(source.root or source.layout))
    return networks


def _load_all(
    source: Source,
    device: torch.device,
    dtype: torch.dtype,
    keep: Keep,
    quantize: Quantization | None,
) -> Loaded:
    model = load_model(source, dtype, device, keep, quantize)
    return Loaded(
        source.variant,
        model.transformer,
        model.autoencoder,
        text_encoder(model.text, source.variant.text),
        source.model_hash,
    )


@cache
def announce_licence(licence: Licence, origin: str) -> None:
    """Said once for each set of weights that asks something of whoever runs them."""
    if not licence.commercial_use:
        _log.warning(
            "licence of these weights: %s (%s); %s; kept in %s",
            licence.name,
            licence.duties,
            licence.url,
            origin,
        )


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
