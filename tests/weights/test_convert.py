"""What is written in every layout and number format: read by the libraries that define them and
read back here, within the format's own error; what cannot be is refused in one line."""

import json
import subprocess
import sys
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize
from safetensors import safe_open
from safetensors.torch import load_file

from flux1.errors import Flux1Error, OutputError, RequestError, WeightsError
from flux1.weights import convert
from flux1.weights.checkpoint import Checkpoint, split
from flux1.weights.convert import HOLDS, plan_conversion
from flux1.weights.files.open import open_tensors
from flux1.weights.files.safetensors import write_tensors
from flux1.weights.kinds.lines import renamed
from flux1.weights.kinds.t5 import t5_name
from flux1.weights.kinds.table import KINDS, PUBLISHED
from flux1.weights.load import load_network
from lora_files import make_lora
from synthetic import make_diffusers_folder

OUT = {"bfl": "out.safetensors", "comfyui": "out.safetensors", "gguf": "out.gguf", "diffusers": "o"}


@pytest.fixture(scope="session")
def files(tmp_path_factory, originals):
    """A file for each network, as people have them, in float32."""
    folder = tmp_path_factory.mktemp("files")
    for kind, state in originals.states().items():
        write_tensors(folder / f"{kind}.safetensors", state)
    return folder


@pytest.fixture(scope="session")
def all_in_one(tmp_path_factory, originals):
    file = tmp_path_factory.mktemp("one") / "all.safetensors"
    write_tensors(
        file,
        {
            KINDS[kind].prefix + name: tensor
            for kind, state in originals.states().items()
            for name, tensor in state.items()
        },
    )
    return file


def written(source, folder, layout, dtype=None, **more):
    place = folder / OUT[layout]
    plan_conversion(str(source), place, layout, dtype, **more).write()
    return place


def same(found, expected):
    return found.keys() == expected.keys() and all(
        torch.equal(found[name].float(), expected[name].float()) for name in expected
    )


# --- lossless -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["bfl", "diffusers", "comfyui", "gguf"])
def test_there_and_back_is_the_identity(layout, files, tmp_path, originals):
    """Through another layout and back to BFL's file, whose bytes are then the same."""
    first = written(files / "transformer.safetensors", tmp_path, "bfl", "fp32")
    (tmp_path / "there").mkdir()
    (tmp_path / "back").mkdir()
    there = written(first, tmp_path / "there", layout)
    back = written(there, tmp_path / "back", "bfl")
    assert back.read_bytes() == first.read_bytes()
    assert same(load_file(back), originals.states()["transformer"])


@pytest.mark.parametrize("kind", ["transformer", "autoencoder", "clip", "t5"])
def test_the_diffusers_folder_loads_in_the_library_that_defines_it(
    kind, files, tmp_path, originals
):
    from diffusers import AutoencoderKL, FluxTransformer2DModel
    from transformers import CLIPTextModel, T5EncoderModel

    library = {
        "transformer": FluxTransformer2DModel, "autoencoder": AutoencoderKL,
        "clip": CLIPTextModel, "t5": T5EncoderModel,
    }[kind]  # fmt: skip
    made = written(files / f"{kind}.safetensors", tmp_path, "diffusers")
    options = {"attn_implementation": "eager"} if kind in ("clip", "t5") else {}
    if kind == "autoencoder":  # how many groups its norms have, no tensor tells
        told = json.loads((made / "config.json").read_text())
        assert told["block_out_channels"] == list(originals.autoencoder.config.block_out_channels)
    loaded, info = library.from_pretrained(made, output_loading_info=True, **options)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert same(loaded.state_dict(), getattr(originals, kind).state_dict())


