"""Single files as people have them: loaded, each draws what the library that made it would."""

import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace

import gguf
import pytest
import torch
from safetensors.torch import save_file

from flux1.errors import MissingWeightsError, WeightsError
from flux1.model.patches import image_ids, text_ids
from flux1.variants import FLUX_DEV, FLUX_KREA, FLUX_SCHNELL
from flux1.weights.kinds.transformer import TRANSFORMER
from flux1.weights.load import load_model
from flux1.weights.sources import locate
from weight_files import FORMATS, as_is, block_type, shape_of, write_gguf


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
    assert (model.text["t5"].network(ids) - expected).abs().max() < 1e-5
    ids = torch.tensor([[512, 4, 90, 513, 513]])
    expected = originals.clip(input_ids=ids).last_hidden_state[:, 3]
    assert (model.text["clip"].network(ids) - expected).abs().max() < 1e-5


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
        {k: v.float() for k, v in TRANSFORMER.spelled(decoded, "diffusers", shape).items()}
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


@contextmanager
def opens_of(file):
    """The times that a file is opened in the block, by Python's own account (a hook stays in the
    process, so it is told when it has heard enough)."""
    opened, listening = [], [True]

    def hear(event, arguments):
        if listening and event == "open" and str(arguments[0]) == str(file):
            opened.append(event)

    sys.addaudithook(hear)
    yield opened
    listening.clear()


def test_all_in_one(tmp_path, folder, originals):
    file = tmp_path / "flux1-dev-all.safetensors"
    save_file(all_in_one(originals.states()), file)
    for tokenizer in ("tokenizer", "tokenizer_2"):
        shutil.copytree(folder / tokenizer, tmp_path / tokenizer)
    with opens_of(file) as opened:
        source = locate(file)
        model = load_model(source)
    assert len(opened) == 1  # by whoever finds, recognises and loads its four networks
    assert {one.path for one in source.files.networks.values()} == {file}
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
        assert (source.layout, source.root, source.files.networks["transformer"].path) == (
            "bfl",
            beside,
            file,
        )
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
        assert files.networks["transformer"].path == alone
        assert files.networks["autoencoder"].path == models / "FLUX.1-schnell" / "ae.safetensors"
        assert files.text["t5"].path == models / "text_encoders" / "t5xxl_fp16.safetensors"
        assert files.tokenizers["clip"] == models / "FLUX.1-schnell" / "tokenizer"

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
        assert locate(file).files.text["t5"].path == half
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
        assert (model.text["t5"].network(ids) - expected).abs().max() < 1e-5


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
