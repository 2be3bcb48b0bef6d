"""What `flux1 inspect` says, of files of every kind; full-size ones are headers over holes."""

import json
import math
import random
import re

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from flux1.cli.main import app
from flux1.errors import MissingWeightsError, WeightsError
from flux1.model.autoencoder import Autoencoder
from flux1.model.config import AutoencoderConfig, ClipConfig, T5Config, TransformerConfig
from flux1.model.text import ClipText, T5Text
from flux1.model.transformer import Transformer
from flux1.variants import FLUX_MINI
from flux1.weights.files.dtypes import DTYPES
from flux1.weights.inspect import inspect
from flux1.weights.kinds.clip import clip_table
from flux1.weights.kinds.t5 import t5_table
from flux1.weights.kinds.transformer import transformer_table


def sparse(file, network, rename=lambda name: name, dtype="BF16", size=2, **metadata):
    """A safetensors file of a network's real size that takes no room: a header over a hole."""
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name, parameter in network.named_parameters():
        end = at + parameter.numel() * size
        header[rename(name)] = {
            "dtype": dtype, "shape": list(parameter.shape), "data_offsets": [at, end],
        }  # fmt: skip
        at = end
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    with file.open("r+b") as stream:
        stream.truncate(8 + len(text) + at)
    return file


def on_meta(build, config):
    with torch.device("meta"):
        return build(config)


def the_network(path):
    (report,) = inspect(path)
    (network,) = report.networks
    return report, network


@pytest.mark.parametrize(
    ("file", "config", "what", "parameters", "tensors"),
    [
        (
            "flux1-x", TransformerConfig(),
            "FLUX.1 [dev], FLUX.1 Krea [dev] or FLUX.1 Kontext [dev] (their tensors are alike)",
            11_901_408_320, 780,
        ),
        (
            "flux1-kontext-dev-fp8", TransformerConfig(),
            "FLUX.1 [dev], FLUX.1 Krea [dev] or FLUX.1 Kontext [dev] (their tensors are alike); "
            "by its name FLUX.1 Kontext [dev]", 11_901_408_320, 780,
        ),
        ("x", TransformerConfig(guidance_embed=False), "FLUX.1 [schnell]", 11_891_178_560, 776),
        ("x", TransformerConfig(in_channels=384), "FLUX.1 Fill [dev]", 11_902_391_360, 780),
        (
            "x", TransformerConfig(in_channels=128),
            "FLUX.1 Canny [dev] or FLUX.1 Depth [dev] (their tensors are alike)",
            11_901_604_928, 780,
        ),
        (
            "lite", TransformerConfig(depth=8),
            "like FLUX.1 [dev], FLUX.1 Krea [dev] or FLUX.1 Kontext [dev] (their tensors are "
            "alike), with 8 + 38 blocks of width 3072", None, 516,
        ),
    ],
)  # fmt: skip
def test_transformers_at_their_real_size(tmp_path, file, config, what, parameters, tensors):
    network = on_meta(Transformer, config)
    report, found = the_network(sparse(tmp_path / f"{file}.safetensors", network))
    assert (found.kind, found.dialect, found.what) == ("transformer", "bfl", what)
    assert parameters in (None, found.parameters)
    assert report.tensors == tensors
    assert report.dtypes["BF16"].bytes == 2 * found.parameters
    assert found.missing == found.unknown == ()
    apache = config.guidance_embed is False
    assert found.licence.startswith("Apache" if apache else "FLUX.1 [dev] Non-Commercial")


@pytest.mark.parametrize(
    ("build", "config", "kind", "what", "table"),
    [
        (Autoencoder, AutoencoderConfig(), "autoencoder", "FLUX.1's", None),
        (ClipText, ClipConfig(), "clip", "CLIP-L", clip_table),
        (T5Text, T5Config(), "t5", "T5 v1.1 XXL", t5_table),
    ],
)
def test_the_other_parts(tmp_path, build, config, kind, what, table):
    network = on_meta(build, config)
    file = sparse(tmp_path / "x.safetensors", network, lambda name: name.removeprefix("t5."))
    _, found = the_network(file)
    assert (found.kind, found.what, found.missing, found.unknown) == (kind, what, (), ())
    if table is not None:
        assert sorted(table(config)) == sorted(name for name, _ in network.named_parameters())


def test_quantised_all_in_one_with_missing_and_unknown_names(tmp_path, originals):
    states = originals.states()
    state = {f"model.diffusion_model.{k}": v.contiguous() for k, v in states["transformer"].items()}
    state = {
        name: tensor.to(torch.float8_e4m3fn) if tensor.ndim == 2 else tensor
        for name, tensor in state.items()
    }
    del state["model.diffusion_model.img_in.bias"]
    state |= {f"vae.{name}": tensor.clone() for name, tensor in states["autoencoder"].items()}
    state |= {"model.diffusion_model.odd": torch.ones(1), "strange.one": torch.ones(1)}
    save_file(state, tmp_path / "x.safetensors", {"modelspec.license": "mine", "note": "\x1b[31m"})
    (report,) = inspect(tmp_path / "x.safetensors")
    transformer, autoencoder = report.networks
    assert transformer.prefix == "model.diffusion_model."
    assert transformer.quantisation == ("fp8",)
    assert (transformer.missing, transformer.unknown) == (("img_in.bias",), ("odd",))
    assert transformer.licence == "mine (as the file says)"
    assert (autoencoder.prefix, autoencoder.missing) == ("vae.", ())
    assert report.unknown == ("strange.one",)
    assert set(report.dtypes) == {"F8_E4M3", "F32"}

    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "x.safetensors")])
    assert shown.exit_code == 0
    for said in ("fp8", "img_in.bias", "strange.one", "mine (as the file says)", "\\x1b[31m"):
        assert said in shown.stdout
    assert "\x1b" not in shown.stdout
    told = CliRunner().invoke(app, ["inspect", "--json", str(tmp_path / "x.safetensors")])
    assert json.loads(told.stdout)[0]["networks"][0]["missing"] == ["img_in.bias"]