def test_text_encoders_compute_the_same_from_the_config_that_is_written(files, tmp_path, originals):
    from transformers import CLIPTextModel, T5EncoderModel

    ids = torch.tensor([[3, 5, 7, originals.clip.config.vocab_size - 1]])
    for kind, library in (("clip", CLIPTextModel), ("t5", T5EncoderModel)):
        (tmp_path / kind).mkdir()
        made = written(files / f"{kind}.safetensors", tmp_path / kind, "diffusers")
        loaded = library.from_pretrained(made).eval()
        words = ids % loaded.config.vocab_size
        with torch.no_grad():
            found, expected = loaded(words), getattr(originals, kind)(words)
        assert torch.allclose(found[0], expected[0], atol=1e-5)
        if kind == "clip":
            assert torch.allclose(found[1], expected[1], atol=1e-5)


def test_the_autoencoder_loads_in_diffusers_as_a_single_file(files, folder, tmp_path, originals):
    from diffusers import AutoencoderKL

    made = written(files / "autoencoder.safetensors", tmp_path, "bfl")
    loaded = AutoencoderKL.from_single_file(str(made), config=str(folder / "vae"))
    assert same(loaded.state_dict(), originals.autoencoder.state_dict())


def test_comfyui_s_one_file_to_a_folder_and_back(all_in_one, tmp_path):
    folder = written(all_in_one, tmp_path, "diffusers")
    assert {path.name for path in folder.iterdir()} == {row.places.folder for row in PUBLISHED}
    again = written(folder, tmp_path, "comfyui")
    assert same(load_file(again), load_file(all_in_one))


def test_a_folder_to_comfyui_s_one_file(folder, tmp_path):
    parts, rest = split(open_tensors(written(folder, tmp_path, "comfyui")))
    assert {part.kind: part.prefix for part in parts} == {
        row.id: row.prefix for row in KINDS.values() if row.prefix
    }
    assert rest == []


def test_a_folder_stays_a_model_that_is_found(folder, tmp_path):
    from flux1.weights.sources import locate

    made = written(folder, tmp_path, "diffusers", "bf16")
    old, new = locate(folder).variant, locate(made).variant
    assert (new.transformer, new.autoencoder, new.text) == (
        old.transformer, old.autoencoder, old.text,
    )  # fmt: skip
    assert {path.name for path in made.iterdir()} == {path.name for path in folder.iterdir()}


# --- number formats -----------------------------------------------------------------------------


def bound(dtype, weight):
    """The largest error that the format may make at each number of a matrix."""
    blocks = weight.reshape(-1, 64 if dtype == "nf4" else 32)
    low, high = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
    largest = blocks.abs().amax(1, keepdim=True)
    half = 2.0**-10  # scales of GGUF's blocks are float16, and so are its minima
    steps = {
        "fp32": torch.zeros_like(blocks),
        "bf16": blocks.abs() * 2**-8,
        "fp16": blocks.abs() * 2**-11 + 2**-25,
        "fp8": blocks.abs() * 2**-4 + 2**-10,
        "fp8_scaled": blocks.abs() * 2**-4 + 2**-10 * weight.abs().amax() / 448,
        "nf4": largest * (1 - 0.6961928) / 2,
        "q8_0": largest * (0.5 / 127 + half),
        "q5_0": largest * (1 / 16 + half),
        "q4_0": largest * (1 / 8 + half),
        "q5_1": (high - low) * (0.5 / 31 + half) + largest * half,
        "q4_1": (high - low) * (0.5 / 15 + half) + largest * half,
    }
    if dtype == "int8":
        return weight.abs().amax(1, keepdim=True).expand_as(weight) / 254 * 1.0001
    return (steps[dtype] * 1.0001).expand_as(blocks).reshape(weight.shape)


PAIRS = [(layout, dtype) for layout, dtypes in HOLDS.items() for dtype in dtypes]


