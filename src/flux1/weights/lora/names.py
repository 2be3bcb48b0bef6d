"""Every spelling of every layer: the keys of LoRA files of all dialects to BFL's modules.

A key is a prefix, a layer and a role. Dialects differ in the prefix and in how they spell layers
(BFL's names, diffusers', either of them joined by underscores, XLabs' processors) and roles; any
mixture of them is read.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from flux1.model.config import TransformerConfig
from flux1.model.transformer import Transformer
from flux1.weights.kinds.foreign import family_of
from flux1.weights.kinds.transformer import transformer_table

PREFIXES = (
    "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "unet.",
    "model.", "lora_unet_", "lora_transformer_", "lycoris_",
)  # fmt: skip
TEXT = re.compile(r"(lora_|lycoris_)?(te\d?_|te\d?\.|text_encoder|clip_|t5|conditioner)")
_ADAPTER = r"(?:\.\w+)?"  # PEFT's name of an adapter, left in by some tools
ROLES = tuple(
    (re.compile(pattern + "$"), role)
    for pattern, role in (
        (rf"\.lora_A{_ADAPTER}\.weight|\.lora[._]down\.weight|\.down\.weight", "down"),
        (rf"\.lora_B{_ADAPTER}\.weight|\.lora[._]up\.weight|\.up\.weight", "up"),
        (rf"\.lora_B{_ADAPTER}\.bias", "up_bias"),
        (r"\.alpha", "alpha"),
        (rf"\.dora_scale|\.lora_magnitude_vector{_ADAPTER}(?:\.weight)?", "magnitude"),
        *((rf"\.lokr_{part}", f"lokr_{part}") for part in
          ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b")),
        *((rf"\.hada_{part}", f"hada_{part}") for part in ("w1_a", "w1_b", "w2_a", "w2_b")),
        (r"\.diff", "diff"),
        (r"\.diff_b", "diff_b"),
        (r"\.reshape_weight", "reshape"),
        (r"\.set_weight", "set"),
        (r"(?<=_norm)\.scale|(?<=norm_[qk])\.weight|(?<=norm_added_[qk])\.weight", "set"),
    )
)  # fmt: skip
DIALECTS = (
    ("XLabs", re.compile(r"_blocks\.\d+\.processor\.\w+_lora\d?\.")),
    ("kohya", re.compile(r"^lora_unet_((double|single)_blocks_|\w+_in[._]|final_layer_)")),
    ("OneTrainer", re.compile(r"^lora_transformer_")),
    ("LyCORIS", re.compile(r"^lycoris_((single_)?transformer|double|single)_blocks_")),
    ("PEFT", re.compile(r"^base_model\.model\..*_blocks\.")),
    ("ComfyUI", re.compile(r"^(model\.)?diffusion_model\.((single_)?transformer|double|single)_")),
    ("BFL control", re.compile(r"^(double|single)_blocks\..*(query|key)_norm\.scale$")),
    ("BFL", re.compile(r"^(transformer\.)?(double|single)_blocks\.")),
    ("diffusers", re.compile(r"^(transformer\.)?(single_)?transformer_blocks\.")),
)
ALGORITHMS = (
    ("DoRA", re.compile(r"\.dora_scale$|\.lora_magnitude_vector")),
    ("LoKr", re.compile(r"\.lokr_w[12]")),
    ("LoHa", re.compile(r"\.hada_w[12]")),
    ("LoRA", re.compile(r"[._]lora[._](A|B|down|up)\.|_lora\d?\.(down|up)\.")),
    ("differences", re.compile(r"\.diff(_b)?$")),
)


@dataclass(frozen=True)
class Target:
    """Rows `start` to `stop` of a linear layer of `inputs` inputs, their halves `swapped` or not;
    a QK norm's scale has no inputs."""

    module: str
    start: int
    stop: int
    inputs: int = 0
    swapped: bool = False


