"""One table of names, read in both directions: BFL's (ours) and diffusers'; no torch network here.
The text encoders' names are transformers', and llama.cpp's for T5.

Transformer: diffusers splits the fused `qkv` and `linear1`, and swaps the two halves of the last
modulation (theirs is scale, shift; BFL's is shift, scale). Autoencoder: diffusers numbers the
decoder's levels from the latents up, and keeps the attention's 1x1 convolutions as linears.
Every function is total: a name that the table does not hold, or that the state lacks, is an error,
and so is a part of another size.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from flux1.errors import WeightsError
from flux1.model.config import AutoencoderConfig, ClipConfig, T5Config, TransformerConfig
from flux1.weights.files.lazy import (
    EVERY,
    LazyTensors,
    Stored,
    StoredTensors,
    derived,
    in_memory,
    joined,
    swapped,
)

SHOWN = 5  # names listed in an error
T5_UNUSED = {"lm_head.weight", "logit_scale", "spiece_model", "output.weight"}
T5_LLAMA = {  # llama.cpp's names: of whole tensors, and of a block's parts
    "token_embd.weight": "shared.weight",
    "enc.output_norm.weight": "encoder.final_layer_norm.weight",
    "attn_q": "layer.0.SelfAttention.q",
    "attn_k": "layer.0.SelfAttention.k",
    "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o",
    "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "attn_norm": "layer.0.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1",
    "ffn_down": "layer.1.DenseReluDense.wo",
    "ffn_norm": "layer.1.layer_norm",
}
T5_GATES = ("DenseReluDense.wi_0.weight", "ffn_gate.weight")
T5_PLAIN = "layer.1.DenseReluDense.wi"  # the first matrix of an MLP without a gate


@dataclass(frozen=True)
class Line:
    """One tensor of BFL's and the tensors of diffusers' that hold the same numbers."""

    bfl: str
    diffusers: tuple[str, ...]
    form: Literal["same", "fused", "swapped", "kernel"] = "same"
    rows: tuple[int, ...] = ()  # of each part of a fused tensor


def transformer_table(config: TransformerConfig) -> list[Line]:
    """Every tensor of a transformer of this shape: 780 lines for dev, 776 for schnell."""
    return list(_transformer_lines(config))


def autoencoder_table(config: AutoencoderConfig) -> list[Line]:
    """Every tensor of an autoencoder of this shape: 244 lines for FLUX.1's."""
    return list(_autoencoder_lines(config))


def transformer_to_diffusers(
    state: Mapping[str, Tensor], config: TransformerConfig
) -> Mapping[str, Tensor]:
    """BFL's names to diffusers', each tensor computed when asked for.

    WeightsError lists unknown and missing names; so do the three functions below.
    """
    return _to_diffusers(state, transformer_table(config))


def transformer_from_diffusers(
    state: Mapping[str, Tensor], config: TransformerConfig
) -> StoredTensors:
    """Diffusers' names to BFL's, each tensor computed when asked for."""
    return _from_diffusers(state, transformer_table(config))


def autoencoder_to_diffusers(
    state: Mapping[str, Tensor], config: AutoencoderConfig
) -> Mapping[str, Tensor]:
    """BFL's names to diffusers', each tensor computed when asked for."""
    return _to_diffusers(state, autoencoder_table(config))


def autoencoder_from_diffusers(
    state: Mapping[str, Tensor], config: AutoencoderConfig
) -> StoredTensors:
    """Diffusers' names to BFL's, each tensor computed when asked for."""
    return _from_diffusers(state, autoencoder_table(config))


def clip_names(state: Mapping[str, Tensor]) -> StoredTensors:
    """A CLIP file, with or without the `text_model.` prefix, to ClipText's names."""
    return _renamed(state, clip_name)


def t5_names(state: Mapping[str, Tensor]) -> StoredTensors:
    """A T5 file, in transformers' or llama.cpp's names, to T5Text's names. The embedding, tied, may
    have either of its names, or both."""
    return _renamed(state, partial(t5_name, gated=t5_gated(state)))


def bert_names(state: Mapping[str, Tensor]) -> StoredTensors:
    """A BERT file, with or without the `bert.` prefix, to BertText's names (no pooling layer)."""
    return _renamed(state, bert_name)