def test_a_lora(tmp_path):
    stem = "transformer.transformer_blocks.0.attn.to_q"
    state = {f"{stem}.lora_A.weight": torch.ones(4, 32), f"{stem}.lora_B.weight": torch.ones(32, 4)}
    save_file(state, tmp_path / "x.safetensors")
    (report,) = inspect(tmp_path / "x.safetensors")
    assert report.adapter is not None
    assert (report.adapter.dialect, report.adapter.ranks) == ("diffusers", (4,))
    assert (report.adapter.algorithms, report.adapter.layers) == (("LoRA",), 1)
    assert report.networks == ()


def test_a_folder_of_diffusers(folder):
    reports = inspect(folder)
    kinds = {report.path.parent.name: report.networks[0].kind for report in reports}
    assert kinds == {
        "transformer": "transformer", "vae": "autoencoder", "text_encoder": "clip",
        "text_encoder_2": "t5",
    }  # fmt: skip
    assert all(report.networks[0].missing == () for report in reports)
    assert reports[1].path.name == "model.safetensors"


def networks_at_tiny_size():
    """The names and shapes of every part in every spelling."""
    transformer, autoencoder = (
        {name: tuple(p.shape) for name, p in on_meta(build, config).named_parameters()}
        for build, config in ((Transformer, FLUX_MINI.transformer),
                              (Autoencoder, FLUX_MINI.autoencoder))
    )  # fmt: skip
    clip = on_meta(ClipText, ClipConfig(100, 64, 64, 2, 1))
    t5 = on_meta(T5Text, T5Config(100, 64, 32, 64, 2, 2))
    encoders = [{name: tuple(p.shape) for name, p in one.named_parameters()} for one in (clip, t5)]
    theirs = [
        {name: transformer[line.bfl] for line in table(config) for name in line.diffusers}
        for table, config in ((transformer_table, FLUX_MINI.transformer),)
    ]
    return [transformer, autoencoder, *encoders, *theirs]


def lying(rng, shapes):
    """Some of a network's names, a few of them changed in name, shape or dtype."""
    told = dict(rng.sample(sorted(shapes.items()), rng.choice((len(shapes), len(shapes), 5))))
    entries = {name: (shape, "BF16") for name, shape in told.items()}
    for _ in range(rng.randint(0, 4)):
        name = rng.choice(list(entries))
        shape, dtype = entries.pop(name)
        match rng.randrange(6):
            case 0:
                name = re.sub(r"\d+", lambda _: rng.choice(("0", "7", "9" * 5000, "٣")), name)
            case 1:
                name = rng.choice(("model.", "x" * 300, "vae.", "\x1b[2J", "")) + name
            case 2:
                shape = tuple(rng.choice((0, 1, 3, 64, 2**20, 2**40)) for _ in shape)
            case 3:
                shape = (*shape, *rng.choice(((1,), (0,), (2, 2))))
            case 4:
                dtype = rng.choice(("F8_E4M3", "I8", "F32", "U8"))
            case 5:
                continue
        entries[name] = (shape, dtype)
    return entries


@pytest.mark.slow
def test_a_thousand_files_that_are_nearly_ours_are_told_or_refused_in_one_line(tmp_path):
    rng, file, networks = random.Random(0), tmp_path / "x", networks_at_tiny_size()
    refused: list[str] = []
    for _ in range(1000):
        entries = lying(rng, rng.choice(networks))
        header, at = {}, 0
        for name, (shape, dtype) in entries.items():
            size = math.prod(shape) * DTYPES[dtype].itemsize
            if at + size > 2**40:  # as far as a file with a hole can be made
                shape, size = (0, *shape[1:]), 0
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        with file.open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            stream.truncate(8 + len(text) + at)
        try:
            (report,) = inspect(file)
        except WeightsError as failure:
            refused.append(str(failure))
            continue
        assert report.tensors == len(entries)
    assert len(refused) < 500
    assert not [said for said in refused if "\n" in said]


def test_other_models_and_nothing(tmp_path):
    save_file({"joint_blocks.0.x": torch.ones(1)}, tmp_path / "x.safetensors")
    (report,) = inspect(tmp_path / "x.safetensors")
    assert report.other == "Stable Diffusion 3"
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingWeightsError, match="holds no weight files"):
        inspect(tmp_path / "empty")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(30))
    with pytest.raises(WeightsError, match=r"bad\.gguf: "):
        inspect(tmp_path / "bad.gguf")


def test_a_tensor_of_another_shape(tmp_path, originals):
    state = dict(originals.states()["transformer"])
    name = "double_blocks.1.img_mlp.0.weight"
    state[name] = state[name][:-1].clone()
    save_file(state, tmp_path / "x.safetensors")
    _, network = the_network(tmp_path / "x.safetensors")
    assert network.problem.startswith(f"wrong shape: {name} (127, 32), not (128, 32)")
