"""LoRA files of every dialect in miniature, and what each should make of a transformer's weights.

The keys are written out as the tools that make such files write them, and what a file means is
computed from its definition in fp64, without the code under test.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flux1.model.config import TransformerConfig
from flux1.weights.kinds.transformer import transformer_table

Effect = Callable[[Tensor], Tensor]  # the parameter's own rows to what is added at scale 1


@dataclass
class Made:
    """A file's tensors and metadata, and its effects: parameter, first row, rows to addition."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    effects: list[tuple[str, int, int, Effect, bool]] = field(default_factory=list)

    def on(self, state: dict[str, Tensor], scale: float = 1.0) -> dict[str, Tensor]:
        """The weights with the file merged in by hand."""
        total = {name: tensor.double() for name, tensor in state.items()}
        for name, start, stop, effect, in_full in self.effects:
            addition = effect(state[name].double()[start:stop])
            changed = total[name].clone()
            if addition.ndim == 2 and addition.shape[1] > changed.shape[1]:
                wider = torch.zeros(changed.shape[0], addition.shape[1], dtype=torch.float64)
                wider[:, : changed.shape[1]] = changed
                changed = wider
            changed[start:stop] += addition * (1.0 if in_full else scale)
            total[name] = changed
        return {name: tensor.float() for name, tensor in total.items()}


@dataclass(frozen=True)
class Layer:
    """A linear layer as one dialect sees it: BFL's module, its rows, the dialect's own name."""

    module: str
    start: int
    stop: int
    inputs: int
    name: str
    swapped: bool = False


def layers(config: TransformerConfig, state: dict[str, Tensor], dialect: str) -> list[Layer]:
    """Every linear layer under BFL's names or (its rows split) under diffusers'."""
    found = []
    for line in transformer_table(config):
        module, _, kind = line.bfl.rpartition(".")
        if kind != "weight":
            continue
        rows, inputs = state[line.bfl].shape
        if dialect == "bfl":
            found.append(Layer(module, 0, rows, inputs, module))
            continue
        start = 0
        for part, size in zip(line.diffusers, line.rows or (rows,), strict=True):
            name = part.removesuffix(".weight")
            swapped = line.form == "swapped"
            found.append(Layer(module, start, start + size, inputs, name, swapped))
            start += size
    return found


def swap(rows: Tensor) -> Tensor:
    first, second = rows.chunk(2)
    return torch.cat([second, first])


class Writer:
    """Random factors, the same for the same seed, written under a dialect's names."""

    def __init__(self, config: TransformerConfig, state: dict[str, Tensor], seed: int) -> None:
        self.config, self.state, self.made = config, state, Made()
        self._g = torch.Generator().manual_seed(seed)

    def draw(self, *shape: int, size: float = 0.1) -> Tensor:
        return size * torch.randn(*shape, generator=self._g)

    def all(self, dialect: str) -> list[Layer]:
        return layers(self.config, self.state, dialect)

    def add(self, layer: Layer, change: Tensor | Effect) -> None:
        """A change of a layer's weight, in the order of the dialect's rows."""

        def effect(rows: Tensor) -> Tensor:
            matrix = change(rows) if callable(change) else change.double()
            return swap(matrix) if layer.swapped else matrix

        place = (f"{layer.module}.weight", layer.start, layer.stop)
        self.made.effects.append((*place, effect, False))

    def add_vector(self, name: str, start: int, vector: Tensor, in_full: bool = False) -> None:
        stop = start + len(vector)
        double = vector.double()
        effect = (lambda own: double - own) if in_full else (lambda own: double)
        self.made.effects.append((name, start, stop, effect, in_full))

    def low_rank(
        self, layer: Layer, key: str, down: str, up: str, rank: int = 3,
        alpha: float | None = None, inputs: int | None = None,
    ) -> Tensor:  # fmt: skip
        """A pair of factors; returns its change."""
        a = self.draw(rank, inputs or layer.inputs)
        b = self.draw(layer.stop - layer.start, rank)
        self.made.tensors |= {key + down: a, key + up: b}
        scale = 1.0
        if alpha is not None:
            self.made.tensors[f"{key}.alpha"] = torch.tensor(float(alpha))
            scale = alpha / rank
        change = scale * (b.double() @ a.double())
        self.add(layer, change)
        return change


