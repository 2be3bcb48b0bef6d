"""Where models are found, in which order, and what is said when they are not there."""

import json
import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from flux1.errors import Flux1Error, MissingWeightsError, UnknownModelError, WeightsError
from flux1.variants import FLUX_DEV, FLUX_KREA, FLUX_SCHNELL, TINY
from flux1.weights.load import load_model
from flux1.weights.save import save_bfl, save_model_folder
from flux1.weights.sources import locate


@pytest.fixture
def copy(tmp_path, folder):
    """A copy of the diffusers folder that a test may break."""
    return shutil.copytree(folder, tmp_path / "models" / "FLUX.1-dev")


def the_line(kind: type[Flux1Error], *args, **kwargs) -> str:
    with pytest.raises(kind) as caught:
        locate(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestPlaces:
    def test_by_path(self, folder):
        for model in (folder, str(folder)):
            source = locate(model)
            assert source.layout == "diffusers"
            assert source.files.networks["transformer"].path == folder / "transformer"

    @pytest.mark.parametrize("name", ["flux-dev", "FLUX.1-dev"])
    @pytest.mark.parametrize("asked", [FLUX_DEV, "dev", "black-forest-labs/FLUX.1-dev"])
    def test_among_the_models(self, tmp_path, folder, name, asked):
        shutil.copytree(folder, tmp_path / name)
        source = locate(asked, tmp_path)
        assert source.variant.id == "flux-dev"
        assert source.files.networks["autoencoder"].path == tmp_path / name / "vae"

    def test_a_name_of_ones_own(self, tmp_path, folder):
        shutil.copytree(folder, tmp_path / "my-model")
        source = locate("my-model", tmp_path)
        assert source.variant.id == "my-model"
        assert source.variant.licence == FLUX_DEV.licence

    def test_in_the_cache_of_hugging_face(self, tmp_path, folder):
        repository = tmp_path / "models--black-forest-labs--FLUX.1-dev"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("abc123")
        shutil.copytree(folder, repository / "snapshots" / "abc123")
        source = locate(FLUX_DEV, cache=tmp_path)
        assert source.variant.id == "flux-dev"
        assert (
            source.files.networks["transformer"].path
            == repository / "snapshots" / "abc123" / "transformer"
        )
        shutil.rmtree(repository / "snapshots" / "abc123" / "vae")
        assert "missing vae/config.json" in the_line(MissingWeightsError, FLUX_DEV, cache=tmp_path)

    def test_random_needs_none(self):
        source = locate("tiny")
        assert (source.layout, source.files, source.root) == ("random", None, None)

    def test_shipped_may_also_lie_among_the_models(self, tmp_path):
        model = load_model(locate(TINY))
        row = replace(TINY, id="row", weights="shipped")
        save_model_folder(tmp_path / "row", TINY, model.transformer, model.autoencoder, model.text)
        line = the_line(WeightsError, row, tmp_path)
        assert line.endswith("holds tiny, not row")


class TestRows:
    def test_shapes_come_from_the_files(self, folder):
        row = locate(folder).variant
        assert (row.transformer.depth, row.transformer.hidden_size) == (2, 32)
        assert row.autoencoder.channel_mult == (1, 2, 4, 4)
        assert (row.text.clip.hidden_size, row.text.t5.hidden_size) == (32, 24)

    def test_like_dev_or_schnell(self, folder, folder_without_guidance):
        dev, schnell = locate(folder).variant, locate(folder_without_guidance).variant
        assert (dev.licence, dev.defaults) == (FLUX_DEV.licence, FLUX_DEV.defaults)
        assert (schnell.licence, schnell.defaults) == (FLUX_SCHNELL.licence, FLUX_SCHNELL.defaults)
        assert schnell.time_shift is False

    def test_the_folders_name_tells_krea_from_dev(self, tmp_path, folder):
        shutil.copytree(folder, tmp_path / "FLUX.1-Krea-dev")
        assert locate(tmp_path / "FLUX.1-Krea-dev").variant.id == "flux-krea"

    def test_another_kind_than_was_asked_for(self, tmp_path, folder_without_guidance):
        shutil.copytree(folder_without_guidance, tmp_path / "flux-dev")
        line = the_line(WeightsError, FLUX_DEV, tmp_path)
        assert line.endswith("its transformer does not embed guidance, unlike flux-dev's")


class TestBflLayout:
    @pytest.fixture
    def bfl(self, tmp_path, folder):
        model = load_model(locate(folder))
        for part in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"):
            shutil.copytree(folder / part, tmp_path / part)
        save_bfl(model.transformer, tmp_path / "flux1-krea-dev.safetensors")
        save_bfl(model.autoencoder, tmp_path / "ae.safetensors")
        return tmp_path

    def test_the_files_name_is_the_models(self, bfl):
        """The transformer's shape is its tensors', the text encoders' is their config.json's."""
        source = locate(bfl)
        assert source.layout == "bfl"
        assert source.variant.id == "flux-krea"
        assert source.variant.defaults == FLUX_KREA.defaults
        assert (source.variant.transformer.depth, source.variant.text.t5.num_layers) == (2, 2)
        file = bfl / "text_encoder" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_size": 768}))
        assert "pooled width is 32, the other parts have 768" in the_line(WeightsError, bfl)

    def test_missing_parts(self, bfl):
        (bfl / "ae.safetensors").unlink()
        shutil.rmtree(bfl / "text_encoder_2")
        shutil.rmtree(bfl / "tokenizer")
        assert the_line(MissingWeightsError, bfl) == (
            f"{bfl}: missing ae.safetensors, t5xxl_fp16.safetensors, tokenizer/tokenizer.json; "
            "get it from https://huggingface.co/black-forest-labs/FLUX.1-Krea-dev"
        )

    def test_two_models(self, bfl):
        shutil.copy(bfl / "flux1-krea-dev.safetensors", bfl / "flux1-dev.safetensors")
        assert "several models: flux1-dev.safetensors" in the_line(WeightsError, bfl)


class TestMissing:
    def test_nothing_there(self, tmp_path):
        line = the_line(MissingWeightsError, FLUX_DEV, tmp_path, tmp_path)
        assert line == (
            "flux-dev: its weights are not on this machine; get them with "
            "`flux1 download flux-dev`, or put transformer/ vae/ text_encoder/ text_encoder_2/ "
            "tokenizer/ tokenizer_2/ of https://huggingface.co/black-forest-labs/FLUX.1-dev into "
            f"{tmp_path}/FLUX.1-dev"
        )
        assert "FLUX1_MODELS" in the_line(MissingWeightsError, FLUX_DEV, None, tmp_path)

    def test_each_missing_file_is_named(self, copy):
        (copy / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
        (copy / "vae" / "config.json").unlink()
        shutil.rmtree(copy / "tokenizer_2")
        line = the_line(MissingWeightsError, "dev", copy.parent)
        assert line == (
            f"{copy}: missing transformer/diffusion_pytorch_model.safetensors, vae/config.json, "
            "tokenizer_2/tokenizer.json; "
            "get it from https://huggingface.co/black-forest-labs/FLUX.1-dev"
        )

    def test_empty_folder(self, tmp_path):
        assert "holds no model" in the_line(MissingWeightsError, tmp_path)
        assert "no such folder" in the_line(MissingWeightsError, tmp_path / "none")

    def test_unknown_name(self, tmp_path):
        assert "flux-schnell" in the_line(UnknownModelError, "flux-schnel", tmp_path)

    def test_a_file_of_the_shipped_layout(self, tmp_path):
        model = load_model(locate(TINY))
        place = tmp_path / "tiny"
        save_model_folder(place, TINY, model.transformer, model.autoencoder, model.text)
        (place / "autoencoder.safetensors").unlink()
        line = the_line(MissingWeightsError, place)
        assert line == f"{place}: missing autoencoder.safetensors"


class TestForeign:
    @pytest.mark.parametrize(
        ("part", "key", "value", "said"),
        [
            ("transformer", "_class_name", "Flux2Transformer2DModel", "Flux2Transformer2DModel"),
            ("transformer", "patch_size", 2, "patch_size is 2, only 1"),
            ("transformer", "axes_dims_rope", [4, 4, 4], "axes_dim"),
            ("transformer", "in_channels", 32, "in_channels is 32, the other parts have 16"),
            ("transformer", "joint_attention_dim", 99, "text width is 99"),
            ("vae", "use_quant_conv", True, "use_quant_conv"),
            ("vae", "block_out_channels", [8, 12], "multiples of the first"),
            ("transformer", "num_layers", -3, "depth cannot be -3"),
            ("transformer", "num_attention_heads", 0, "does not describe a network"),
            ("transformer", "axes_dims_rope", 4, "axes_dims_rope cannot be 4"),
            ("vae", "scaling_factor", 1e999, "scale_factor cannot be inf"),
            ("text_encoder_2", "num_layers", 10**9, "num_layers cannot be 1000000000"),
            ("transformer", "num_layers", 1001, "depth cannot be 1001"),
        ],
    )
    def test_configs_that_are_not_flux1(self, copy, part, key, value, said):
        file = copy / part / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
        assert said in the_line(WeightsError, copy)

    def test_config_that_is_no_json(self, copy):
        (copy / "vae" / "config.json").write_text("<html>")
        assert "vae/config.json: not a JSON file" in the_line(WeightsError, copy)

    @pytest.mark.parametrize("text", ["{}", '{"variant": "none", "latents": {}}', '{"variant": 3}'])
    def test_model_json_that_says_nothing(self, tmp_path, text):
        (tmp_path / "model.json").write_text(text)
        assert "needs a known variant and latents" in the_line(WeightsError, tmp_path)


class TestHash:
    def test_is_the_files_not_the_places(self, folder, copy):
        digits = locate(folder).model_hash
        assert len(digits) == 12
        assert int(digits, 16) >= 0
        assert locate(copy).model_hash == digits

    def test_knows_models_of_equal_shape_apart(self, folder, copy):
        """As [dev] and Krea are: the same names, shapes and sizes, other numbers."""
        before = locate(folder).model_hash
        file = copy / "transformer" / "diffusion_pytorch_model.safetensors"
        state = load_file(file)
        save_file({name: t + 1e-3 for name, t in state.items()}, file, {"format": "pt"})
        assert locate(copy).model_hash != before

    def test_of_random_weights(self):
        assert locate(TINY).model_hash == locate("tiny").model_hash
        other = replace(TINY, transformer=replace(TINY.transformer, depth=2))
        assert locate(other).model_hash != locate(TINY).model_hash
