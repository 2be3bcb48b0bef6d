"""A folder that is not what it should be is refused in one line."""

import json
import shutil

import pytest

from flux1.errors import Flux1Error, MissingWeightsError, UnknownModelError, WeightsError
from flux1.export.onnx import plan_export
from flux1.export.write import DATA
from flux1.runtime.folder import INDEX, find_folder, read_folder
from flux1.runtime.pipeline import OnnxPipeline
from flux1.runtime.sessions import choose_provider
from graphs import exported, source

GRAPH = "transformer.opt/fp32/model.onnx"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(exported("tiny"), tmp_path / "tiny")


def change(folder, **values):
    index = json.loads((folder / INDEX).read_text())
    index["flux1"] |= values
    (folder / INDEX).write_text(json.dumps(index))


def refusal(folder):
    with pytest.raises(Flux1Error) as failure:
        OnnxPipeline.from_folder(folder)
    assert "\n" not in str(failure.value)
    return failure.type, str(failure.value).replace(str(folder), "FOLDER")


def test_a_missing_file(folder):
    (folder / GRAPH).unlink()
    assert refusal(folder) == (
        MissingWeightsError,
        f"FOLDER: missing {GRAPH}; export the model again",
    )


def test_missing_and_cut_off_external_data(tmp_path):
    plan_export(source("tiny"), tmp_path).write(external_above=10_000)
    data = tmp_path / "transformer.opt" / "fp32" / DATA
    size = data.stat().st_size
    with data.open("r+b") as stream:
        stream.truncate(size - 1)
    assert f"{DATA}: has {size - 1} bytes, {INDEX} says {size}" in refusal(tmp_path)[1]
    data.unlink()
    assert refusal(tmp_path) == (
        MissingWeightsError,
        f"FOLDER: missing transformer.opt/fp32/{DATA}; export the model again",
    )


def test_a_file_that_was_cut_off(folder):
    data = (folder / GRAPH).read_bytes()
    (folder / GRAPH).write_bytes(data[:1000])
    assert refusal(folder) == (
        WeightsError,
        f"FOLDER/{GRAPH}: has 1000 bytes, {INDEX} says {len(data)}; export the model again",
    )


def test_a_damaged_graph_of_the_right_size(folder):
    size = (folder / GRAPH).stat().st_size
    (folder / GRAPH).write_bytes(b"\xff" * size)
    assert refusal(folder)[1].startswith(f"FOLDER/{GRAPH}: does not run in fp32 on CPUExecution")


def test_a_graph_of_another_model(folder):
    shutil.copyfile(exported("dev") / GRAPH, folder / GRAPH)
    size = (folder / GRAPH).stat().st_size
    change(folder, files={**read_folder_files(folder), GRAPH: size})
    kind, message = refusal(folder)
    assert kind is WeightsError
    assert message.endswith("a graph of another model")


def test_a_graph_in_another_ones_place(folder):
    change(
        folder, components={**read_folder(folder).components, "vae": "vae_encoder.opt/model.onnx"}
    )
    assert "its component is vae_encoder, not vae" in refusal(folder)[1]


def test_a_number_format_that_the_provider_has_not():
    kind, message = refusal(exported("tiny", "bf16"))
    assert kind is WeightsError
    assert "does not run in bf16 on CPUExecutionProvider" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "is not of `flux1 export onnx`"),
        ('{"_class_name": "FluxPipeline"}', "is not of `flux1 export onnx`"),
        ('{"flux1": {"model_hash": 3}}', "variant: Field required"),
    ],
)
def test_an_index_that_is_none_of_ours(folder, text, message):
    (folder / INDEX).write_text(text)
    kind, told = refusal(folder)
    assert kind is WeightsError
    assert message in told


def test_a_model_is_found_by_path_and_by_name(folder):
    models = folder.parent
    assert find_folder(folder) == folder
    assert find_folder("tiny", models) == folder
    folder.rename(models / "tiny-onnx")
    assert find_folder("tiny", models) == models / "tiny-onnx"


def test_a_model_that_is_no_graph_says_how_to_make_one(tmp_path):
    with pytest.raises(UnknownModelError) as failure:
        find_folder("flux-mini", tmp_path)
    assert str(failure.value) == (
        "model: 'flux-mini' is no folder of ONNX graphs; "
        "make one: flux1 export onnx --model flux-mini --out flux-mini-onnx"
    )


def test_providers_are_called_as_people_call_them():
    assert choose_provider("cpu") == choose_provider("CPUExecutionProvider")
    with pytest.raises(Flux1Error, match=r"'cqu' is not in this ONNX Runtime; here: .*cpu"):
        choose_provider("cqu")


def read_folder_files(folder):
    return json.loads((folder / INDEX).read_text())["flux1"]["files"]
