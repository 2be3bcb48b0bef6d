"""What is saved here is read back here bit for bit, and read by diffusers itself."""

import json

import pytest
import torch

from flux1.errors import OutputError, WeightsError
from flux1.model.config import TransformerConfig
from flux1.variants import TINY
from flux1.weights.files.safetensors import FileTensors
from flux1.weights.kinds.autoencoder import autoencoder_config
from flux1.weights.kinds.transformer import diffusers_transformer_config, transformer_config
from flux1.weights.load import Storage, load_model, load_network
from flux1.weights.save import (
    save_bfl,
    save_diffusers,
    save_model_folder,
)
from flux1.weights.sources import locate


@pytest.fixture(scope="module")
def model():
    return load_model(locate(TINY))


def equal_states(one, other) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_save_load_save_gives_the_same_bytes(tmp_path, dtype):
    network = load_model(locate(TINY), dtype).transformer
    save_bfl(network, tmp_path / "one.safetensors")
    again = load_network(
        tmp_path / "one.safetensors", "transformer", TINY.transformer, Storage(dtype)
    )
    assert equal_states(network, again)
    save_bfl(again, tmp_path / "two.safetensors")
    one, two = (tmp_path / f"{name}.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_quantised_file_is_small_and_close(tmp_path, model):
    save_bfl(model.transformer, tmp_path / "full.safetensors")
    save_bfl(model.transformer, tmp_path / "int8.safetensors", quantize=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "int8")]
    assert sizes[1] < 0.32 * sizes[0]
    assert FileTensors(tmp_path / "int8.safetensors").metadata == {"quantization": "int8-rows"}
    again = load_network(tmp_path / "int8.safetensors", "transformer", TINY.transformer)
    for name, parameter in model.transformer.named_parameters():
        error = (again.get_parameter(name) - parameter).flatten(1 if parameter.ndim > 1 else 0)
        if parameter.ndim > 1:
            bound = parameter.flatten(1).abs().amax(dim=1, keepdim=True) / 254 * (1 + 1e-5)
            assert (error.abs() <= bound).all(), name
        else:
            assert (error == 0).all(), name


@torch.no_grad()
@pytest.mark.parametrize(("max_shard_size", "several"), [(10**9, False), (100_000, True)])
def test_diffusers_reads_the_transformer(tmp_path, model, max_shard_size, several):
    from diffusers import FluxTransformer2DModel

    save_diffusers(model.transformer, tmp_path, max_shard_size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == several
    config = json.loads((tmp_path / "config.json").read_text())
    assert transformer_config(config) == TINY.transformer
    theirs = FluxTransformer2DModel.from_pretrained(tmp_path)
    g = torch.Generator().manual_seed(0)
    img, txt = torch.randn(1, 4, 64, generator=g), torch.randn(1, 3, 32, generator=g)
    pooled, t, scale = torch.randn(1, 32, generator=g), torch.tensor([0.5]), torch.tensor([2.0])
    ids = torch.tensor([[0, y, x] for y in (0, 1) for x in (0, 1)])
    text = torch.zeros(3, 3, dtype=torch.int64)
    expected = theirs(
        hidden_states=img, encoder_hidden_states=txt, pooled_projections=pooled, timestep=t,
        img_ids=ids, txt_ids=text, guidance=scale,
    ).sample  # fmt: skip
    got = model.transformer(img, ids[None], txt, text[None], t, pooled, scale)
    assert (got - expected).abs().max() < 1e-5
    again = load_network(tmp_path, "transformer", TINY.transformer)
    assert equal_states(again, model.transformer)


@torch.no_grad()
def test_diffusers_reads_the_autoencoder(tmp_path, model):
    from diffusers import AutoencoderKL

    save_diffusers(model.autoencoder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert autoencoder_config(config) == TINY.autoencoder
    theirs = AutoencoderKL.from_pretrained(tmp_path)
    z = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = theirs.decode(z / theirs.config.scaling_factor + theirs.config.shift_factor).sample
    assert (model.autoencoder.decode(z) - expected).abs().max() < 1e-5
    again = load_network(tmp_path, "autoencoder", TINY.autoencoder)
    assert equal_states(again, model.autoencoder)


def test_shapes_that_diffusers_cannot_say():
    with pytest.raises(OutputError, match=r"mlp_ratio 4 .* 2\.0"):
        diffusers_transformer_config(TransformerConfig(mlp_ratio=2.0))


class TestModelFolder:
    @pytest.fixture
    def folder(self, tmp_path, model):
        save_model_folder(
            tmp_path / "tiny", TINY, model.transformer, model.autoencoder, model.text,
            quantize=False,
        )  # fmt: skip
        return tmp_path / "tiny"

    def test_holds_what_ships(self, folder):
        assert sorted(path.name for path in folder.iterdir()) == [
            "autoencoder.safetensors",
            "model.json",
            "text_encoder.safetensors",
            "tokenizer.json",
            "transformer.safetensors",
        ]
        told = json.loads((folder / "model.json").read_text())
        assert told["variant"] == "tiny"
        assert told["latents"] == {"shift": 0.1159, "scale": 0.3611}
        assert set(told["sha256"]) == {path.name for path in folder.iterdir()} - {"model.json"}

    def test_is_loaded_bit_for_bit(self, folder, model):
        source = locate(folder)
        assert source.layout == "flux1"
        assert source.variant == TINY
        again = load_model(source)
        assert equal_states(again.transformer, model.transformer)
        assert equal_states(again.autoencoder, model.autoencoder)
        assert equal_states(again.text["bert"].network, model.text["bert"].network)
        words = "a red fox, très joli"
        assert (
            again.text["bert"].tokenizer.encode(words).ids
            == model.text["bert"].tokenizer.encode(words).ids
        )

    def test_the_latents_are_the_files_own(self, folder):
        told = json.loads((folder / "model.json").read_text())
        told["latents"] = {"shift": -0.25, "scale": 2}
        (folder / "model.json").write_text(json.dumps(told))
        config = load_model(locate(folder)).autoencoder.config
        assert (config.shift_factor, config.scale_factor) == (-0.25, 2.0)

    def test_another_file_is_noticed(self, folder, model):
        save_bfl(model.transformer, folder / "transformer.safetensors", quantize=True)
        with pytest.raises(WeightsError, match=r"transformer\.safetensors: is not the file"):
            load_model(locate(folder))

    def test_quantised_it_is_a_quarter(self, tmp_path, folder, model):
        save_model_folder(tmp_path / "int8", TINY, model.transformer, model.autoencoder, model.text)
        load_model(locate(tmp_path / "int8"))
        sizes = [
            sum(file.stat().st_size for file in place.glob("*.safetensors"))
            for place in (folder, tmp_path / "int8")
        ]
        assert sizes[1] < 0.35 * sizes[0]

    def test_place_that_cannot_be_written(self, tmp_path, model):
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            save_model_folder(
                tmp_path / "file", TINY, model.transformer, model.autoencoder, model.text
            )
