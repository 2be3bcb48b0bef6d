"""A model's files to its networks and tokenizers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flux1.errors import WeightsError
from flux1.model.autoencoder import Autoencoder
from flux1.model.bert import BertText
from flux1.model.config import AutoencoderConfig, TransformerConfig
from flux1.model.transformer import Transformer
from flux1.variants import Text
from flux1.weights.build import Device, empty, fill, randomise
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.files.disk import unreadable
from flux1.weights.files.open import naming
from flux1.weights.kinds.kind import Kind, NetworkKind
from flux1.weights.kinds.table import KINDS
from flux1.weights.kinds.words import byte_tokenizer, vocabulary_size
from flux1.weights.lora.read import merge_lora, read_lora
from flux1.weights.model_files import Files, Source, verify
from flux1.weights.numbers.keep import Keep, Storing
from flux1.weights.numbers.quantize import Quantization, quantize_layers

RANDOM_SEED = 0  # of the variants whose weights are drawn, not read


@dataclass(frozen=True)
class Storage:
    """The device on which a network's weights are loaded, and the form that they are kept in:
    brought to `dtype`, or in another form where `keep` and `quantize` say so and the kind of
    network allows it."""

    dtype: torch.dtype = torch.float32
    device: Device = "cpu"
    keep: Keep = "plain"
    quantize: Quantization | None = None

    def storing(self, row: NetworkKind) -> Storing | None:
        """The maker of the layers that keep their weights otherwise; None where there are none.
        Flux1Error if the device has no arithmetic for the quantisation."""
        quantize = self.quantize if row.quantised else None
        if quantize is not None and row.quantised == "weights":
            quantize = "int8"
        keep = self.keep if row.stored else "plain"
        if keep == "plain" and quantize is None:
            return None
        return Storing(keep, quantize, self.dtype, self.device)


@dataclass(frozen=True)
class TextPart:
    """A text encoder's network and its tokenizer, which is of `tokenizers` or `transformers`."""

    network: Any
    tokenizer: Any


TextParts = Mapping[Kind, TextPart]


@dataclass(frozen=True)
class Model:
    """Everything that draws: networks in eval mode, without gradients."""

    transformer: Transformer
    autoencoder: Autoencoder
    text: TextParts


def load_model(
    source: Source,
    dtype: torch.dtype = torch.float32,
    device: Device = "cpu",
    keep: Keep = "plain",
    quantize: Quantization | None = None,
) -> Model:
    """All networks of a source; of a random one, the same weights each time.

    `keep` says how the transformer and FLUX.1's text encoders hold their weights (the other
    networks are small); `quantize` turns those of their blocks into eight bits on the way.
    WeightsError, one line, if a file is damaged or of another model, or cannot be kept so;
    Flux1Error if the device cannot compute so.
    """
    try:
        verify(source)
        return Model(
            source_transformer(source, dtype, device, keep, quantize),
            source_autoencoder(source, dtype, device),
            load_text(source, dtype, device, keep, quantize),
        )
    except OSError as failure:
        raise unreadable(failure) from failure


def networks(model: Model) -> list[nn.Module]:
    """The networks of a model, tokenizers left out."""
    return [model.transformer, model.autoencoder, *(part.network for part in model.text.values())]


def source_autoencoder(source: Source, dtype: torch.dtype, device: Device) -> Autoencoder:
    """A model's autoencoder, from its file or drawn at random. Errors as above."""
    config, files = source.variant.autoencoder, source.files
    if files is None:
        return random_autoencoder(config, RANDOM_SEED).to(device=device, dtype=dtype)
    return load_network(
        files.networks["autoencoder"], "autoencoder", config, Storage(dtype, device)
    )


