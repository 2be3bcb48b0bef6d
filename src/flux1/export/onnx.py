"""A model's weights to a folder of ONNX graphs, in the layout in which FLUX.1's are published.

The graphs are written from the configs, the weights go from file to file one tensor at a time: a
24 GB model passes through memory of the size of its largest tensor.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from flux1 import __version__
from flux1.errors import OutputError, RequestError, WeightsError, nearest
from flux1.export.autoencoder import write_decoder, write_encoder
from flux1.export.bert import write_bert
from flux1.export.clip import write_clip
from flux1.export.graph import TYPES, Dtype, Graph
from flux1.export.t5 import write_t5
from flux1.export.transformer import write_transformer
from flux1.export.upscaler import write_upscaler
from flux1.export.write import EXTERNAL_ABOVE, weight_bytes, write_graph
from flux1.runtime.folder import INDEX, Exported, index_of
from flux1.variants import Licence, Variant
from flux1.weights import upscaler
from flux1.weights.files.disk import check_room, unreadable
from flux1.weights.files.safetensors import beside, write_json
from flux1.weights.kinds.keys import LARGEST_NUMBER
from flux1.weights.kinds.kind import Kind
from flux1.weights.kinds.table import KINDS
from flux1.weights.load import load_model
from flux1.weights.model_files import Source, verify
from flux1.weights.networks import open_network
from flux1.weights.upscaler import load_upscaler

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DTYPES = tuple(TYPES)
FIRST_OPSET, LAST_OPSET = 20, 23  # the first has GELU; the last that the tests run
OPSET = FIRST_OPSET
GRAPH = "model.onnx"
WRITERS: dict[Kind, Callable[[Graph, Any], None]] = {
    "clip": write_clip, "t5": write_t5, "bert": write_bert,
}  # fmt: skip
State = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Component:
    """One graph to be written: `file` is its path in the folder, `licence` that of its weights."""

    name: str
    file: str
    graph: Graph
    state: State
    licence: Licence


@dataclass(frozen=True)
class Export:
    """An export that is planned, known from headers alone."""

    source: Source
    place: Path
    dtype: Dtype
    opset: int
    components: tuple[Component, ...]
    tokenizers: Mapping[Kind, "Tokenizer"]

    @property
    def bytes(self) -> int:
        """The bytes of all weights that will be written."""
        return sum(weight_bytes(component.graph) for component in self.components)

    def write(
        self,
        advance: Callable[[int], None] = lambda _: None,
        external_above: int = EXTERNAL_ABOVE,
    ) -> Exported:
        """Write it all; `advance` is told the bytes of each tensor. model_index.json, which vouches
        for the rest, is last. OutputError, or WeightsError for numbers that int8 cannot hold."""
        (self.place / INDEX).unlink(missing_ok=True)
        written: list[Path] = []
        for one in self.components:
            written += write_graph(
                self.place / one.file,
                one.graph,
                one.state,
                self._metadata(one),
                advance,
                external_above,
            )
        words = self._write_tokenizers()
        written += [self.place / file for file in words.values()]
        for licence in _licences(self.source):
            shutil.copyfile(licence, self.place / licence.name)
        shutil.copyfile(upscaler.LICENCE_FILE, self.place / "upscaler.opt" / "LICENSE")
        sizes = {f.relative_to(self.place).as_posix(): f.stat().st_size for f in written}
        exported = Exported(
            variant=self.source.variant,
            model_hash=self.source.model_hash,
            version=__version__,
            dtype=self.dtype,
            opset=self.opset,
            components={one.name: one.file for one in self.components},
            tokenizers=words,
            files=sizes,
        )
        write_json(self.place / INDEX, index_of(exported))
        return exported

    def _write_tokenizers(self) -> dict[str, str]:
        """Write each tokenizer, and return its file inside the folder by its kind."""
        words = {
            str(name): f"{KINDS[name].places.words}/tokenizer.json" for name in self.tokenizers
        }
        for name, tokenizer in self.tokenizers.items():
            with beside(self.place / words[name]) as partial:
                partial.write_text(tokenizer.to_str(), encoding="utf-8")
        return words

    def _metadata(self, component: Component) -> dict[str, str]:
        licence = component.licence
        facts = {
            "component": component.name,
            "variant": self.source.variant.id,
            "model_hash": self.source.model_hash,
            "dtype": self.dtype,
            "version": __version__,
            "licence": licence.name,
            "licence_url": licence.url,
            "licence_duties": licence.duties,
        }
        return {f"flux1.{key}": value for key, value in facts.items() if value}


def plan_export(
    source: Source, place: Path, dtype: str = "fp32", opset: int = OPSET, force: bool = False
) -> Export:
    """Plan what `flux1 export onnx` does, before anything is written.

    RequestError for a dtype or an opset that cannot be; OutputError: `place` holds something
    already (without `force`), or its disk is too full; WeightsError as when the model is loaded.
    """
    if dtype not in TYPES:
        known = ", ".join(DTYPES)
        raise RequestError("dtype", f"{dtype!r} is none of {known}{nearest(dtype, DTYPES)}")
    if not FIRST_OPSET <= opset <= LAST_OPSET:
        near = min(max(opset, FIRST_OPSET), LAST_OPSET)
        facts = f"{opset} is not from {FIRST_OPSET} to {LAST_OPSET}; nearest: {near}"
        raise RequestError("opset", facts)
    if place.is_file() or (not force and place.is_dir() and any(place.iterdir())):
        raise OutputError(f"{place}: is there already; --overwrite writes over it")
    try:
        verify(source)
        states, tokenizers = _read(source)
    except OSError as failure:
        raise unreadable(failure) from failure
    components = [
        component
        for kind, (state, shapes) in states.items()
        for component in _components(kind, state, shapes, source.variant, dtype, opset)
    ]
    components.append(_upscaler(dtype, opset))
    plan = Export(source, place, dtype, opset, tuple(components), tokenizers)
    check_room(place, plan.bytes)
    return plan


def _components(
    kind: Kind, state: State, shapes: Shapes, variant: Variant, dtype: Dtype, opset: int
) -> list[Component]:
    """The graphs of one network: two of the autoencoder. It and CLIP, being small, stay in float32
    where the others have 8 bits, and the autoencoder in bf16 too, which convolutions have not.
    Text runs once for a picture and is spoilt easily: it is never multiplied in integers."""
    if kind == "transformer":
        graph = Graph(kind, shapes, dtype, opset, integers=True)
        write_transformer(graph, variant.transformer)
        file = f"transformer.opt/{dtype}/{GRAPH}"
        return [Component(kind, file, graph, state, variant.licence)]
    if kind == "autoencoder":
        kept: Dtype = "fp16" if dtype == "fp16" else "fp32"
        halves = {"vae": ("decoder.", write_decoder), "vae_encoder": ("encoder.", write_encoder)}
        found = []
        for name, (stem, write) in halves.items():
            own = {tensor: shape for tensor, shape in shapes.items() if tensor.startswith(stem)}
            graph = Graph(name, own, kept, opset)
            write(graph, variant.autoencoder)
            found.append(Component(name, f"{name}.opt/{GRAPH}", graph, state, variant.licence))
        return found
    graph = Graph(kind, shapes, "fp32" if (kind, dtype) == ("clip", "int8") else dtype, opset)
    WRITERS[kind](graph, variant.text.encoders[kind])
    return [Component(kind, f"{kind}.opt/{GRAPH}", graph, state, variant.licence)]


def _upscaler(dtype: Dtype, opset: int) -> Component:
    """The graph that enlarges pictures, the same for every model; kept as the autoencoder is."""
    state = load_upscaler().state_dict()
    graph = Graph("upscaler", _shapes(state), "fp16" if dtype == "fp16" else "fp32", opset)
    write_upscaler(graph, upscaler.CONFIG)
    return Component("upscaler", f"upscaler.opt/{GRAPH}", graph, state, upscaler.LICENCE)


def _read(source: Source) -> tuple[dict[Kind, tuple[State, Shapes]], dict[Kind, "Tokenizer"]]:
    """The tensors of each network, to be read when their turn comes, and their shapes; and the text
    encoders' tokenizers. What is made when it is loaded (random weights; a transformer with a LoRA
    for few steps) is made."""
    files = source.files
    if files is None or files.computed:
        model = load_model(source)
        states: dict[Kind, State] = {
            "transformer": model.transformer.state_dict(),
            "autoencoder": model.autoencoder.state_dict(),
            **{kind: part.network.state_dict() for kind, part in model.text.items()},
        }
        words = {kind: part.tokenizer for kind, part in model.text.items()}
        return {kind: (state, _shapes(state)) for kind, state in states.items()}, words
    found = {kind: open_network(one, kind, source) for kind, one in files.networks.items()}
    tokenizers = {kind: _fast_tokenizer(kind, path) for kind, path in files.tokenizers.items()}
    return {kind: (net.state, _shapes(net.forms)) for kind, net in found.items()}, tokenizers


def _fast_tokenizer(kind: Kind, folder: Path) -> "Tokenizer":
    """The tokenizer that `transformers` makes of a folder's files, as one that needs it no more;
    how it pads and cuts is told there. WeightsError for one that cuts the beginning of a text."""
    slow = KINDS[kind].tokenizer(folder)
    if not KINDS[kind].imports:
        return slow
    if slow.truncation_side != "right":
        raise WeightsError(
            f"{folder}: truncation_side is {slow.truncation_side!r}, a graph cuts at 'right' only"
        )
    fast: Tokenizer = slow.backend_tokenizer
    fast.no_truncation()
    if slow.model_max_length < LARGEST_NUMBER:
        fast.enable_truncation(slow.model_max_length)
    fast.enable_padding(
        direction=slow.padding_side, pad_id=slow.pad_token_id, pad_token=slow.pad_token
    )
    return fast


def _shapes(tensors: State) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _licences(source: Source) -> list[Path]:
    """The terms that lie with the weights: they go where the weights go."""
    root = source.root
    return sorted(root.glob("LICENSE*")) if root is not None and root.is_dir() else []
