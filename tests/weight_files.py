"""FLUX.1 transformers as people have them: each dialect and number format written to a file by the
library that defines it, or by hand from its description."""

import json

import gguf
import torch
from safetensors.torch import save_file

from flux1.weights.kinds.transformer import TRANSFORMER, transformer_config

NF4 = torch.tensor(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
     -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
     0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
     0.7229568362236023, 1.0]
)  # fmt: skip


def write_gguf(file, state, kind=None, arch="flux", prefix=""):
    """As city96's converter does: matrices whose rows are whole blocks in `kind`, vectors in F32.
    Returns the numbers that the library itself decodes. Without `arch`, as stable-diffusion.cpp."""
    writer, decoded = gguf.GGUFWriter(file, arch or "none"), {}
    if arch is None:
        writer.kv_data[0].pop("general.architecture")
    types = gguf.GGMLQuantizationType
    for name, tensor in state.items():
        numbers = tensor.float().numpy()
        fits = kind and tensor.ndim == 2 and tensor.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
        chosen = kind if fits else types.F32
        packed = gguf.quants.quantize(numbers, chosen)
        writer.add_tensor(prefix + name, packed, raw_dtype=chosen)
        decoded[name] = torch.from_numpy(gguf.quants.dequantize(packed, chosen).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return decoded


def four_bits(w):
    """bitsandbytes' NF4 of a matrix, made by hand from the layout that its docs describe; and the
    numbers that it stands for."""
    blocks = w.flatten().reshape(-1, 64)
    absmax = blocks.abs().amax(dim=1)
    codes = (blocks / absmax[:, None]).flatten()[:, None].sub(NF4).abs().argmin(dim=1)
    told = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": list(w.shape)}
    parts = {
        "": (codes[::2] * 16 + codes[1::2]).to(torch.uint8)[:, None],
        ".absmax": absmax,
        ".quant_map": NF4.clone(),
        ".quant_state.bitsandbytes__nf4": torch.tensor(
            list(json.dumps(told).encode()), dtype=torch.uint8
        ),
    }
    return parts, (NF4[codes].reshape(-1, 64) * absmax[:, None]).reshape(w.shape)


def as_is(file, state):
    save_file(state, file.with_suffix(".safetensors"))
    return state


def in_bfloat16(file, state):
    state = {name: tensor.bfloat16() for name, tensor in state.items()}
    save_file(state, file.with_suffix(".safetensors"))
    return state


def under_a_prefix(file, state):
    prefixed = {f"model.diffusion_model.{name}": tensor for name, tensor in state.items()}
    save_file(prefixed, file.with_suffix(".safetensors"))
    return state


def in_diffusers_names(file, state):
    config = shape_of(state)
    save_file(
        {k: v.contiguous() for k, v in TRANSFORMER.spelled(state, "diffusers", config).items()},
        file.with_suffix(".safetensors"),
    )
    return state


def fp8(dtype):
    def write(file, state):
        state = {name: tensor.to(dtype) for name, tensor in state.items()}
        save_file(state, file.with_suffix(".safetensors"))
        return {name: tensor.float() for name, tensor in state.items()}

    return write


def scaled_fp8(weight_suffix, marker, rows):
    """ComfyUI's: one scale for a matrix, or one for a row."""

    def write(file, state):
        kept = {"scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn)} if marker else {}
        plain = {}
        for name, tensor in state.items():
            kept[name] = plain[name] = tensor
            if tensor.ndim == 2:
                largest = tensor.abs().amax(dim=1) if rows else tensor.abs().max()
                scale = largest / 448
                factor = scale[:, None] if rows else scale
                kept[name] = (tensor / factor).to(torch.float8_e4m3fn)
                stem = name.removesuffix(".weight")
                kept[stem + weight_suffix] = scale
                kept[stem + (".scale_input" if marker else ".input_scale")] = torch.ones(())
                plain[name] = kept[name].float() * factor
        save_file(kept, file.with_suffix(".safetensors"))
        return plain

    return write


def nf4(file, state):
    kept, plain = {}, {}
    for name, tensor in state.items():
        kept[name] = plain[name] = tensor
        if tensor.ndim == 2:
            parts, plain[name] = four_bits(tensor)
            kept |= {name + suffix: part for suffix, part in parts.items()}
    save_file(kept, file.with_suffix(".safetensors"))
    return plain


def int8_of_bitsandbytes(file, state):
    kept, plain = {}, {}
    for name, tensor in state.items():
        kept[name] = plain[name] = tensor
        if tensor.ndim == 2:
            largest = tensor.abs().amax(dim=1)
            kept[name] = (tensor * 127 / largest[:, None]).round().to(torch.int8)
            kept[name.removesuffix(".weight") + ".SCB"] = largest
            kept[name + "_format"] = torch.tensor(0, dtype=torch.uint8)
            plain[name] = kept[name] * largest[:, None] / 127
    save_file(kept, file.with_suffix(".safetensors"))
    return plain


def block_type(name, **how):
    kind = getattr(gguf.GGMLQuantizationType, name)
    return lambda file, state: write_gguf(file.with_suffix(".gguf"), state, kind, **how)


def pickled(file, state):
    torch.save({"state_dict": state, "step": 3}, file.with_suffix(".ckpt"))
    return state


# how a file is written, and how far its numbers may be from the weights
FORMATS = {
    "BFL": (as_is, 0),
    "bfloat16": (in_bfloat16, 1e-2),
    "ComfyUI's prefix": (under_a_prefix, 0),
    "diffusers' names": (in_diffusers_names, 0),
    "fp8 e4m3": (fp8(torch.float8_e4m3fn), 0.1),
    "fp8 e5m2": (fp8(torch.float8_e5m2), 0.2),
    "scaled fp8": (scaled_fp8(".scale_weight", marker=True, rows=False), 0.1),
    "scaled fp8, newer": (scaled_fp8(".weight_scale", marker=False, rows=False), 0.1),
    "scaled fp8, by rows": (scaled_fp8(".weight_scale", marker=False, rows=True), 0.1),
    "NF4": (nf4, 0.3),
    "int8 of bitsandbytes": (int8_of_bitsandbytes, 0.02),
    "GGUF F16": (block_type("F16"), 1e-3),
    "GGUF BF16": (block_type("BF16"), 1e-2),
    "GGUF Q8_0": (block_type("Q8_0"), 0.02),
    "GGUF Q4_0": (block_type("Q4_0"), 0.2),
    "GGUF Q5_1": (block_type("Q5_1"), 0.1),
    "GGUF of stable-diffusion.cpp": (
        block_type("Q8_0", arch=None, prefix="model.diffusion_model."),
        0.02,
    ),
    "pickle": (pickled, 0),
}


def shape_of(state):
    return transformer_config(
        {
            "in_channels": 16, "num_layers": 2, "num_single_layers": 3, "attention_head_dim": 16,
            "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 64,
            "axes_dims_rope": (4, 6, 6), "guidance_embeds": True,
        }
    )  # fmt: skip
