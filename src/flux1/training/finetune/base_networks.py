"""A model's networks, each loaded when it is its turn, as a run of finetuning needs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch

from flux1.errors import DataError, nearest
from flux1.model.autoencoder import Autoencoder
from flux1.model.transformer import Transformer
from flux1.pipeline.encode import TextEncoder, text_encoder
from flux1.training.finetune.settings import FinetuneSettings
from flux1.training.finetune.stored import let_gradients_through
from flux1.training.lora import LoraNetwork, linear_layers, widths
from flux1.weights.load import (
    RANDOM_SEED,
    Storage,
    load_network,
    load_text,
    random_autoencoder,
    random_transformer,
)
from flux1.weights.model_files import Source
from flux1.weights.numbers.quantize import check_device, quantize_layers

LAYERS = {
    "attention": (".qkv", ".proj", ".linear1", ".linear2"),
    "blocks": (".qkv", ".proj", ".linear1", ".linear2", "_mlp.0", "_mlp.2"),
}


@dataclass(frozen=True)
class BaseNetworks:
    """The networks of a source. Errors are those of weights/load.py."""

    source: Source
    settings: FinetuneSettings
    device: torch.device

    def check(self) -> None:
        """DataError or Flux1Error for settings that the model or the device cannot take. Nothing is
        loaded for that."""
        settings = self.settings
        if settings.quantize is not None:
            check_device(settings.quantize, self.device)
        if settings.method == "lora":
            with torch.device("meta"):
                shape = Transformer(self.source.variant.transformer)
            self._lora_layers(shape)

    def text_encoder(self) -> TextEncoder:
        dtype = getattr(torch, self.settings.precision)
        parts = load_text(self.source, dtype, self.device, self.settings.keep)
        return text_encoder(parts, self.source.variant.text)

    def autoencoder(self) -> Autoencoder:
        """In fp32: it is small, and what it says of a picture is kept."""
        config, files = self.source.variant.autoencoder, self.source.files
        if files is None:
            return random_autoencoder(config, RANDOM_SEED).to(self.device)
        storage = Storage(torch.float32, self.device)
        return load_network(files.networks["autoencoder"], "autoencoder", config, storage)

    def autoencoder_shape(self) -> Autoencoder:
        """Its shapes alone."""
        with torch.device("meta"):
            return Autoencoder(self.source.variant.autoencoder)

    def transformer(self) -> Transformer:
        """In the run's precision; one whose own weights are trained in fp32."""
        settings, variant = self.settings, self.source.variant
        full = settings.method == "full"
        dtype = torch.float32 if full else getattr(torch, settings.precision)
        if self.source.files is not None:
            storage = Storage(dtype, self.device, settings.keep, settings.quantize)
            checkpoint = self.source.files.networks["transformer"]
            return load_network(checkpoint, "transformer", variant.transformer, storage)
        transformer = random_transformer(variant.transformer, RANDOM_SEED).to(self.device, dtype)
        if settings.quantize is not None:
            quantize_layers(transformer, settings.quantize)
        return transformer

    def lora(self, transformer: Transformer) -> LoraNetwork:
        """New branches beside the layers that the settings name. DataError as in `check`."""
        settings = self.settings
        layers = self._lora_layers(transformer)
        assert settings.rank is not None
        assert settings.alpha is not None
        let_gradients_through(transformer)
        torch.manual_seed(settings.seed)
        return LoraNetwork(transformer, layers, settings.rank, settings.alpha)

    def _lora_layers(self, transformer: Transformer) -> list[str]:
        settings = self.settings
        assert settings.rank is not None
        layers = layers_of(transformer, settings.layers, settings.only)
        check_rank(transformer, layers, settings.rank)
        return layers


def check_rank(transformer: Transformer, layers: Sequence[str], rank: int) -> None:
    """DataError, naming the layer, if one of these is narrower than the rank."""
    width = {name: min(widths(transformer.get_submodule(name))) for name in layers}
    narrowest = min(layers, key=lambda name: width[name])
    if rank > width[narrowest]:
        raise DataError(
            f"rank: {rank} is above the width of {narrowest}; nearest: {width[narrowest]}"
        )


def layers_of(transformer: Transformer, which: str | None, only: Sequence[str] = ()) -> list[str]:
    """The linear layers that a LoRA changes: in the blocks those of the attention, these and the
    feed-forward ones, or all of the network; of these, those that match a pattern of `only`.
    DataError for a pattern that matches none."""
    names = linear_layers(transformer, ("",))
    if which in LAYERS:
        names = [name for name in names if "_blocks." in name and name.endswith(LAYERS[which])]
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise DataError(
                f"only: {pattern!r} is the name of none of the {len(names)} layers, from "
                f"{names[0]} to {names[-1]}{nearest(pattern, names)}"
            )
    return [name for name in names if not only or any(fnmatchcase(name, one) for one in only)]
