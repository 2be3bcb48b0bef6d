"""Each graph answers as its network does, in every number format."""

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from flux1.export.graph import Graph
from flux1.export.onnx import FIRST_OPSET, LAST_OPSET, plan_export
from flux1.export.parity import CASES, compare
from flux1.export.transformer import write_transformer
from flux1.export.write import write_graph
from flux1.runtime.folder import read_folder
from flux1.weights.load import load_model
from flux1.weights.sources import locate
from graphs import MODELS, exported, networks, source
from synthetic import clip_model, make_diffusers_folder, t5_model


@pytest.mark.parametrize("model", MODELS)
def test_every_component_in_float32(model):
    differences = compare(networks(model), exported(model))
    assert {found.component for found in differences} == set(
        read_folder(exported(model)).components
    )
    assert [found for found in differences if found.share > 1e-5] == []


def test_encoders_of_odd_configs(tmp_path):
    """Another end token, activation and epsilon of CLIP's; T5 without a gate, with few buckets."""
    folder = make_diffusers_folder(tmp_path / "odd")
    clip_model(eos_token_id=81, hidden_act="gelu", layer_norm_eps=0.1).save_pretrained(
        folder / "text_encoder"
    )
    t5_model(
        feed_forward_proj="relu", layer_norm_epsilon=0.1, relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
    ).save_pretrained(folder / "text_encoder_2")  # fmt: skip
    odd = locate(folder)
    plan_export(odd, tmp_path / "graphs").write()
    differences = compare(load_model(odd), tmp_path / "graphs")
    assert max(found.share for found in differences) < 1e-5


@pytest.mark.parametrize("model", ["tiny", "dev"])
def test_half_precision_is_as_near_as_its_digits(model):
    differences = compare(networks(model), exported(model, "fp16"))
    assert [found for found in differences if not 1e-6 < found.share < 5e-3] == []


@pytest.mark.parametrize("model", ["tiny", "dev", "flux-mini"])
def test_eight_bits_cost_the_transformer_percents_and_text_less(model):
    shares = {"transformer": (1e-3, 0.1), "t5": (1e-4, 0.05), "bert": (0, 0.05)}
    for found in compare(networks(model), exported(model, "int8")):
        least, most = shares.get(found.component, (0, 1e-5))
        assert least < found.share < most, found


def test_flux_minis_text_is_stored_in_eight_bits_and_loses_nothing_more():
    differences = compare(networks("flux-mini"), exported("flux-mini", "int8"))
    assert max(found.share for found in differences if found.component == "bert") < 1e-5


def test_bfloat16_is_that_of_torch(tmp_path):
    """By the standard's own reference: ONNX Runtime has no such arithmetic on a processor."""
    model = networks("schnell")
    config = model.transformer.config
    state = model.transformer.state_dict()
    graph = Graph("x", {name: tuple(t.shape) for name, t in state.items()}, "bf16", FIRST_OPSET)
    write_transformer(graph, config)
    write_graph(tmp_path / "x.onnx", graph, state, {}, lambda _: None)
    onnx.checker.check_model(tmp_path / "x.onnx", full_check=True)

    rng = np.random.default_rng(0)
    inputs, answer = next(CASES["transformer"](model, source("schnell").variant, rng))
    told = {name: torch.from_numpy(value) for name, value in inputs.items()}
    (exact,) = answer(told)
    narrow = in_bfloat16(model.transformer)(
        told["hidden_states"].bfloat16(), told["img_ids"].long()[None],
        told["encoder_hidden_states"].bfloat16(), told["txt_ids"].long()[None],
        told["timestep"].bfloat16(), told["pooled_projections"].bfloat16(),
    )  # fmt: skip
    (found,) = ReferenceEvaluator(str(tmp_path / "x.onnx")).run(None, inputs)
    rounding = (narrow.float() - exact).abs().max()
    assert np.abs(found - exact.numpy()).max() < 2 * rounding


@pytest.mark.parametrize("opset", range(FIRST_OPSET, LAST_OPSET + 1))
@pytest.mark.parametrize("model", ["tiny", "dev"])
def test_every_opset_is_valid_and_the_same(model, opset, tmp_path):
    made = plan_export(source(model), tmp_path / "x", opset=opset).write()
    for component in made.components.values():
        onnx.checker.check_model(tmp_path / "x" / component, full_check=True)
    assert max(found.share for found in compare(networks(model), tmp_path / "x")) < 1e-5


def in_bfloat16(transformer):
    twin = type(transformer)(transformer.config)
    twin.load_state_dict(transformer.state_dict())
    return twin.bfloat16().eval().requires_grad_(False)