def source_transformer(
    source: Source,
    dtype: torch.dtype,
    device: Device,
    keep: Keep = "plain",
    quantize: Quantization | None = None,
) -> Transformer:
    """A model's transformer: as its file has it, drawn at random, or computed from its files (with
    LoRAs in it, at one guidance scale). Errors as above."""
    config, files = source.variant.transformer, source.files
    if files is not None and not files.computed:
        storage = Storage(dtype, device, keep, quantize)
        return load_network(files.networks["transformer"], "transformer", config, storage)
    if keep != "plain":
        raise WeightsError(f"{source.variant.id}: no file holds its weights; keep them plain")
    if files is None:
        transformer = random_transformer(config, RANDOM_SEED)
    else:
        transformer = _computed(files, config)
    transformer.to(device=device, dtype=dtype)
    if quantize is not None:
        quantize_layers(transformer, quantize)
    return transformer


def _computed(files: Files, config: TransformerConfig) -> Transformer:
    """The transformer of files with LoRAs or a guidance scale, in fp32."""
    full_config = replace(
        config, guidance_embed=config.guidance_embed or files.guidance is not None
    )
    transformer: Transformer = load_network(
        files.networks["transformer"], "transformer", full_config
    )
    if files.guidance is not None:
        transformer = transformer.at_guidance(files.guidance)
    state: Mapping[str, Tensor] = transformer.state_dict()
    for lora in files.loras:
        state = merge_lora(state, read_lora(lora, config))
    transformer.load_state_dict({name: state[name] for name in state})
    return transformer.requires_grad_(False)


def load_network(
    checkpoint: Checkpoint | Path,
    kind: Kind,
    config: Any,
    storage: Storage = Storage(),
) -> Any:
    """One network of a checkpoint, in any names and any quantisation that are read.

    WeightsError, naming the path, if the file is damaged, holds another network or one of another
    shape, or cannot be kept so.
    """
    if isinstance(checkpoint, Path):
        checkpoint = Checkpoint(checkpoint)
    row, part = KINDS[kind], checkpoint.part(kind)
    with naming(checkpoint.path):
        state = row.ours(part.tensors, part.dialect, config)
        storing = storage.storing(row)
        return fill(empty(row.build, config), state, storage.dtype, storage.device, storing)


def load_text(
    source: Source,
    dtype: torch.dtype = torch.float32,
    device: Device = "cpu",
    keep: Keep = "plain",
    quantize: Quantization | None = None,
) -> TextParts:
    """The text networks and tokenizers of a source. Errors as above."""
    files, storage = source.files, Storage(dtype, device, keep, quantize)
    if files is None:
        parts = random_text(source.variant.text, RANDOM_SEED)
        for part in parts.values():
            part.network.to(device=device, dtype=dtype)
        return parts
    found: dict[Kind, TextPart] = {}
    for kind, config in source.variant.text.encoders.items():
        network = load_network(files.networks[kind], kind, config, storage)
        found[kind] = TextPart(network, _tokenizer(kind, files.tokenizers[kind], config.vocab_size))
    return found


def _tokenizer(kind: Kind, place: Path, words: int) -> Any:
    """WeightsError if it knows more words than the network."""
    tokenizer = KINDS[kind].tokenizer(place)
    if vocabulary_size(tokenizer) > words:
        raise WeightsError(
            f"{place}: has {vocabulary_size(tokenizer)} words, the text encoder knows {words}"
        )
    return tokenizer


def random_transformer(config: TransformerConfig, seed: int) -> Transformer:
    """Weights that let every input through, the same for the same seed; no global state is used."""
    return randomise(empty(Transformer, config, "cpu"), seed)


def random_autoencoder(config: AutoencoderConfig, seed: int) -> Autoencoder:
    """As `random_transformer`."""
    return randomise(empty(Autoencoder, config, "cpu"), seed)


def random_text(text: Text, seed: int) -> TextParts:
    """A random sentence encoder, and a tokenizer whose words are bytes: it needs no file.

    ValueError for FLUX.1's pair of encoders: no random variant has it.
    """
    if text.bert is None:
        raise ValueError("random text weights exist for a sentence encoder alone")
    network = randomise(empty(BertText, text.bert, "cpu"), seed)
    return {"bert": TextPart(network, byte_tokenizer())}