@pytest.mark.parametrize(("layout", "dtype"), PAIRS)
def test_numbers_stay_within_the_format_s_error(layout, dtype, files, tmp_path, originals):
    made = written(files / "transformer.safetensors", tmp_path, layout, dtype)
    part = Checkpoint(made).part("transformer")
    config = originals.states()["transformer"]
    if part.dialect == "diffusers":
        config = originals.transformer.state_dict()
    assert part.tensors.keys() == config.keys()
    narrow = 0
    for name, weight in config.items():
        stored, found = part.tensors.stored[name].dtype, part.tensors[name].float()
        if dtype in convert.PLAIN or (dtype == "int8" and weight.ndim == 2):
            wanted = "fp32" if layout == "gguf" and stored == "F32" else dtype
            allowed = bound(wanted, weight) if weight.numel() % 32 == 0 else weight.abs() * 2**-8
        elif stored in ("F32", "BF16"):
            allowed = torch.zeros(())
            assert stored == "F32"  # as it was
        else:
            assert weight.ndim == 2
            assert not name.startswith(convert.ENDS)
            allowed, narrow = bound(dtype, weight), narrow + 1
        assert ((found - weight).abs() <= allowed).all(), name
    if dtype not in (*convert.PLAIN, "int8"):
        smallest = convert.SMALL + 1 if layout == "gguf" else 0
        large = [n for n, w in config.items() if w.ndim == 2 and w.numel() >= smallest]
        assert narrow == len([n for n in large if not n.startswith(convert.ENDS)]) > 15


def test_what_is_written_has_the_size_that_was_told(files, tmp_path):
    for layout, dtype in [("bfl", "nf4"), ("comfyui", "fp8_scaled"), ("gguf", "q5_1")]:
        (tmp_path / dtype).mkdir()
        plan = plan_conversion(
            str(files / "transformer.safetensors"), tmp_path / dtype / OUT[layout], layout, dtype
        )
        told = []
        plan.write(told.append)
        size = plan.place.stat().st_size
        assert sum(told) == plan.bytes < size < plan.bytes + 100_000


def test_scaled_fp8_has_comfyui_s_marker_under_each_prefix(all_in_one, tmp_path):
    made = load_file(written(all_in_one, tmp_path, "comfyui", "fp8_scaled"))
    markers = {name for name in made if name.endswith("scaled_fp8")}
    assert markers == {KINDS[kind].prefix + "scaled_fp8" for kind in ("transformer", "t5")}
    for marker in markers:
        assert (made[marker].dtype, made[marker].numel()) == (torch.float8_e4m3fn, 0)
    weight = "model.diffusion_model.double_blocks.0.img_attn.qkv"
    assert made[f"{weight}.scale_weight"].shape == ()
    assert made[f"{weight}.weight"].float().abs().amax() == 448
    assert not any("clip_l" in name or "vae." in name for name in made if "scale_weight" in name)


def test_nf4_by_hand(files, tmp_path, originals):
    """The nearest of the sixteen values in each block of 64, the first code in the high bits."""
    made = load_file(written(files / "transformer.safetensors", tmp_path, "bfl", "nf4"))
    name = "double_blocks.0.img_attn.qkv.weight"
    weight = originals.states()["transformer"][name]
    blocks = weight.reshape(-1, 64)
    largest = blocks.abs().amax(1)
    values = made[f"{name}.quant_map"]
    assert len(values) == 16
    nearest = (blocks[..., None] / largest[:, None, None] - values).abs().argmin(-1).flatten()
    assert torch.equal(made[f"{name}.absmax"], largest)
    assert torch.equal(made[name][:, 0], (nearest[::2] * 16 + nearest[1::2]).to(torch.uint8))
    told = json.loads(bytes(made[f"{name}.quant_state.bitsandbytes__nf4"].tolist()))
    assert (told["quant_type"], told["blocksize"], told["shape"]) == ("nf4", 64, [96, 32])


# --- GGUF ---------------------------------------------------------------------------------------


