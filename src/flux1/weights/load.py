"""Files to networks: built without memory, then given the tensors, checked by name and shape."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from flux1.errors import WeightsError
from flux1.model.autoencoder import Autoencoder
from flux1.model.bert import BertText
from flux1.model.config import AutoencoderConfig, TransformerConfig
from flux1.model.text import ClipText, T5Text
from flux1.model.transformer import Transformer
from flux1.variants import FluxText, SentenceText
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.files.disk import unreadable
from flux1.weights.files.lazy import Stored, StoredTensors
from flux1.weights.files.open import naming
from flux1.weights.kinds.kind import Kind, NetworkKind
from flux1.weights.kinds.lines import check_names, listed
from flux1.weights.kinds.table import KINDS
from flux1.weights.lora.read import merge_lora, read_lora
from flux1.weights.model_files import Files, Source, verify
from flux1.weights.numbers.keep import Keep, Storing
from flux1.weights.numbers.quantize import Quantization, quantize_layers

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config")
Device = torch.device | str

RANDOM_SEED = 0  # of the variants whose weights are drawn, not read


@dataclass(frozen=True)
class Storage:
    """Where a network's weights go, and how they are kept there: brought to `dtype`, or in another
    form where `keep` and `quantize` say so and the kind of network allows it."""

    dtype: torch.dtype = torch.float32
    device: Device = "cpu"
    keep: Keep = "plain"
    quantize: Quantization | None = None

    def storing(self, row: NetworkKind) -> Storing | None:
        """What makes the layers that keep their weights otherwise; None where there are none.
        Flux1Error if the device has no arithmetic for the quantisation."""
        quantize = self.quantize if row.quantised else None
        if quantize is not None and row.quantised == "weights":
            quantize = "int8"
        keep = self.keep if row.stored else "plain"
        if keep == "plain" and quantize is None:
            return None
        return Storing(keep, quantize, self.dtype, self.device)


@dataclass(frozen=True)
class FluxTextParts:
    """FLUX.1's text networks and their tokenizers."""

    clip: ClipText
    t5: T5Text
    clip_tokenizer: "PreTrainedTokenizerBase"
    t5_tokenizer: "PreTrainedTokenizerBase"


@dataclass(frozen=True)
class SentenceTextParts:
    """One sentence encoder and its tokenizer."""

    bert: BertText
    tokenizer: "Tokenizer"


TextParts = FluxTextParts | SentenceTextParts


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
    text = model.text
    encoders = [text.clip, text.t5] if isinstance(text, FluxTextParts) else [text.bert]
    return [model.transformer, model.autoencoder, *encoders]


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
    told = replace(config, guidance_embed=config.guidance_embed or files.guidance is not None)
    transformer: Transformer = load_network(files.networks["transformer"], "transformer", told)
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
        return _assign(_empty(row.build, config), state, storage, storage.storing(row))


def load_text(
    source: Source,
    dtype: torch.dtype = torch.float32,
    device: Device = "cpu",
    keep: Keep = "plain",
    quantize: Quantization | None = None,
) -> TextParts:
    """The text networks and tokenizers of a source. Errors as above."""
    text, files = source.variant.text, source.files
    storage = Storage(dtype, device, keep, quantize)
    if files is None:
        parts = random_text(text, RANDOM_SEED)
        parts.bert.to(device=device, dtype=dtype)
        return parts
    if isinstance(text, FluxText):
        clip = load_network(files.networks["clip"], "clip", text.clip, storage)
        t5 = load_network(files.networks["t5"], "t5", text.t5, storage)
        words = (transformers_tokenizer(folder) for folder in files.tokenizers.values())
        return FluxTextParts(clip, t5, *words)
    tokenizer = load_tokenizer(files.tokenizers["bert"])
    if tokenizer.get_vocab_size() > text.bert.vocab_size:
        raise WeightsError(
            f"{files.tokenizers['bert']}: has {tokenizer.get_vocab_size()} words, the text encoder "
            f"knows {text.bert.vocab_size}"
        )
    return SentenceTextParts(
        load_network(files.networks["bert"], "bert", text.bert, storage), tokenizer
    )


