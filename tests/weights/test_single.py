"""Single files as people have them: loaded, each draws what the library that made it would."""

import json
import shutil
from dataclasses import replace

import gguf
import pytest
import torch
from safetensors.torch import save_file

from flux1.errors import MissingWeightsError, WeightsError
from flux1.model.patches import image_ids, text_ids
from flux1.variants import FLUX_DEV, FLUX_KREA, FLUX_SCHNELL
from flux1.weights import names
from flux1.weights.configs import transformer_config
from flux1.weights.load import load_model
from flux1.weights.sources import locate

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
        {k: v.contiguous() for k, v in names.transformer_to_diffusers(state, config).items()},
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


@torch.no_grad()
def velocities(ours, theirs):
    g = torch.Generator().manual_seed(0)
    img, txt = torch.randn(1, 12, 16, generator=g), torch.randn(1, 5, 32, generator=g)
    pooled, t, scale = torch.randn(1, 64, generator=g), torch.tensor([0.4]), torch.tensor([3.5])
    got = ours(
        img=img, img_ids=image_ids(3, 4)[None], txt=txt, txt_ids=text_ids(5)[None],
        t=t, pooled=pooled, guidance=scale,
    )  # fmt: skip
    expected = theirs(
        hidden_states=img, encoder_hidden_states=txt, pooled_projections=pooled, timestep=t,
        img_ids=image_ids(3, 4), txt_ids=text_ids(5), guidance=scale,
    ).sample  # fmt: skip
    return got, expected