def test_gguf_as_the_library_reads_it(files, tmp_path, originals):
    made = written(files / "transformer.safetensors", tmp_path, "gguf", "q4_0")
    reader = gguf.GGUFReader(made)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.architecture"] == "flux"
    assert fields["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q4_0
    expected = originals.states()["transformer"]
    assert {tensor.name for tensor in reader.tensors} == expected.keys()
    kinds = set()
    for tensor in reader.tensors:
        weight = expected[tensor.name].numpy()
        kinds.add(tensor.tensor_type.name)
        assert tuple(reversed(tensor.shape.tolist())) == weight.shape
        if tensor.tensor_type.name == "Q4_0":
            wanted = quantize(weight, tensor.tensor_type)
            assert np.array_equal(tensor.data.reshape(-1), wanted.reshape(-1))
        else:
            found = dequantize(tensor.data, tensor.tensor_type).reshape(weight.shape)
            assert np.array_equal(found, weight)
    assert kinds == {"Q4_0", "F32"}


def test_gguf_as_diffusers_reads_it(files, tmp_path, originals):
    from diffusers.models.model_loading_utils import load_gguf_checkpoint
    from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

    made = written(files / "transformer.safetensors", tmp_path, "gguf", "q8_0")
    ours = Checkpoint(made).part("transformer").tensors
    found = load_gguf_checkpoint(made)
    assert found.keys() == originals.states()["transformer"].keys()
    for name, tensor in found.items():
        plain = dequantize_gguf_tensor(tensor) if hasattr(tensor, "quant_type") else tensor
        error = (plain.float() - ours[name].float()).abs()  # it computes in float16
        assert (error <= ours[name].abs() * 2**-10).all(), name


def test_gguf_of_t5_has_llama_cpp_s_names(files, tmp_path, originals):
    made = written(files / "t5.safetensors", tmp_path, "gguf", "q8_0")
    state = originals.states()["t5"]
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5ENCODER, 2)
    expected = {}
    for name in state:
        stem, _, kind = name.rpartition(".")
        expected[f"{table.get_name(stem)}.{kind}"] = name
    reader = gguf.GGUFReader(made)
    assert reader.fields["general.architecture"].contents() == "t5encoder"
    assert {tensor.name for tensor in reader.tensors} == expected.keys()
    back = renamed(Checkpoint(made).part("t5").tensors, t5_name)
    for name, weight in state.items():
        assert (back[f"t5.{name}"] - weight).abs().max() <= weight.abs().max() * 0.005


def test_bf16_and_kept_dtypes(files, tmp_path, originals):
    """Without --dtype nothing changes but what is quantised."""
    half = written(files / "transformer.safetensors", tmp_path, "bfl", "bf16")
    (tmp_path / "again").mkdir()
    kept = gguf.GGUFReader(written(half, tmp_path / "again", "gguf"))
    for tensor in kept.tensors:
        small = len(tensor.shape) < 2 or tensor.n_elements <= convert.SMALL
        assert tensor.tensor_type.name == ("F32" if small else "BF16")
    assert kept.fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_BF16
    quantised = written(files / "transformer.safetensors", tmp_path / "again", "bfl", "nf4")
    plain = load_file(written(quantised, tmp_path, "bfl", force=True))
    name = "double_blocks.0.img_attn.qkv.weight"
    assert plain[name].dtype == torch.bfloat16
    assert plain["img_in.weight"].dtype == torch.float32


def test_metadata_about_the_licence_goes_along(originals, tmp_path):
    source = tmp_path / "in.safetensors"
    write_tensors(source, originals.states()["transformer"], {"license": "flux-dev"})
    with safe_open(written(source, tmp_path, "bfl"), "pt") as file:
        assert file.metadata() == {"format": "pt", "license": "flux-dev"}
    fields = gguf.GGUFReader(written(source, tmp_path, "gguf")).fields
    assert fields["general.license"].contents() == "flux-dev"


# --- LoRAs --------------------------------------------------------------------------------------


def shape_of(file):

    return Checkpoint(file).config("transformer")


@pytest.mark.parametrize("layout", ["bfl", "diffusers"])
def test_loras_are_merged(layout, files, tmp_path, originals):
    source = files / "transformer.safetensors"
    config, state = shape_of(source), originals.states()["transformer"]
    made = {dialect: make_lora(dialect, config, state) for dialect in ("kohya", "peft")}
    uses, expected = [], state
    for scale, (dialect, one) in zip((0.5, -1.25), made.items(), strict=True):
        write_tensors(tmp_path / f"{dialect}.safetensors", one.tensors, one.metadata)
        uses.append((tmp_path / f"{dialect}.safetensors", scale))
        expected = one.on(expected, scale)
    place = written(source, tmp_path, layout, loras=uses)
    found = load_network(place, "transformer", config).state_dict()
    assert any(not torch.equal(expected[name], state[name]) for name in state)
    for name, weight in expected.items():
        assert (found[name] - weight).abs().max() < 1e-5, name