def load_tokenizer(file: Path) -> "Tokenizer":
    """A `tokenizer.json`. WeightsError if it is none."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as failure:  # `tokenizers` raises bare Exception
        raise WeightsError(f"{file}: not a tokenizer: {_first_line(failure)}") from failure


def random_transformer(config: TransformerConfig, seed: int) -> Transformer:
    """Weights that let every input through, the same for the same seed; no global state is used."""
    return _randomise(_empty(Transformer, config), seed)


def random_autoencoder(config: AutoencoderConfig, seed: int) -> Autoencoder:
    """As `random_transformer`."""
    return _randomise(_empty(Autoencoder, config), seed)


def random_text(config: FluxText | SentenceText, seed: int) -> SentenceTextParts:
    """A random sentence encoder, and a tokenizer whose words are bytes: it needs no file.

    ValueError for FLUX.1's pair of encoders: no random variant has it.
    """
    if isinstance(config, FluxText):
        raise ValueError("random text weights exist for SentenceText, not for FluxText")
    return SentenceTextParts(_randomise(_empty(BertText, config.bert), seed), _byte_tokenizer())


def count(build: Callable[[Config], nn.Module], config: Config) -> tuple[int, int]:
    """(numbers, tensors) that a network learns, tied ones once; takes no memory."""
    parameters = list(_empty(build, config).parameters())
    return sum(parameter.numel() for parameter in parameters), len(parameters)


def check_shapes(row: NetworkKind, config: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """WeightsError lists the tensors (under our names) that a network of this kind and `config`
    has in another shape. No tensor is read."""
    network = _empty(row.build, config)
    wanted = {name: network.get_parameter(name).shape for name in _parameter_names(network)}
    wrong = [
        _misshapen(name, shape, wanted[name])
        for name, shape in shapes.items()
        if name in wanted and shape != wanted[name]
    ]
    if wrong:
        raise WeightsError(f"wrong shape: {listed(wrong)}")


def _misshapen(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return f"{name} {tuple(found)}, not {tuple(wanted)}"


def _empty(build: Callable[[Config], Network], config: Config) -> Network:
    """A network of shapes alone."""
    with torch.device("meta"):
        return build(config).eval().requires_grad_(False)


def _assign(
    network: Network,
    state: StoredTensors,
    storage: Storage,
    storing: Storing | None,
) -> Network:
    """Give a network of shapes the tensors of `state`, cast and moved one at a time; or layers that
    keep them otherwise, where `storing` makes such.

    WeightsError lists names that are missing or unknown, then tensors of a wrong shape.
    """
    wanted = _parameter_names(network)
    check_names(state.keys(), wanted)
    wrong: list[str] = []
    filled: dict[str, nn.Parameter] = {}
    for name, aliases in wanted.items():
        if storing is not None and _stored(network, aliases, state.stored[name], storing):
            continue
        tensor, shape = state[name], network.get_parameter(name).shape
        if not tensor.is_floating_point():
            raise WeightsError(f"{name}: is kept as {tensor.dtype}, in a way that is not known")
        if tensor.shape != shape:
            wrong.append(_misshapen(name, tensor.shape, shape))
            continue
        parameter = nn.Parameter(
            tensor.to(device=storage.device, dtype=storage.dtype), requires_grad=False
        )
        filled |= dict.fromkeys(aliases, parameter)
    if wrong:
        raise WeightsError(f"wrong shape: {listed(wrong)}")
    network.load_state_dict(filled, assign=True)
    _fill_buffers(network, storage.device)
    return network


def _stored(network: nn.Module, aliases: list[str], stored: Stored, storing: Storing) -> bool:
    """Put a layer that keeps its weight otherwise in the places of this one, if it is to be."""
    modules = [name.removesuffix(".weight") for name in aliases if name.endswith(".weight")]
    if len(modules) < len(aliases):
        return False
    layer = storing.layer(modules[0], network.get_submodule(modules[0]), stored)
    if layer is None:
        return False
    for module in modules:
        network.set_submodule(module, layer)
    return True


def _parameter_names(network: nn.Module) -> dict[str, list[str]]:
    """The first name of each parameter, and all the names that it has (T5's embedding has two)."""
    aliases: dict[int, list[str]] = defaultdict(list)
    for name, parameter in network.named_parameters(remove_duplicate=False):
        aliases[id(parameter)].append(name)
    return {group[0]: group for group in aliases.values()}


def _fill_buffers(network: nn.Module, device: Device) -> None:
    """Give the constants that `transformers` computes when it builds, and no file holds, their
    values: a network built on the meta device has their shapes only."""
    for name, buffer in list(network.named_buffers()):
        module, _, attribute = name.rpartition(".")
        if attribute != "position_ids":
            raise TypeError(f"the value of buffer {name} is not known")
        value = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
        network.get_submodule(module).register_buffer(attribute, value, persistent=False)


@torch.no_grad()
def _randomise(network: Network, seed: int) -> Network:
    """Draw weights: matrices and kernels with variance 1 / inputs, biases small, norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    network.to_empty(device="cpu")
    for name in _parameter_names(network):
        parameter = network.get_parameter(name)
        parameter.normal_(generator=generator)
        if parameter.ndim > 1:
            parameter.div_(parameter[0].numel() ** 0.5)
        elif name.endswith("bias"):
            parameter.mul_(0.02)
        else:
            parameter.mul_(0.1).add_(1.0)
    _fill_buffers(network, "cpu")
    return network


def transformers_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """A folder of any of the library's tokenizers. WeightsError if it is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as failure:  # so does what is built on it
        raise WeightsError(f"{folder}: not a tokenizer: {_first_line(failure)}") from failure


def _byte_tokenizer() -> "Tokenizer":
    """[CLS], the bytes of the text, [SEP]: the frame of BERT's tokenizer over 256 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[CLS]", "[SEP]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return tokenizer


def _first_line(failure: Exception) -> str:
    return (str(failure).splitlines() or [type(failure).__name__])[0]