AB = (".lora_A.weight", ".lora_B.weight")
DOWN_UP = (".lora_down.weight", ".lora_up.weight")


def diffusers(w: Writer) -> None:
    for layer in w.all("diffusers"):
        w.low_rank(layer, f"transformer.{layer.name}", *AB)


def diffusers_with_alpha(w: Writer) -> None:
    """alpha in diffusers' metadata, another for one layer."""
    special = "transformer_blocks.0.attn.to_q"
    names = [layer.name for layer in w.all("diffusers")]
    settings = {"r": 3, "lora_alpha": 6, "target_modules": names, "alpha_pattern": {special: 12}}
    settings = {f"transformer.{key}": value for key, value in settings.items()}
    w.made.metadata["lora_adapter_metadata"] = json.dumps(settings)
    for layer in w.all("diffusers"):
        a, b = w.draw(3, layer.inputs), w.draw(layer.stop - layer.start, 3)
        key = f"transformer.{layer.name}"
        w.made.tensors |= {key + AB[0]: a, key + AB[1]: b}
        w.add(layer, (12 if layer.name == special else 6) / 3 * (b.double() @ a.double()))


def ai_toolkit(w: Writer) -> None:
    diffusers(w)
    w.made.metadata["software"] = json.dumps({"name": "ai-toolkit", "repo": "ostris/ai-toolkit"})


def peft(w: Writer) -> None:
    for layer in w.all("diffusers"):
        w.low_rank(layer, f"base_model.model.{layer.name}", *AB)


def fal(w: Writer) -> None:
    for layer in w.all("bfl"):
        w.low_rank(layer, f"base_model.model.{layer.name}", *AB)


def kohya(w: Writer) -> None:
    for layer in w.all("bfl"):
        w.low_rank(layer, f"lora_unet_{layer.name.replace('.', '_')}", *DOWN_UP, rank=4, alpha=1)
    te = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    w.made.tensors |= {te + DOWN_UP[0]: w.draw(4, 8), te + DOWN_UP[1]: w.draw(8, 4),
                       f"{te}.alpha": torch.tensor(1.0)}  # fmt: skip


def kohya_split(w: Writer) -> None:
    """--split_qkv: q, k and v learned apart, saved as one pair of three times the rank."""
    width, rank = w.config.hidden_size, 2
    for layer in w.all("bfl"):
        if not layer.name.endswith("_attn.qkv"):
            continue
        a, b = w.draw(3 * rank, width), torch.zeros(3 * width, 3 * rank)
        for i in range(3):
            rows = slice(i * width, (i + 1) * width)
            b[rows, i * rank : (i + 1) * rank] = w.draw(width, rank)
        key = f"lora_unet_{layer.name.replace('.', '_')}"
        w.made.tensors |= {key + DOWN_UP[0]: a, key + DOWN_UP[1]: b,
                           f"{key}.alpha": torch.tensor(3.0 * rank)}  # fmt: skip
        w.add(layer, b.double() @ a.double())


def onetrainer(w: Writer) -> None:
    for layer in w.all("diffusers"):
        w.low_rank(layer, f"lora_transformer_{layer.name.replace('.', '_')}", *DOWN_UP, alpha=6)


def xlabs(w: Writer) -> None:
    width = w.config.hidden_size
    for i in range(w.config.depth):
        for stream, number in (("img", 1), ("txt", 2)):
            for layer, lora in (("qkv", "qkv_lora"), ("proj", "proj_lora")):
                module = f"double_blocks.{i}.{stream}_attn.{layer}"
                place = Layer(module, 0, len(w.state[f"{module}.weight"]), width, module)
                key = f"double_blocks.{i}.processor.{lora}{number}"
                w.low_rank(place, key, ".down.weight", ".up.weight")