def test_a_lora_is_added_before_numbers_are_rounded(files, tmp_path, originals):
    """Two LoRAs on bfloat16: the sum's rounding is the only one."""
    (tmp_path / "half").mkdir()
    half = written(files / "transformer.safetensors", tmp_path / "half", "bfl", "bf16")
    config, state = shape_of(half), {n: t.float() for n, t in load_file(half).items()}
    one = make_lora("kohya", config, state)
    twins = [tmp_path / "lora.safetensors", tmp_path / "twin.safetensors"]
    for twin in twins:
        write_tensors(twin, one.tensors, one.metadata)
    place = written(half, tmp_path, "bfl", loras=[(twin, 0.01) for twin in twins])
    expected, found = one.on(one.on(state, 0.01), 0.01), load_file(place)
    for name, weight in expected.items():
        error = (found[name].float() - weight).abs()
        assert (error <= weight.abs() * 2**-8 * 1.001 + 1e-30).all(), name


# --- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["bfl", "gguf", "comfyui"])
def test_what_only_a_config_tells_is_not_lost(layout, files, tmp_path):
    """T5's activation: a single file would be read as T5 v1.1's."""
    folder = tmp_path / "t5"
    written(files / "t5.safetensors", tmp_path, "diffusers").rename(folder)
    told = json.loads((folder / "config.json").read_text())
    odd = told | {"feed_forward_proj": "gated-silu", "dense_act_fn": "silu"}
    (folder / "config.json").write_text(json.dumps(odd))
    with pytest.raises(RequestError, match=f"{layout} .* t5's activation is silu; take diffusers"):
        plan_conversion(str(folder), tmp_path / OUT[layout], layout)
    again = written(folder, tmp_path, "diffusers")
    assert Checkpoint(again).config("t5").activation == "silu"