def clip_table(config: ClipConfig) -> list[str]:
    """ClipText's names: 196 for CLIP-L."""
    stem = "text_model"
    embeddings = [f"{stem}.embeddings.{kind}_embedding.weight" for kind in ("token", "position")]
    parts = [f"self_attn.{part}_proj" for part in "kvq"] + [
        "self_attn.out_proj", "layer_norm1", "mlp.fc1", "mlp.fc2", "layer_norm2",
    ]  # fmt: skip
    layers = [f"{stem}.encoder.layers.{i}" for i in range(config.num_layers)]
    modules = [f"{layer}.{part}" for layer in layers for part in parts]
    modules.append(f"{stem}.final_layer_norm")
    return embeddings + [f"{name}.{kind}" for name in modules for kind in ("weight", "bias")]


def t5_table(config: T5Config) -> list[str]:
    """T5Text's names, the tied embedding once: 219 for T5-XXL."""
    modules, mlp = ["t5.shared"], ("wi_0", "wi_1", "wo") if config.gated else ("wi", "wo")
    for i in range(config.num_layers):
        block = f"t5.encoder.block.{i}.layer"
        bias = ["relative_attention_bias"] if i == 0 else []
        modules += [f"{block}.0.SelfAttention.{part}" for part in ["q", "k", "v", "o", *bias]]
        modules += [f"{block}.1.DenseReluDense.{part}" for part in mlp]
        modules += [f"{block}.{part}.layer_norm" for part in (0, 1)]
    return [f"{name}.weight" for name in [*modules, "t5.encoder.final_layer_norm"]]


def clip_name(name: str) -> str | None:
    """ClipText's name of one tensor; None for what it does not use."""
    bare = name.removeprefix("text_model.")
    unused = {"embeddings.position_ids", "text_projection", "text_projection.weight", "logit_scale"}
    if bare in unused or bare.startswith(("vision_model.", "visual_projection.")):
        return None
    return f"text_model.{bare}"


def t5_gated(found: Iterable[str]) -> bool:
    """Whether a T5 file's MLPs have a gate."""
    return any(name.endswith(T5_GATES) for name in found)


def t5_name(name: str, gated: bool = True) -> str | None:
    """T5Text's name of one tensor; None for what it does not use, the decoder above all."""
    if name.startswith(("decoder.", "dec.")) or name in T5_UNUSED:
        return None
    if name == "encoder.embed_tokens.weight":
        name = "shared.weight"
    name = T5_LLAMA.get(name, name)
    if found := re.fullmatch(r"enc\.blk\.(\d+)\.(\w+)\.weight", name):
        block, part = found.groups()
        if part == "ffn_up" and not gated:
            name = f"encoder.block.{block}.{T5_PLAIN}.weight"
        elif part in T5_LLAMA:
            name = f"encoder.block.{block}.{T5_LLAMA[part]}.weight"
    return f"t5.{name}"


def t5_llama_name(name: str) -> str:
    """llama.cpp's name of one of T5Text's tensors."""
    spelled = {theirs: llama for llama, theirs in T5_LLAMA.items()} | {T5_PLAIN: "ffn_up"}
    bare = name.removeprefix("t5.")
    if found := re.fullmatch(r"encoder\.block\.(\d+)\.(.+)\.weight", bare):
        block, part = found.groups()
        return f"enc.blk.{block}.{spelled[part]}.weight"
    return spelled[bare]


