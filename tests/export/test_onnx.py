"""What `flux1 export onnx` leaves in a folder."""

import json
import weakref
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from flux1 import __version__
from flux1.errors import OutputError, RequestError, WeightsError
from flux1.export.graph import Graph
from flux1.export.onnx import LAST_OPSET, plan_export
from flux1.export.transformer import write_transformer
from flux1.export.write import ALIGNMENT, DATA, write_graph
from flux1.runtime.folder import INDEX, read_folder
from flux1.runtime.text import Words
from flux1.weights.kinds.words import transformers_tokenizer
from flux1.weights.upscaler import LICENCE
from graphs import exported, networks, source

# component: inputs and outputs, as in the published repositories (flux-mini's bert is our own)
ENDS = {
    "clip": ({"input_ids": 2}, {"pooled_embeddings": 2}),
    "t5": ({"input_ids": 2}, {"text_embeddings": 3}),
    "transformer": (
        {
            "hidden_states": 3, "encoder_hidden_states": 3, "pooled_projections": 2, "img_ids": 2,
            "txt_ids": 2, "timestep": 1, "guidance": 1,
        },
        {"latent": 3},
    ),
    "vae": ({"latent": 4}, {"images": 4}),
    "vae_encoder": ({"images": 4}, {"latent": 4}),
    "upscaler": ({"pixels": 4}, {"enlarged": 4}),
}  # fmt: skip


def test_components_have_the_names_and_ends_of_the_published_ones():
    folder = exported("dev")
    components = read_folder(folder).components
    assert components == {
        "transformer": "transformer.opt/fp32/model.onnx",
        "vae": "vae.opt/model.onnx",
        "vae_encoder": "vae_encoder.opt/model.onnx",
        "clip": "clip.opt/model.onnx",
        "t5": "t5.opt/model.onnx",
        "upscaler": "upscaler.opt/model.onnx",
    }
    for name, file in components.items():
        graph = onnx.load(folder / file).graph
        ends = tuple({end.name: _rank(end) for end in side} for side in (graph.input, graph.output))
        assert ends == ENDS[name]


def test_a_network_without_guidance_has_no_such_input():
    graph = onnx.load(exported("schnell") / "transformer.opt/fp32/model.onnx").graph
    assert [end.name for end in graph.input] == list(ENDS["transformer"][0])[:-1]


def test_every_graph_says_whose_weights_it_holds_and_under_which_terms():
    folder, variant = exported("dev"), source("dev").variant
    for name, file in read_folder(folder).components.items():
        told = {p.key: p.value for p in onnx.load(folder / file).metadata_props}
        licence = LICENCE if name == "upscaler" else variant.licence
        terms = {
            "flux1.licence": licence.name,
            "flux1.licence_url": licence.url,
            "flux1.licence_duties": licence.duties,
        }
        assert told == {
            "flux1.component": name,
            "flux1.variant": variant.id,
            "flux1.model_hash": source("dev").model_hash,
            "flux1.dtype": "fp32",
            "flux1.version": __version__,
            **{key: value for key, value in terms.items() if value},
        }
    assert "Xintao Wang" in (folder / "upscaler.opt" / "LICENSE").read_text()


def test_the_index_describes_the_model_whole():
    folder = exported("flux-mini")
    found = read_folder(folder)
    assert found.variant == source("flux-mini").variant
    assert found.model_hash == source("flux-mini").model_hash
    assert json.loads((folder / INDEX).read_text())["_class_name"] == "FluxPipeline"
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert there == {*found.files, INDEX, "upscaler.opt/LICENSE"}


def test_the_licence_goes_where_the_weights_go(tmp_path):
    root = tmp_path / "FLUX.1-dev"
    root.mkdir()
    (root / "LICENSE.md").write_text("terms")
    plan_export(replace(source("dev"), root=root), tmp_path / "out").write()
    assert (tmp_path / "out" / "LICENSE.md").read_text() == "terms"


def test_large_weights_lie_beside_the_graph(tmp_path):
    plan = plan_export(source("dev"), tmp_path / "out")
    made = plan.write(external_above=10_000)
    sides = {name for name in made.files if name.endswith(DATA)}
    assert "transformer.opt/fp32/backbone.onnx_data" in sides
    folder, inside = tmp_path / "out" / "transformer.opt" / "fp32", exported("dev")
    proto = onnx.load(folder / "model.onnx", load_external_data=False)
    outside = [t for t in proto.graph.initializer if t.external_data]
    places = [{e.key: e.value for e in tensor.external_data} for tensor in outside]
    assert {place["location"] for place in places} == {DATA}
    assert {int(place["offset"]) % ALIGNMENT for place in places} == {0}
    whole = {t.name: t for t in onnx.load(folder / "model.onnx").graph.initializer}
    for tensor in onnx.load(inside / "transformer.opt/fp32/model.onnx").graph.initializer:
        np.testing.assert_array_equal(
            onnx.numpy_helper.to_array(tensor), onnx.numpy_helper.to_array(whole[tensor.name])
        )


class Watched(Mapping):
    """Tensors made when asked for; remembers how many were alive at once."""

    def __init__(self, state):
        self.state, self.alive, self.most = state, weakref.WeakSet(), 0

    def __getitem__(self, name):
        tensor = self.state[name].clone()
        self.alive.add(tensor)
        self.most = max(self.most, len(self.alive))
        return tensor

    def __iter__(self):
        return iter(self.state)

    def __len__(self):
        return len(self.state)