@torch.no_grad()
def check_the_rest(model, originals):
    z = torch.randn(1, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = originals.autoencoder.decode(z / 0.3611 + 0.1159).sample
    assert (model.autoencoder.decode(z) - expected).abs().max() < 1e-5
    ids = torch.tensor([[3, 17, 60, 1, 0, 0]])
    expected = originals.t5(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert (model.text.t5(ids) - expected).abs().max() < 1e-5
    ids = torch.tensor([[512, 4, 90, 513, 513]])
    expected = originals.clip(input_ids=ids).last_hidden_state[:, 3]
    assert (model.text.clip(ids) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", FORMATS)
def test_draws_what_the_original_library_would(name, beside, originals):
    write, tolerance = FORMATS[name]
    state = originals.states()["transformer"]
    decoded = write(beside / "flux1-dev", state)
    (file,) = beside.glob("flux1-dev*")
    source = locate(file)
    assert (source.layout, source.variant.id) == ("file", "flux-dev")
    model = load_model(source)
    for key, tensor in state.items():
        apart = (decoded[key].float() - tensor).abs().max() / tensor.abs().max()
        assert apart <= tolerance, key
    shape = source.variant.transformer
    theirs = type(originals.transformer).from_config(originals.transformer.config).eval()
    theirs.load_state_dict(
        {k: v.float() for k, v in names.transformer_to_diffusers(decoded, shape).items()}
    )
    got, expected = velocities(model.transformer, theirs)
    assert expected.std() > 0.1
    assert (got - expected).abs().max() < 1e-5
    if name == "BFL":
        check_the_rest(model, originals)


def all_in_one(states):
    prefixes = {
        "transformer": "model.diffusion_model.",
        "clip": "text_encoders.clip_l.transformer.",
        "t5": "text_encoders.t5xxl.transformer.",
        "autoencoder": "vae.",
    }
    state = {
        prefixes[part] + name: tensor.clone()
        for part, tensors in states.items()
        for name, tensor in tensors.items()
    }
    return state | {
        "text_encoders.clip_l.transformer.text_projection.weight": torch.zeros(64, 64),
        "text_encoders.clip_l.logit_scale": torch.zeros(()),
        "text_encoders.t5xxl.logit_scale": torch.zeros(()),
    }


def test_all_in_one(tmp_path, folder, originals):
    file = tmp_path / "flux1-dev-all.safetensors"
    save_file(all_in_one(originals.states()), file)
    for tokenizer in ("tokenizer", "tokenizer_2"):
        shutil.copytree(folder / tokenizer, tmp_path / tokenizer)
    source = locate(file)
    assert {source.files.transformer, source.files.autoencoder, *source.files.text} == {file}
    model = load_model(source)
    got, expected = velocities(model.transformer, originals.transformer)
    assert (got - expected).abs().max() < 1e-5
    check_the_rest(model, originals)


class TestBeside:
    def write(self, place, originals, name="flux1-dev-Q8_0"):
        block_type("Q8_0")(place / name, originals.states()["transformer"])
        return place / f"{name}.gguf"

    def test_a_folder_with_one_such_file_is_a_model(self, beside, originals):
        file = self.write(beside, originals)
        source = locate(beside)
        assert (source.layout, source.root, source.files.transformer) == ("bfl", beside, file)
        assert len(source.model_hash) == 12
        assert source.model_hash != locate(file.rename(beside / "flux1-other.gguf")).model_hash

    def test_the_rest_may_lie_among_the_models(self, tmp_path, beside, originals):
        models = tmp_path / "models"
        models.mkdir()
        alone = self.write(models, originals)
        for name in ("clip_l.safetensors", "t5xxl_fp16.safetensors"):
            (models / "text_encoders").mkdir(exist_ok=True)
            (beside / name).rename(models / "text_encoders" / name)
        (models / "FLUX.1-schnell").mkdir()
        for name in ("ae.safetensors", "tokenizer", "tokenizer_2"):
            (beside / name).rename(models / "FLUX.1-schnell" / name)
        files = locate("flux1-dev-Q8_0.gguf", models).files
        assert files.transformer == alone
        assert files.autoencoder == models / "FLUX.1-schnell" / "ae.safetensors"
        assert files.text[1] == models / "text_encoders" / "t5xxl_fp16.safetensors"
        assert files.tokenizers[0] == models / "FLUX.1-schnell" / "tokenizer"

    def test_a_variant_by_name(self, tmp_path, beside, originals):
        self.write(beside, originals)
        (tmp_path / "home").mkdir()
        shutil.copytree(beside, tmp_path / "home" / "flux-dev", ignore=lambda *_: ["home"])
        assert locate("flux-dev", tmp_path / "home").variant.id == "flux-dev"
        file = tmp_path / "home" / "flux-dev" / "flux1-dev-Q8_0.gguf"
        file.rename(file.with_name("flux1-krea-dev-Q8_0.gguf"))
        with pytest.raises(MissingWeightsError, match="holds no model"):
            locate("flux-dev", tmp_path / "home")

    def test_missing_parts_are_named_with_their_page(self, tmp_path, originals):
        file = self.write(tmp_path, originals)
        with pytest.raises(MissingWeightsError) as caught:
            locate(file)
        assert str(caught.value) == (
            f"{tmp_path}: missing ae.safetensors, clip_l.safetensors, t5xxl_fp16.safetensors, "
            "tokenizer/tokenizer.json, tokenizer_2/tokenizer.json; get it from "
            "https://huggingface.co/black-forest-labs/FLUX.1-dev"
        )

    def test_two_encoders(self, beside, originals):
        """The one in 16 bits counts; of two that are equally good none does."""
        file = self.write(beside, originals)
        half = beside / "t5xxl_fp16.safetensors"
        shutil.copy(half, beside / "t5xxl_fp8.safetensors")
        assert locate(file).files.text[1] == half
        half.rename(beside / "t5xxl_q8.safetensors")
        with pytest.raises(WeightsError, match=r"t5xxl_fp8\.safetensors, t5xxl_q8.*keep one"):
            locate(file)

    def test_a_quantised_encoder(self, beside, originals):
        """A T5 as llama.cpp's converter names it."""
        file = self.write(beside, originals)
        (beside / "t5xxl_fp16.safetensors").unlink()
        decoded = write_t5_gguf(beside / "t5-v1_1-xxl-encoder-Q8_0.gguf", originals)
        model = load_model(locate(file))
        theirs = type(originals.t5)(originals.t5.config).eval()
        decoded["encoder.embed_tokens.weight"] = decoded["shared.weight"]
        theirs.load_state_dict(decoded)
        ids = torch.tensor([[3, 17, 60, 1, 0, 0]])
        expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        assert (model.text.t5(ids) - expected).abs().max() < 1e-5


def write_t5_gguf(file, originals):
    """In llama.cpp's names, as its own converter's table spells them."""
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5ENCODER, 2)
    state = originals.states()["t5"]
    theirs = {name: table.get_name(name, try_suffixes=(".weight",)) for name in state}
    assert all(theirs.values())
    decoded = write_gguf(
        file,
        {theirs[name]: tensor for name, tensor in state.items()},
        gguf.GGMLQuantizationType.Q8_0,
        arch="t5encoder",
    )
    back = {new: old for old, new in theirs.items()}
    return {back[name]: tensor for name, tensor in decoded.items()}


class TestWhichModel:
    @pytest.mark.parametrize(
        ("name", "like"),
        [
            ("flux1-krea-dev-Q4_0", FLUX_KREA),
            ("my-flux-krea-dev", FLUX_KREA),
            ("flux1-dev-fp8", FLUX_DEV),
            ("anything", FLUX_DEV),
            ("flux1-schnell-no", FLUX_DEV),
        ],
    )
    def test_by_the_words_of_the_name(self, beside, originals, name, like):
        as_is(beside / name, originals.states()["transformer"])
        row = locate(beside / f"{name}.safetensors").variant
        assert row.id == name
        assert (row.defaults, row.licence) == (like.defaults, like.licence)

    def test_without_guidance_it_is_like_schnell(self, beside, originals):
        state = originals.states()["transformer"]
        fast = {name: tensor for name, tensor in state.items() if "guidance" not in name}
        as_is(beside / "x", fast)
        row = locate(beside / "x.safetensors").variant
        assert (row.defaults, row.time_shift) == (FLUX_SCHNELL.defaults, False)

    def test_other_things(self, beside, originals):
        for file in ("ae", "clip_l"):
            with pytest.raises(WeightsError, match="not a transformer"):
                locate(beside / f"{file}.safetensors")
        with pytest.raises(MissingWeightsError, match=r"none\.gguf: no such file"):
            locate("none.gguf")

    def test_too_many_channels_for_the_autoencoder(self, beside, originals):
        state = originals.states()["transformer"]
        wide = torch.zeros(32, 96)
        as_is(beside / "x", state | {"img_in.weight": wide})
        with pytest.raises(WeightsError, match="in_channels is 96, the other parts have 16"):
            locate(beside / "x.safetensors")


def test_a_part_that_leads_out_of_its_folder(tmp_path, beside, originals):
    as_is(beside / "flux1-dev", originals.states()["transformer"])
    (tmp_path / "elsewhere").mkdir()
    (beside / "ae.safetensors").rename(tmp_path / "elsewhere" / "ae.safetensors")
    model = tmp_path / "model"
    shutil.copytree(beside, model, ignore=lambda *_: ["elsewhere", "model"])
    (model / "ae.safetensors").symlink_to(tmp_path / "elsewhere" / "ae.safetensors")
    with pytest.raises(WeightsError, match="leads out of its folder") as caught:
        locate(model)
    assert "\n" not in str(caught.value)


def test_a_pruned_network_has_its_own_depth(beside, originals):
    state = originals.states()["transformer"]
    short = {name: tensor for name, tensor in state.items() if "_blocks.1." not in name}
    short = {name.replace("single_blocks.2.", "single_blocks.1."): t for name, t in short.items()}
    as_is(beside / "lite", short)
    source = locate(beside / "lite.safetensors")
    assert (source.variant.transformer.depth, source.variant.transformer.depth_single_blocks) == (
        1, 2,
    )  # fmt: skip
    assert load_model(source).transformer.img_in.weight.isfinite().all()
    assert replace(source.variant.transformer, depth=2, depth_single_blocks=3) == shape_of({})