def uso(w: Writer) -> None:
    xlabs(w)
    width = w.config.hidden_size
    for i in range(w.config.depth_single_blocks):
        key = f"single_blocks.{i}.processor"
        rows = Layer(f"single_blocks.{i}.linear1", 0, 3 * width, width, "")
        w.low_rank(rows, f"{key}.qkv_lora", ".down.weight", ".up.weight")
        module = f"single_blocks.{i}.linear2"
        rows = Layer(module, 0, width, w.state[f"{module}.weight"].shape[1], "")
        w.low_rank(rows, f"{key}.proj_lora", ".down.weight", ".up.weight")


def bfl_control(w: Writer) -> None:
    """Every linear layer with a bias, a wider first layer, and norms that replace the model's."""
    for layer in w.all("bfl"):
        inputs = 2 * layer.inputs if layer.name == "img_in" else None
        w.low_rank(layer, layer.name, *AB, inputs=inputs)
        bias = w.draw(layer.stop)
        w.made.tensors[f"{layer.name}.lora_B.bias"] = bias
        w.add_vector(f"{layer.module}.bias", 0, bias)
    for name, own in w.state.items():
        if name.endswith("_norm.scale"):
            vector = 1 + w.draw(len(own))
            w.made.tensors[name] = vector
            w.add_vector(name, 0, vector, in_full=True)


def diffusers_control(w: Writer) -> None:
    """The same in diffusers' names, as diffusers trains and saves it."""
    for layer in w.all("diffusers"):
        inputs = 2 * layer.inputs if layer.name == "x_embedder" else None
        w.low_rank(layer, f"transformer.{layer.name}", *AB, inputs=inputs)
        bias = w.draw(layer.stop - layer.start)
        w.made.tensors[f"transformer.{layer.name}.lora_B.bias"] = bias
        w.add_vector(f"{layer.module}.bias", layer.start, swap(bias) if layer.swapped else bias)
    for line in transformer_table(w.config):
        if line.bfl.endswith(".scale"):
            vector = 1 + w.draw(len(w.state[line.bfl]))
            w.made.tensors[f"transformer.{line.diffusers[0]}"] = vector
            w.add_vector(line.bfl, 0, vector, in_full=True)


def comfyui(w: Writer) -> None:
    """Low-rank pairs, whole differences, biases, and a difference of a norm."""
    for i, layer in enumerate(w.all("bfl")):
        key = f"diffusion_model.{layer.name}"
        if i % 3 == 2:
            matrix = w.draw(layer.stop, layer.inputs, size=0.02)
            w.made.tensors[f"{key}.diff"] = matrix
            w.add(layer, matrix)
        else:
            w.low_rank(layer, key, *(DOWN_UP if i % 3 else AB), alpha=6)
        if i % 2:
            bias = w.draw(layer.stop)
            w.made.tensors[f"{key}.diff_b"] = bias
            w.add_vector(f"{layer.module}.bias", 0, bias)
    norm = "double_blocks.0.img_attn.norm.key_norm.scale"
    vector = w.draw(len(w.state[norm]))
    w.made.tensors[f"diffusion_model.{norm}.diff"] = vector
    w.add_vector(norm, 0, vector)