def bert_name(name: str) -> str | None:
    """BertText's name of one tensor; None for what it does not use."""
    bare = name.removeprefix("bert.")
    unused = {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
    return None if bare in unused else f"bert.{bare}"


def check_names(found: Collection[str], wanted: Collection[str]) -> None:
    """WeightsError, one line, unless `found` and `wanted` hold the same names."""
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    faults = [
        f"{kind} {len(names)} of {total} tensors: {listed(names)}"
        for kind, names, total in (
            ("missing", missing, len(wanted)),
            ("unknown", unknown, len(found)),
        )
        if names
    ]
    if faults:
        raise WeightsError("; ".join(faults))


def listed(names: list[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _linear(
    bfl: str,
    *diffusers: str,
    form: Literal["same", "fused", "swapped"] = "same",
    rows: tuple[int, ...] = (),
) -> Iterator[Line]:
    """Weight and bias: rows of the one are entries of the other, so both move alike."""
    for kind in ("weight", "bias"):
        yield Line(f"{bfl}.{kind}", tuple(f"{name}.{kind}" for name in diffusers), form, rows)


def _transformer_lines(config: TransformerConfig) -> Iterator[Line]:
    width = config.hidden_size
    thirds = (width, width, width)

    yield from _linear("img_in", "x_embedder")
    yield from _linear("txt_in", "context_embedder")
    embedders = {"time_in": "timestep_embedder", "vector_in": "text_embedder"}
    if config.guidance_embed:
        embedders["guidance_in"] = "guidance_embedder"
    for ours, theirs in embedders.items():
        yield from _linear(f"{ours}.in_layer", f"time_text_embed.{theirs}.linear_1")
        yield from _linear(f"{ours}.out_layer", f"time_text_embed.{theirs}.linear_2")

    streams = (
        # ours, modulation, q k v, normed q k, out, mlp
        ("img", "norm1", ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"), "to_out.0", "ff"),
        (
            "txt",
            "norm1_context",
            ("add_q_proj", "add_k_proj", "add_v_proj"),
            ("norm_added_q", "norm_added_k"),
            "to_add_out",
            "ff_context",
        ),
    )
    for i in range(config.depth):
        ours, theirs = f"double_blocks.{i}", f"transformer_blocks.{i}"
        for stream, norm, qkv, (norm_q, norm_k), out, mlp in streams:
            attn = f"{ours}.{stream}_attn"
            parts = [f"{theirs}.attn.{part}" for part in qkv]
            yield from _linear(f"{ours}.{stream}_mod.lin", f"{theirs}.{norm}.linear")
            yield from _linear(f"{attn}.qkv", *parts, form="fused", rows=thirds)
            yield Line(f"{attn}.norm.query_norm.scale", (f"{theirs}.attn.{norm_q}.weight",))
            yield Line(f"{attn}.norm.key_norm.scale", (f"{theirs}.attn.{norm_k}.weight",))
            yield from _linear(f"{attn}.proj", f"{theirs}.attn.{out}")
            yield from _linear(f"{ours}.{stream}_mlp.0", f"{theirs}.{mlp}.net.0.proj")
            yield from _linear(f"{ours}.{stream}_mlp.2", f"{theirs}.{mlp}.net.2")

    for i in range(config.depth_single_blocks):
        ours, theirs = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
        parts = [f"{theirs}.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
        yield from _linear(f"{ours}.modulation.lin", f"{theirs}.norm.linear")
        yield from _linear(f"{ours}.linear1", *parts, form="fused", rows=(*thirds, config.mlp_size))
        yield from _linear(f"{ours}.linear2", f"{theirs}.proj_out")
        yield Line(f"{ours}.norm.query_norm.scale", (f"{theirs}.attn.norm_q.weight",))
        yield Line(f"{ours}.norm.key_norm.scale", (f"{theirs}.attn.norm_k.weight",))

    yield from _linear("final_layer.adaLN_modulation.1", "norm_out.linear", form="swapped")
    yield from _linear("final_layer.linear", "proj_out")


def _autoencoder_lines(config: AutoencoderConfig) -> Iterator[Line]:
    levels = len(config.channel_mult)
    widths = [config.channels * m for m in config.channel_mult]

    for half in ("encoder", "decoder"):
        yield from _linear(f"{half}.conv_in", f"{half}.conv_in")
        yield from _linear(f"{half}.conv_out", f"{half}.conv_out")
        yield from _linear(f"{half}.norm_out", f"{half}.conv_norm_out")
        for i in (0, 1):
            block = f"{half}.mid.block_{i + 1}"
            yield from _resnet(block, f"{half}.mid_block.resnets.{i}", shortcut=False)
        ours, theirs = f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0"
        yield from _linear(f"{ours}.norm", f"{theirs}.group_norm")
        for conv, linear in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")):
            yield Line(f"{ours}.{conv}.weight", (f"{theirs}.{linear}.weight",), "kernel")
            yield Line(f"{ours}.{conv}.bias", (f"{theirs}.{linear}.bias",))

    for level, width in enumerate(widths):
        ours, theirs = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        before = widths[level - 1] if level else config.channels
        for j in range(config.res_blocks):
            shortcut = j == 0 and before != width
            yield from _resnet(f"{ours}.block.{j}", f"{theirs}.resnets.{j}", shortcut)
        if level < levels - 1:
            yield from _linear(f"{ours}.downsample.conv", f"{theirs}.downsamplers.0.conv")

        ours, theirs = f"decoder.up.{level}", f"decoder.up_blocks.{levels - 1 - level}"
        before = widths[min(level + 1, levels - 1)]
        for j in range(config.res_blocks + 1):
            shortcut = j == 0 and before != width
            yield from _resnet(f"{ours}.block.{j}", f"{theirs}.resnets.{j}", shortcut)
        if level > 0:
            yield from _linear(f"{ours}.upsample.conv", f"{theirs}.upsamplers.0.conv")


def _resnet(ours: str, theirs: str, shortcut: bool) -> Iterator[Line]:
    for part in ("norm1", "conv1", "norm2", "conv2"):
        yield from _linear(f"{ours}.{part}", f"{theirs}.{part}")
    if shortcut:
        yield from _linear(f"{ours}.nin_shortcut", f"{theirs}.conv_shortcut")


def _to_diffusers(state: Mapping[str, Tensor], table: list[Line]) -> Mapping[str, Tensor]:
    check_names(state.keys(), dict.fromkeys(line.bfl for line in table))
    return LazyTensors(
        {
            name: partial(_part, state, line, i)
            for line in table
            for i, name in enumerate(line.diffusers)
        }
    )


def _from_diffusers(state: Mapping[str, Tensor], table: list[Line]) -> StoredTensors:
    check_names(state.keys(), dict.fromkeys(name for line in table for name in line.diffusers))
    stored = _stored(state)
    return StoredTensors(
        {line.bfl: _whole(line, [stored[name] for name in line.diffusers]) for line in table}
    )


def _stored(state: Mapping[str, Tensor]) -> Mapping[str, Stored]:
    if isinstance(state, StoredTensors):
        return state.stored
    return {name: in_memory(tensor) for name, tensor in state.items()}


def _part(state: Mapping[str, Tensor], line: Line, i: int) -> Shaped[Tensor, "..."]:
    """The i-th of diffusers' tensors of this line."""
    whole = state[line.bfl]
    if line.form == "fused":
        _check_rows(line.bfl, whole, sum(line.rows))
        return whole.split(line.rows)[i]
    if line.form == "swapped":
        return _swap_halves(whole)
    if line.form == "kernel":
        return whole.flatten(1)
    return whole


def _whole(line: Line, parts: list[Stored]) -> Stored:
    """BFL's tensor of this line."""
    (first, *_) = parts
    if line.form == "fused":
        for name, part, rows in zip(line.diffusers, parts, line.rows, strict=True):
            _check_rows(name, part, rows)
            if part.shape[1:] != first.shape[1:]:
                raise WeightsError(
                    f"{name}: shape {part.shape} does not go with {line.diffusers[0]}'s "
                    f"{first.shape}"
                )
        return joined(parts)
    if line.form == "swapped":
        return swapped(first)
    if line.form == "kernel":
        shape = (*first.shape[:2], 1, 1)
        return derived(
            first.dtype, shape, [first], lambda rows, part: part(EVERY).reshape(shape)[rows]
        )
    return first


def _check_rows(name: str, tensor: Tensor | Stored, rows: int) -> None:
    found = tensor.shape[0] if tensor.shape else 0
    if found != rows:
        raise WeightsError(f"{name}: {found} rows, this model has {rows}")


def _swap_halves(tensor: Shaped[Tensor, "two_d ..."]) -> Shaped[Tensor, "two_d ..."]:
    first, second = tensor.chunk(2)
    return torch.cat([second, first])


def _renamed(state: Mapping[str, Tensor], rename: Callable[[str], str | None]) -> StoredTensors:
    """Each tensor under its new name; those without one are left out."""
    return StoredTensors(
        {
            new: tensor
            for name, tensor in _stored(state).items()
            if (new := rename(name)) is not None
        }
    )