@pytest.mark.parametrize(("options", "said"), [
    ({"layout": "ggml"}, "to: 'ggml' is none of bfl, diffusers, comfyui, gguf (did you mean"),
    ({"dtype": "float32"}, "dtype: 'float32' is none of fp32, .* (did you mean 'fp32'?)"),
    ({"dtype": "q4_k_m"}, "dtype: q4_k_m can be read here, not written; take q4_0"),
    ({"dtype": "iq2_xs"}, "dtype: iq2_xs can be read here, not written; take q4_0"),
    ({"dtype": "q4_0"}, "dtype: bfl does not hold q4_0; take nf4, or --to gguf"),
    ({"layout": "gguf", "dtype": "int8", "place": "x.gguf"}, "gguf does not hold int8; take q8_0"),
    ({"layout": "diffusers", "dtype": "fp8_scaled", "place": "x"}, "take fp8, or --to bfl"),
    ({"part": "vae"}, "part: 'vae' is none of transformer, autoencoder, clip, t5, bert"),
    ({"part": "t5"}, "holds no t5; it holds transformer"),
    ({"place": "x.gguf"}, "x.gguf: bfl is a file; call it x.safetensors"),
    ({"layout": "diffusers"}, "out.safetensors: diffusers is a folder; call it out"),
    ({"source": "autoencoder", "dtype": "nf4"}, "autoencoder is small and not kept in nf4; take b"),
    ({"source": "clip", "layout": "gguf", "place": "x.gguf"}, "not clip; take bfl"),
    ({"source": "clip", "loras": [("l", 1.0)]}, "lora: goes into a transformer"),
    ({"place": "there.safetensors"}, "there.safetensors: is there already; --overwrite"),
    ({"place": "."}, "is a file; call it"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(options, said, files, tmp_path):
    (tmp_path / "there.safetensors").write_bytes(b"x")
    call = {"source": "transformer", "place": "out.safetensors", "layout": "bfl"} | options
    call["source"] = str(files / f"{call['source']}.safetensors")
    call["place"] = tmp_path / call["place"]
    with pytest.raises(Flux1Error) as caught:
        plan_conversion(**call)
    first, _, last = said.partition(".*")
    assert first in str(caught.value)
    assert last in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"there.safetensors"}


def test_several_networks_for_one_file(folder, tmp_path):
    plan = plan_conversion(str(folder), tmp_path / "x.gguf", "gguf")
    assert plan.kinds == ("transformer",)
    with pytest.raises(Flux1Error, match="has no place for flux-mini's bert; say --part"):
        plan_conversion("flux-mini", tmp_path / "x", "diffusers")


def test_a_lora_is_no_model(files, tmp_path):
    config = shape_of(files / "transformer.safetensors")
    state = load_file(files / "transformer.safetensors")
    write_tensors(tmp_path / "lora.safetensors", make_lora("kohya", config, state).tensors)
    with pytest.raises(WeightsError, match="holds a LoRA, not a transformer"):
        plan_conversion(str(tmp_path / "lora.safetensors"), tmp_path / "x.safetensors", "bfl")


def test_a_control_lora_is_not_merged(files, tmp_path):
    source = files / "transformer.safetensors"
    state = load_file(source)
    inputs = state["img_in.weight"].shape
    lora = {
        "img_in.lora_A.weight": torch.ones(2, 2 * inputs[1]),
        "img_in.lora_B.weight": torch.ones(inputs[0], 2),
    }
    write_tensors(tmp_path / "lora.safetensors", lora)
    with pytest.raises(WeightsError, match=r"needs a wider first layer than .* not merged"):
        written(source, tmp_path, "bfl", loras=[(tmp_path / "lora.safetensors", 1.0)])


def test_a_file_is_not_written_over_itself(files):
    file = files / "transformer.safetensors"
    with pytest.raises(OutputError, match="is what is read"):
        plan_conversion(str(file), file, "bfl", force=True)


@pytest.mark.parametrize(("number", "dtype", "said"), [
    (float("nan"), "fp8_scaled", "not finite"), (float("inf"), "q8_0", "not finite"),
    (float("nan"), "nf4", "not finite"), (1e6, "fp8", "beyond fp8's 448; take fp8_scaled"),
    (1e6, "fp16", "beyond fp16's 65504; take bf16"),
])  # fmt: skip
def test_numbers_that_the_format_has_not_leave_what_was_there(
    number, dtype, said, originals, tmp_path
):
    state = originals.states()["transformer"]
    name = "single_blocks.1.linear2.weight"
    state[name] = state[name].clone()
    state[name][3, 4] = number
    write_tensors(tmp_path / "in.safetensors", state)
    layout = "gguf" if dtype == "q8_0" else "bfl"
    (tmp_path / OUT[layout]).write_bytes(b"before")
    with pytest.raises(WeightsError, match=f"{name}: .*{said}"):
        written(tmp_path / "in.safetensors", tmp_path, layout, dtype, force=True)
    assert (tmp_path / OUT[layout]).read_bytes() == b"before"
    assert {path.name for path in tmp_path.iterdir()} == {"in.safetensors", OUT[layout]}


def test_a_full_disk_is_said_before_anything_is_written(files, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(OutputError, match=r"needs 0.000596 GB, its disk has 0.0001 GB left"):
        written(files / "transformer.safetensors", tmp_path / "deep" / "er", "bfl")
    assert list(tmp_path.iterdir()) == []


# --- memory -------------------------------------------------------------------------------------

MEASURE = """
import sys
from pathlib import Path
from flux1.pipeline.memory import peak_resident
from flux1.weights.convert import plan_conversion
small, large, place, layout, dtype = sys.argv[1:]
place = Path(place)
def peak(source):
    plan_conversion(source, place, layout, dtype, force=True).write()
    return peak_resident()
print(-peak(small) + peak(large))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a parent's peak counts too")
@pytest.mark.parametrize(("layout", "dtype"), [("bfl", "fp8"), ("gguf", "q8_0")])
def test_memory_holds_one_tensor(layout, dtype, files, tmp_path):
    """A file of 400 MB (zeros that take no disk), whose largest tensor has 29 MB."""
    large = tmp_path / "large.safetensors"
    size = sparse_transformer(large)
    assert size > 400_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(files / "transformer.safetensors"), str(large),
         str(tmp_path / OUT[layout]), layout, dtype],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 160_000_000


def sparse_transformer(file):
    """A transformer of zeros, width 1024, 1 + 5 blocks; its bytes."""
    from flux1.model.config import TransformerConfig
    from flux1.model.transformer import Transformer

    config = TransformerConfig(
        hidden_size=1024, num_heads=8, depth=1, depth_single_blocks=4, context_in_dim=64,
        vec_in_dim=64, guidance_embed=False,
    )  # fmt: skip
    with torch.device("meta"):
        state = Transformer(config).state_dict()
    header, at = {}, 0
    for name, tensor in state.items():
        end = at + 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + at)
    return at


# --- nothing wrong is written, nothing is lost ----------------------------------------------------


@pytest.mark.parametrize("kind", ["transformer", "autoencoder", "clip", "t5"])
def test_a_tensor_of_another_shape_is_not_passed_on(kind, tmp_path, originals):
    state = dict(originals.states()[kind])
    name = next(name for name in state if "1" in name and state[name].ndim == 1)
    state[name] = state[name][:-1].clone()
    write_tensors(tmp_path / "x.safetensors", state)
    with pytest.raises(WeightsError, match=r"x\.safetensors: wrong shape: .* not \("):
        written(tmp_path / "x.safetensors", tmp_path, "bfl")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("scales", "said"),
    [
        ([float("nan")], "nan is not from -10 to 10"),
        ([1e9], "1e+09 is not from -10 to 10"),
        ([0.0], "at scale 0 changes nothing"),
        ([1.0, 0.5], "is there twice"),
    ],
)
def test_a_lora_s_scale_is_what_it_may_be_for_drawing(scales, said, files, tmp_path):
    uses = [(tmp_path / "lora.safetensors", scale) for scale in scales]
    with pytest.raises(RequestError) as caught:
        written(files / "transformer.safetensors", tmp_path, "bfl", loras=uses)
    assert said in str(caught.value)


@pytest.mark.parametrize("place", ["transformer/model.safetensors", "transformer", ""])
def test_what_is_read_is_not_written_over(place, tmp_path):
    """Shards: a folder that is written into is swept of them."""
    folder = make_diffusers_folder(tmp_path / "model", max_shard_size="200KB")
    before = {file: file.read_bytes() for file in folder.rglob("*.safetensors")}
    shard = next(file for file in before if "-00002-of-" in file.name)
    out = shard if place.endswith(".safetensors") else folder / place
    layout = "bfl" if out == shard else "diffusers"
    part = "transformer" if out != folder else None
    with pytest.raises(OutputError, match="write to another place"):
        plan_conversion(str(folder), out, layout, part=part, force=True)
    assert {file: file.read_bytes() for file in folder.rglob("*.safetensors")} == before


def test_numbers_beyond_the_scales_of_gguf_s_blocks(tmp_path, originals):
    state = dict(originals.states()["transformer"])
    name = "double_blocks.0.img_mlp.0.weight"
    state[name] = state[name] * 1e9
    write_tensors(tmp_path / "x.safetensors", state)
    with pytest.raises(WeightsError, match=f"{name}: holds numbers beyond Q4_0's scales"):
        written(tmp_path / "x.safetensors", tmp_path, "gguf", "q4_0")
    assert not (tmp_path / "out.gguf").exists()


def test_a_folder_s_link_that_leads_out_is_not_followed(folder, tmp_path):
    (tmp_path / "transformer").symlink_to(folder / "transformer")
    with pytest.raises(WeightsError, match="leads out of its folder"):
        plan_conversion(str(tmp_path), tmp_path / "out.safetensors", "bfl")