def _lokr(w: Writer, layer: Layer, key: str, number: int) -> None:
    rows, inputs = layer.stop - layer.start, layer.inputs
    o1, i1 = 4, 2
    left, right = w.draw(o1, i1), w.draw(rows // o1, inputs // i1)
    parts = {f"{key}.lokr_w1": left, f"{key}.lokr_w2": right}
    scale = 1.0  # of two whole factors, whatever alpha says
    if number % 3:
        a, b = w.draw(rows // o1, 2, size=0.4), w.draw(2, inputs // i1, size=0.4)
        del parts[f"{key}.lokr_w2"]
        parts |= {f"{key}.lokr_w2_a": a, f"{key}.lokr_w2_b": b}
        right, scale = a @ b, 3.0 / 2
    if number % 3 == 2:
        a, b = w.draw(o1, 2, size=0.4), w.draw(2, i1, size=0.4)
        del parts[f"{key}.lokr_w1"]
        parts |= {f"{key}.lokr_w1_a": a, f"{key}.lokr_w1_b": b}
        left = a @ b
    w.made.tensors |= {**parts, f"{key}.alpha": torch.tensor(3.0)}
    w.add(layer, scale * torch.kron(left.double(), right.double()))


def lokr(w: Writer) -> None:
    for number, layer in enumerate(w.all("diffusers")):
        _lokr(w, layer, f"lycoris_{layer.name.replace('.', '_')}", number)


def lokr_fused(w: Writer) -> None:
    for number, layer in enumerate(w.all("bfl")):
        _lokr(w, layer, f"diffusion_model.{layer.name}", number)


def loha(w: Writer) -> None:
    for layer in w.all("diffusers"):
        key, rows = f"lycoris_{layer.name.replace('.', '_')}", layer.stop - layer.start
        a1, b1 = w.draw(rows, 2, size=0.3), w.draw(2, layer.inputs, size=0.3)
        a2, b2 = w.draw(rows, 2, size=0.3), w.draw(2, layer.inputs, size=0.3)
        w.made.tensors |= {f"{key}.hada_w1_a": a1, f"{key}.hada_w1_b": b1, f"{key}.hada_w2_a": a2,
                           f"{key}.hada_w2_b": b2, f"{key}.alpha": torch.tensor(4.0)}  # fmt: skip
        w.add(layer, 2.0 * (a1 @ b1).double() * (a2 @ b2).double())


def dora(w: Writer) -> None:
    """Lengths of rows and of columns, by turns, under diffusers' names: norm_out is swapped."""
    for number, layer in enumerate(w.all("diffusers")):
        rows = layer.stop - layer.start
        a, b = w.draw(3, layer.inputs), w.draw(rows, 3)
        by_row = number % 2 == 0
        size = w.draw(rows, 1) if by_row else w.draw(1, layer.inputs)
        size = 1 + size
        key = f"transformer.{layer.name}"
        w.made.tensors |= {key + AB[0]: a, key + AB[1]: b, f"{key}.dora_scale": size}

        def effect(own, a=a, b=b, size=size, dim=int(by_row), swapped=layer.swapped):
            own = swap(own) if swapped else own
            changed = own + b.double() @ a.double()
            return changed * size.double() / changed.norm(dim=dim, keepdim=True) - own

        w.add(layer, effect)


KINDS = {
    kind.__name__: kind
    for kind in (
        diffusers, diffusers_with_alpha, ai_toolkit, peft, fal, kohya, kohya_split, onetrainer,
        xlabs, uso, bfl_control, diffusers_control, comfyui, lokr, lokr_fused, loha, dora,
    )
}  # fmt: skip
DIALECT = {
    "diffusers": "diffusers", "diffusers_with_alpha": "diffusers", "ai_toolkit": "ai-toolkit",
    "peft": "PEFT", "fal": "PEFT", "kohya": "kohya", "kohya_split": "kohya",
    "onetrainer": "OneTrainer", "xlabs": "XLabs", "uso": "XLabs", "bfl_control": "BFL control",
    "comfyui": "ComfyUI", "lokr": "LyCORIS", "lokr_fused": "ComfyUI", "loha": "LyCORIS",
    "dora": "diffusers", "diffusers_control": "diffusers",
}  # fmt: skip


def make_lora(
    kind: str, config: TransformerConfig, state: dict[str, Tensor], seed: int = 0
) -> Made:
    """A file of this kind for a transformer with these weights (BFL's names)."""
    writer = Writer(config, state, seed)
    KINDS[kind](writer)
    return writer.made
