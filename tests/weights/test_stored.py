"""Weights that stay packed, or in their file: every format draws what its decoded weights draw."""

import shutil

import gguf
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from flux1.errors import WeightsError
from flux1.model.lora import Lora, active_adapters
from flux1.model.modulation_cache import modulated_by, modulation, modulation_is_stored
from flux1.model.patches import image_ids, text_ids
from flux1.model.stored import StoredEmbedding, StoredLinear
from flux1.variants import TINY
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.kinds.transformer import TRANSFORMER
from flux1.weights.load import Storage, load_model, load_network, load_text
from flux1.weights.lora.read import read_lora
from flux1.weights.model_files import Source
from flux1.weights.numbers import int8
from flux1.weights.sources import locate
from lora_files import make_lora
from weight_files import FORMATS, four_bits, nf4, shape_of, write_gguf

KEEPS = ("packed", "mapped")


@pytest.fixture(scope="module")
def files(originals, tmp_path_factory):
    """A transformer in every format, written when it is asked for."""
    folder, made = tmp_path_factory.mktemp("formats"), {}

    def file(name, write=None):
        if name not in made:
            place = folder / f"{len(made)}"
            (write or FORMATS[name][0])(place, originals.states()["transformer"])
            (made[name],) = folder.glob(f"{place.name}.*")
        return made[name]

    return file


def loaded(file, keep, dtype=torch.float32):
    return load_network(file, "transformer", shape_of({}), Storage(dtype, keep=keep))


def inputs(dtype=torch.float32, rows=2):
    g = torch.Generator().manual_seed(0)
    return {
        "img": torch.randn(rows, 12, 16, generator=g).to(dtype),
        "img_ids": image_ids(3, 4).expand(rows, -1, -1),
        "txt": torch.randn(rows, 5, 32, generator=g).to(dtype),
        "txt_ids": text_ids(5).expand(rows, -1, -1),
        "t": torch.linspace(0.4, 0.9, rows),
        "pooled": torch.randn(rows, 64, generator=g).to(dtype),
        "guidance": torch.full((rows,), 3.5),
    }


def apart(one, other):
    return ((one - other).float().norm() / other.float().norm()).item()


def stored_layers(network):
    return [m for m in network.modules() if isinstance(m, (StoredLinear, StoredEmbedding))]


@torch.no_grad()
@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_transformer_in_every_format(name, keep, files):
    plain, network = loaded(files(name), "plain"), loaded(files(name), keep)
    linear = [m for m in plain.modules() if isinstance(m, nn.Linear)]
    assert len(stored_layers(network)) == len(linear) - 1
    assert isinstance(network.img_in, nn.Linear)
    for _ in range(2):  # the second time, what is mapped was read ahead
        assert apart(network(**inputs()), plain(**inputs())) < 1e-6
    kept = sum(layer.matrix.nbytes for layer in stored_layers(network))
    if keep == "mapped":
        assert kept == 0
    else:
        assert 0 < kept <= files(name).stat().st_size