def dialect_of(names: Collection[str], metadata: Mapping[str, str] | None = None) -> str | None:
    """Whose way of writing a FLUX.1 LoRA these tensor names are; None if they are no such file's.

    ai-toolkit writes diffusers' names and signs only in the metadata.
    """
    if family_of(names) or not algorithms_of(names):
        return None
    found = next((dialect for dialect, known in DIALECTS if any(map(known.search, names))), None)
    signed = any("ai-toolkit" in value or "ostris" in value for value in (metadata or {}).values())
    return "ai-toolkit" if found and signed else found


def algorithms_of(names: Collection[str]) -> list[str]:
    """LoRA, DoRA, LoKr, LoHa, plain differences: which of them the names speak of."""
    return [kind for kind, pattern in ALGORITHMS if any(map(pattern.search, names))]


def ranks_of(shapes: Mapping[str, Collection[int]]) -> list[int]:
    """The ranks of a file's low-rank matrices, ascending; its header is enough."""
    found = set()
    for name, shape in shapes.items():
        sides = tuple(shape)
        role = role_of(name)[1]
        if len(sides) >= 2 and role in ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
            found.add(sides[0])
    return sorted(found)


def role_of(name: str) -> tuple[str, str]:
    """(layer as the file spells it, what the tensor is of it); the role is '' if unknown."""
    for pattern, role in ROLES:
        if match := pattern.search(name):
            return name[: match.start()], role
    return name, ""


def is_text(name: str) -> bool:
    """Return whether a key is for a text encoder."""
    return TEXT.match(name) is not None


def bare(layer: str) -> str:
    """A layer's name without the prefixes of its dialect."""
    while prefix := next((prefix for prefix in PREFIXES if layer.startswith(prefix)), None):
        layer = layer.removeprefix(prefix)
    return layer


def block_of(layer: str) -> tuple[bool, int] | None:
    """(whether single-stream, index) of a transformer block's layer, in any spelling."""
    match = re.match(r"(?:(single)_|double_)?(?:transformer_)?blocks[._](\d{1,6})[._]", layer)
    return (match[1] is not None, int(match[2])) if match else None


@lru_cache(maxsize=4)
def targets(config: TransformerConfig) -> dict[str, Target]:
    """Every spelling (prefixes aside) of every layer of a transformer of this shape."""
    return {
        spelling: target
        for name, target in _dotted(config)
        for spelling in (name, name.replace(".", "_"))
    }


def _dotted(config: TransformerConfig) -> Iterator[tuple[str, Target]]:
    with torch.device("meta"):
        network = Transformer(config)
    sizes = {
        name: (layer.out_features, layer.in_features)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
    }
    for line in transformer_table(config):
        module, _, kind = line.bfl.rpartition(".")
        if kind == "scale":
            target = Target(module, 0, config.head_dim)
            yield module, target
            yield line.bfl, target  # `scale` is a part of the name in ComfyUI's generic keys
            yield line.diffusers[0].removesuffix(".weight"), target
        elif kind == "weight":
            rows, inputs = sizes[module]
            yield module, Target(module, 0, rows, inputs)
            start = 0
            for part, size in zip(line.diffusers, line.rows or (rows,), strict=True):
                layer = part.removesuffix(".weight")
                yield layer, Target(module, start, start + size, inputs, line.form == "swapped")
                start += size
    for i in range(config.depth):
        for stream, number in (("img", 1), ("txt", 2)):
            block, processor = f"double_blocks.{i}", f"double_blocks.{i}.processor"
            for layer, lora in (("qkv", "qkv_lora"), ("proj", "proj_lora")):
                module = f"{block}.{stream}_attn.{layer}"
                yield f"{processor}.{lora}{number}", Target(module, 0, *sizes[module])
    for i in range(config.depth_single_blocks):
        block, width = f"single_blocks.{i}", config.hidden_size
        yield f"{block}.processor.qkv_lora", Target(f"{block}.linear1", 0, 3 * width, width)
        yield f"{block}.linear1_qkv", Target(f"{block}.linear1", 0, 3 * width, width)
        module = f"{block}.linear2"
        yield f"{block}.processor.proj_lora", Target(module, 0, *sizes[module])
