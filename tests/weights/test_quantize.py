"""Eight bits: how far products and velocities are from fp32, and what is refused."""

import pytest
import torch
import torch.nn.functional as F

from flux1.errors import Flux1Error, WeightsError
from flux1.model.fp8 import fp8_linear, fp8_rows
from flux1.model.int8 import int8_linear
from flux1.model.stored import StoredLinear
from flux1.variants import FLUX_MINI, TINY
from flux1.weights.files.lazy import in_memory
from flux1.weights.files.safetensors import write_tensors
from flux1.weights.load import Storage, load_model, load_network, random_transformer
from flux1.weights.model_files import Source
from flux1.weights.numbers import int8
from flux1.weights.numbers.quantize import quantize_layers, quantized
from flux1.weights.sources import locate

ROWS, N_IN, N_OUT = 40, 768, 320
BOUNDS = {  # relative error of a product of normal numbers: measured, then half as much again
    "int8": 0.012,
    "int8_dynamic": 0.017,
    "fp8": 0.055,
}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def apart(one, other):
    return ((one - other).float().norm() / other.float().norm()).item()


@pytest.mark.parametrize("how", ["int8", "int8_dynamic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products(how, dtype):
    weight = drawn(N_OUT, N_IN) * torch.logspace(-3, 1, N_OUT)[:, None]
    x, bias = drawn(2, ROWS, N_IN, seed=1), drawn(N_OUT, seed=2)
    matrix = quantized("x", in_memory(weight), how, "cpu")
    assert matrix.nbytes == N_OUT * N_IN + 4 * N_OUT
    assert apart(matrix.rows(slice(None), torch.float32, torch.device("cpu")), weight) < 0.012
    y = matrix.times(x.to(dtype), bias.to(dtype))
    assert y.dtype == dtype
    assert (
        1e-3 < apart(y - bias, F.linear(x, weight)) < BOUNDS[how] + (dtype == torch.bfloat16) * 4e-3
    )


def test_int8_products_are_what_the_formula_says():
    weight, x = drawn(N_OUT, N_IN), drawn(3, ROWS, N_IN, seed=1)
    codes = int8.quantize_rows({"w": weight})
    w = codes["w"].double() * codes["w.row_scale"].double()[:, None]
    steps = x.double().abs().amax(dim=-1, keepdim=True) / 127
    exact = ((x.double() / steps).round() * steps) @ w.T
    y = int8_linear(x, codes["w"], codes["w.row_scale"], None)
    assert apart(y, exact) < 1e-3  # few numbers lie so near to a half that they round otherwise
    assert (int8_linear(torch.zeros(1, 2, N_IN), codes["w"], codes["w.row_scale"], None) == 0).all()


def test_rows_of_one_picture_are_not_rounded():
    """The modulation: one row each, in the arithmetic of the compute dtype."""
    weight, x = drawn(N_OUT, N_IN), drawn(3, N_IN, seed=1)
    matrix = quantized("x", in_memory(weight), "int8_dynamic", "cpu")
    plain = matrix.rows(slice(None), torch.float32, torch.device("cpu"))
    assert apart(matrix.times(x, None), F.linear(x, plain)) < 1e-6


def test_fp8_products():
    """The arithmetic itself: torch has it, slowly, for a CPU too."""
    weight = drawn(N_OUT, N_IN) * torch.logspace(-3, 1, N_OUT)[:, None]
    x, bias = drawn(2, ROWS, N_IN, seed=1), drawn(N_OUT, seed=2)
    codes, scales = fp8_rows(weight)
    assert apart(codes.float() * scales, weight) < 0.035
    y = fp8_linear(x, codes, scales.flatten(), bias)
    assert y.dtype == torch.float32
    assert 1e-3 < apart(y - bias, F.linear(x, weight)) < BOUNDS["fp8"]


@torch.no_grad()
@pytest.mark.parametrize(("how", "most"), [("int8", 0.012), ("int8_dynamic", 0.03)])
def test_velocities_of_trained_weights(how, most, mini_inputs):
    source = locate("flux-mini")
    plain = load_model(source).transformer
    network = load_model(source, quantize=how).transformer
    eight = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, StoredLinear) and layer.matrix.nbytes < 1.5 * layer.weight.numel()
    ]
    config = FLUX_MINI.transformer
    assert len(eight) == 10 * config.depth + 3 * config.depth_single_blocks
    assert all("_blocks." in name for name in eight)
    assert apart(network(**mini_inputs), plain(**mini_inputs)) < most
    quantize_layers(plain, how)
    assert torch.equal(network(**mini_inputs), plain(**mini_inputs))


@pytest.fixture(scope="module")
def mini_inputs():
    from flux1.model.patches import image_ids, text_ids

    config = FLUX_MINI.transformer
    return {
        "img": drawn(2, 16, config.in_channels),
        "img_ids": image_ids(4, 4).expand(2, -1, -1),
        "txt": 0.4 * drawn(2, 8, config.context_in_dim, seed=1),
        "txt_ids": text_ids(8).expand(2, -1, -1),
        "t": torch.tensor([0.3, 0.8]),
        "pooled": 0.4 * drawn(2, config.vec_in_dim, seed=2),
        "guidance": torch.full((2,), 3.5) if config.guidance_embed else None,
    }


class TestMapped:
    """A file that stays on disk is computed in int8 if it is kept so."""

    def file(self, folder, state):
        write_tensors(folder / "x.safetensors", state)
        return folder / "x.safetensors"

    @torch.no_grad()
    def test_int8_rows(self, tmp_path):
        whole = random_transformer(TINY.transformer, 3)
        blocks = {k: v for k, v in whole.state_dict().items() if "_blocks." in k}
        state = whole.state_dict() | int8.quantize_rows(blocks)
        file = self.file(tmp_path, state)
        quantize_layers(whole, "int8_dynamic")
        mapped = load_network(
            file,
            "transformer",
            TINY.transformer,
            Storage(torch.float32, keep="mapped", quantize="int8_dynamic"),
        )
        layer, other = mapped.single_blocks[0].linear1, whole.single_blocks[0].linear1
        x = drawn(1, 20, layer.in_features)
        assert layer.matrix.nbytes == 0
        assert torch.equal(layer(x), other(x))

    @pytest.mark.parametrize("how", ["int8", "int8_dynamic"])
    def test_others(self, tmp_path, how):
        file = self.file(tmp_path, random_transformer(TINY.transformer, 3).state_dict())
        with pytest.raises(WeightsError, match=r"is kept as F32; .* flux1 convert") as caught:
            load_network(
                file,
                "transformer",
                TINY.transformer,
                Storage(torch.float32, keep="mapped", quantize=how),
            )
        assert "\n" not in str(caught.value)


def test_fp8_is_refused_on_a_cpu():
    with pytest.raises(Flux1Error, match="not cpu; take int8_dynamic"):
        load_model(Source(TINY, "random", None, None), quantize="fp8")


def test_numbers_that_are_not_finite():
    weight = drawn(4, 8)
    weight[2, 3] = torch.inf
    for how in ("int8", "int8_dynamic", "fp8"):
        with pytest.raises(WeightsError, match=r"some\.layer: holds numbers that are not finite"):
            quantized("some.layer", in_memory(weight), how, "cpu")