def test_weights_pass_through_memory_one_at_a_time(tmp_path):
    transformer = networks("tiny").transformer
    state = Watched(transformer.state_dict())
    graph = Graph("x", {n: tuple(t.shape) for n, t in state.state.items()}, "fp16", 20)
    write_transformer(graph, transformer.config)
    passed = []
    write_graph(tmp_path / "x.onnx", graph, state, {}, passed.append, external_above=0)
    assert len(passed) == len(state)
    assert state.most <= 2  # the one that is made may meet the last one that was written


def test_eight_bits_beside_onnx_runtimes_own_tool(tmp_path):
    """One layer, quantised by `quantize_dynamic` from the float32 graph: among tokens that are
    alike it is as near, beside a loud one much farther off."""
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    for dtype in ("fp32", "int8"):
        graph = Graph("x", {"layer.weight": (32, 64)}, dtype, 20, integers=True)
        x = graph.input("x", "tokens", 64)
        graph.output("y", graph.linear(x, "layer", bias=False), "tokens", 32)
        write_graph(tmp_path / f"{dtype}.onnx", graph, {"layer.weight": weight}, {}, lambda _: None)
    quantize_dynamic(
        tmp_path / "fp32.onnx", tmp_path / "theirs.onnx", per_channel=True,
        weight_type=QuantType.QInt8,
    )  # fmt: skip
    tokens = np.random.default_rng(0).standard_normal((9, 64), np.float32)
    for loud, most in ((1, 1.5), (100, 0.1)):
        tokens[0] *= loud
        exact, ours, theirs = (
            onnxruntime.InferenceSession(tmp_path / f"{name}.onnx").run(None, {"x": tokens})[0][1:]
            for name in ("fp32", "int8", "theirs")
        )
        ours_apart, theirs_apart = (np.abs(found - exact).mean() for found in (ours, theirs))
        assert 0 < ours_apart < most * theirs_apart


PROMPTS = ["", "a red fox", "Ein Fuchs, groß & rot!", "狐 🦊 fox\t\nnew line", "fox " * 600]


@pytest.mark.parametrize(("name", "length"), [("clip", 77), ("t5", 512), ("t5", 128)])
def test_tokenizers_give_the_ids_of_transformers(name, length):
    folder = exported("dev")
    words = Words(folder / read_folder(folder).tokenizers[name], length)
    theirs = transformers_tokenizer(source("dev").files.tokenizers[name])
    for prompt in PROMPTS:
        wanted = theirs(prompt, padding="max_length", truncation=True, max_length=length).input_ids
        ids, dropped = words(prompt)
        assert words.padded(ids).tolist() == [wanted]
        assert bool(dropped) == (len(theirs(prompt).input_ids) > length)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"dtype": "int4"}, RequestError, "dtype: 'int4' is none of fp32, fp16, bf16, int8"),
        ({"dtype": "float32"}, RequestError, "did you mean 'fp32'"),
        ({"opset": 11}, RequestError, "opset: 11 is not from 20 to 23; nearest: 20"),
        ({"opset": 99}, RequestError, f"nearest: {LAST_OPSET}"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(given, error, message, tmp_path):
    with pytest.raises(error) as failure:
        plan_export(source("tiny"), tmp_path / "out", **given)
    assert message in str(failure.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_written_over_by_force_only(tmp_path):
    plan_export(source("tiny"), tmp_path).write()
    with pytest.raises(OutputError, match="is there already; --overwrite writes over it"):
        plan_export(source("tiny"), tmp_path)
    made = plan_export(source("tiny"), tmp_path, "fp16", force=True).write()
    assert read_folder(tmp_path) == made


def test_weights_that_do_not_fit_the_graph_are_named():
    transformer = networks("tiny").transformer
    shapes = {name: tuple(t.shape) for name, t in transformer.state_dict().items()}
    lacking = {name: shape for name, shape in shapes.items() if name != "img_in.weight"}
    with pytest.raises(WeightsError, match=r"x: the weights have no img_in\.weight"):
        write_transformer(Graph("x", lacking, "fp32", 20), transformer.config)
    graph = Graph("x", {**shapes, "img_in.extra": (3,)}, "fp32", 20)
    write_transformer(graph, transformer.config)
    with pytest.raises(WeightsError, match=r"x: has no place for img_in\.extra"):
        graph.finish({})


def test_numbers_that_eight_bits_cannot_hold_are_refused(tmp_path):
    transformer = networks("tiny").transformer
    state = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}
    state["single_blocks.0.linear1.weight"][0, 0] = torch.inf
    graph = Graph("x", {name: tuple(t.shape) for name, t in state.items()}, "int8", 20)
    write_transformer(graph, transformer.config)
    with pytest.raises(WeightsError, match=r"single_blocks\.0\.linear1\.weight"):
        write_graph(tmp_path / "x.onnx", graph, state, {}, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def _rank(end: onnx.ValueInfoProto) -> int:
    """With the batch open, and float32 unless it is words."""
    type = end.type.tensor_type
    assert type.elem_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64)
    assert type.shape.dim[0].dim_param
    return len(type.shape.dim)