def nested_nf4(file, state):
    """bitsandbytes' double quantisation: the scales in bytes, with scales of their own."""
    kept = {}
    for name, tensor in state.items():
        kept[name] = tensor
        if tensor.ndim == 2:
            parts, _ = four_bits(tensor)
            absmax = parts.pop(".absmax")
            steps = absmax.max() / 255
            told = b'{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [%d, %d], '
            told += b'"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.0}'
            parts[".quant_state.bitsandbytes__nf4"] = torch.tensor(
                list(told % tuple(tensor.shape)), dtype=torch.uint8
            )
            parts[".absmax"] = (absmax / steps).round().to(torch.uint8)
            parts[".nested_quant_map"] = torch.arange(256.0)
            parts[".nested_absmax"] = steps.expand(-(-len(absmax) // 256)).contiguous()
            kept |= {name + suffix: part for suffix, part in parts.items()}
    save_file(kept, file.with_suffix(".safetensors"))


def int8_rows(file, state):
    save_file(int8.quantize_rows(state), file.with_suffix(".safetensors"), int8.METADATA)


def fused_in_bytes(quantised):
    """Diffusers' names, each part of a fused tensor quantised by itself."""

    def write(file, state):
        theirs = TRANSFORMER.spelled(state, "diffusers", shape_of(state))
        quantised(file, {name: theirs[name].contiguous() for name in theirs})

    return write


def fp8_by_tensor(file, state):
    save_file({k: t.to(torch.float8_e4m3fn) for k, t in state.items()}, f"{file}.safetensors")


OTHERS = {
    "nested NF4": nested_nf4,
    "int8 rows": int8_rows,
    "diffusers, int8 rows": fused_in_bytes(int8_rows),
    "diffusers, NF4": fused_in_bytes(nf4),
    "diffusers, fp8": fused_in_bytes(fp8_by_tensor),
}


@torch.no_grad()
@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("name", OTHERS)
def test_joined_parts_and_rarer_formats(name, keep, files):
    file = files(name, OTHERS[name])
    plain, network = loaded(file, "plain"), loaded(file, keep)
    assert apart(network(**inputs()), plain(**inputs())) < 1e-6
    weight = plain.double_blocks[0].img_attn.qkv.weight
    assert torch.equal(network.double_blocks[0].img_attn.qkv.weight, weight)
    weight = plain.final_layer.adaLN_modulation[1].weight
    assert torch.equal(network.final_layer.adaLN_modulation[1].weight, weight)


@pytest.mark.parametrize("name", [*FORMATS, *OTHERS])
def test_some_rows_are_those_of_the_whole(name, files):
    part = Checkpoint(files(name, OTHERS.get(name))).part("transformer")
    state = part.tensors
    if part.dialect == "diffusers":
        state = TRANSFORMER.ours(state, "diffusers", shape_of({}))
    for tensor in state.stored.values():
        whole, opened, count = tensor.read(), tensor.opened(), tensor.shape[0]
        assert tensor.shape == tuple(whole.shape)
        for rows in (slice(0, 1), slice(5, 9), slice(count // 3 - 1, count), slice(None)):
            assert torch.equal(tensor.decode(opened, rows), whole[rows])
        if part.dialect == "bfl":
            rows = torch.tensor([count - 1, 0, 3, 3])
            assert torch.equal(tensor.decode(opened, rows), whole[rows])


@torch.no_grad()
@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("name", ["bfloat16", "GGUF Q4_0", "scaled fp8"])
def test_in_bfloat16(name, keep, files):
    plain = loaded(files(name), "plain", torch.bfloat16)
    network = loaded(files(name), keep, torch.bfloat16)
    assert network.img_in.weight.dtype == torch.bfloat16
    exact = loaded(files(name), "plain")(**inputs())
    there, here = plain(**inputs(torch.bfloat16)), network(**inputs(torch.bfloat16))
    assert here.dtype == torch.bfloat16
    assert apart(here, exact) < 1.2 * apart(there, exact)


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("rows", [1, 5, 20])
def test_modulation_beforehand_has_the_same_bits(keep, rows, files):
    network = loaded(files("GGUF Q8_0"), keep)
    assert modulation_is_stored(network)
    given = inputs(rows=rows)
    table = modulation(network, given["t"], given["pooled"], given["guidance"])
    last = {name: tensor[-1:] for name, tensor in given.items()}
    computed = network(**given), network(**last)
    with modulated_by(network, table):
        assert torch.equal(network(**given), computed[0])
    with modulated_by(network, table[-1:]):
        assert torch.equal(network(**last), computed[1])


def test_modulation_of_a_plain_network(files):
    network, given = loaded(files("BFL"), "plain"), inputs()
    assert not modulation_is_stored(network)
    table = modulation(network, given["t"], given["pooled"], given["guidance"])
    computed = network(**given)
    with modulated_by(network, table):
        assert torch.equal(network(**given), computed)


@torch.no_grad()
@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("kind", ["kohya", "diffusers", "dora", "lokr", "loha"])
def test_a_lora_beside_packed_layers(kind, keep, files, tmp_path):
    plain, network = loaded(files("GGUF Q8_0"), "plain"), loaded(files("GGUF Q8_0"), keep)
    made = make_lora(kind, plain.config, dict(plain.state_dict()))
    file = tmp_path / "lora.safetensors"
    save_file({k: t.contiguous() for k, t in made.tensors.items()}, file, made.metadata)
    before = network(**inputs())
    drawn = []
    for each in (plain, network):
        deltas = read_lora(file, each.config).deltas
        lora = Lora(each, deltas, torch.device("cpu"), torch.float32)
        with active_adapters([[(lora, 0.7)], []]):
            drawn.append(each(**inputs()))
        lora.detach()
    assert apart(drawn[1], drawn[0]) < 1e-6
    assert apart(drawn[1][:1], before[:1]) > 1e-3
    assert torch.equal(network(**inputs()), before)


class TestText:
    @pytest.fixture(params=["fp16", "Q8_0", "fp8"])
    def source(self, request, beside, originals):
        """A model whose T5 is in this format."""
        file = beside / "t5xxl_fp16.safetensors"
        state = originals.states()["t5"]
        if request.param == "fp16":
            save_file({name: tensor.half() for name, tensor in state.items()}, file)
        elif request.param == "fp8":
            kept = {
                name: t.to(torch.float8_e4m3fn) if t.ndim == 2 else t for name, t in state.items()
            }
            save_file(kept, file)
        else:
            file.unlink()
            write_gguf(
                file.with_suffix(".gguf"), state, gguf.GGMLQuantizationType.Q8_0, arch="t5encoder"
            )
        FORMATS["BFL"][0](beside / "flux1-dev", originals.states()["transformer"])
        return locate(beside / "flux1-dev.safetensors")

    @torch.no_grad()
    @pytest.mark.parametrize("keep", KEEPS)
    def test_equals_the_plain_one(self, source, keep):
        plain, text = load_text(source), load_text(source, keep=keep)
        ids = torch.tensor([[3, 17, 60, 1, 0, 0], [4, 4, 9, 9, 1, 0]])
        assert isinstance(text["t5"].network.t5.shared, StoredEmbedding)
        assert text["t5"].network.t5.shared is text["t5"].network.t5.encoder.embed_tokens
        assert len(stored_layers(text["t5"].network)) == 1 + 2 * 7
        for _ in range(2):
            assert apart(text["t5"].network(ids), plain["t5"].network(ids)) < 1e-6
        ids = torch.tensor([[512, 4, 90, 513, 513]])
        assert apart(text["clip"].network(ids), plain["clip"].network(ids)) < 1e-6


def test_what_no_file_holds_is_plain_or_refused():
    source = Source(TINY, "random", None, None)
    for keep in KEEPS:
        with pytest.raises(WeightsError, match="tiny: no file holds its weights; keep them plain"):
            load_model(source, keep=keep)


def test_tensors_that_do_not_fit_are_said_as_for_plain_ones(files, originals, tmp_path):
    state = originals.states()["transformer"]
    name = "double_blocks.0.img_attn.qkv.weight"
    for tensor, said in (
        (state[name][:, :-1].contiguous(), f"wrong shape: {name} "),
        (torch.zeros(state[name].shape, dtype=torch.int32), f"{name}: is kept as torch.int32"),
    ):
        file = tmp_path / "x.safetensors"
        save_file(state | {name: tensor}, file)
        for keep in ("plain", *KEEPS):
            with pytest.raises(WeightsError, match=said):
                loaded(file, keep)


def test_a_file_that_is_gone_is_still_read(files, tmp_path):
    """As a deleted file's bytes stay until it is closed."""
    file = tmp_path / "x.safetensors"
    shutil.copy(files("bfloat16"), file)
    network = loaded(file, "mapped")
    before = network(**inputs())
    file.unlink()
    assert torch.equal(network(**inputs()), before)
