"""Folders that diffusers and transformers wrote, loaded here: the same weights, or one line."""

import dataclasses

import pytest
import torch

from flux1.errors import WeightsError
from flux1.variants import FLUX_DEV, FLUX_MINI, TINY
from flux1.weights import load
from flux1.weights.build import count
from flux1.weights.files.safetensors import FileTensors, write_tensors
from flux1.weights.kinds.autoencoder import AUTOENCODER
from flux1.weights.kinds.transformer import TRANSFORMER
from flux1.weights.kinds.words import load_tokenizer
from flux1.weights.load import load_model, load_network
from flux1.weights.save import save_bfl
from flux1.weights.sources import locate
from synthetic import autoencoder_model, clip_model, make_diffusers_folder, t5_model
from synthetic import transformer_model as diffusers_transformer


@pytest.fixture(scope="module")
def source(folder):
    return locate(folder)


@pytest.fixture(scope="module")
def model(source):
    return load_model(source)


def same_weights(one, other) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_number_arrives(model):
    transformer, autoencoder = model.transformer, model.autoencoder
    there = TRANSFORMER.spelled(transformer.state_dict(), "diffusers", transformer.config)
    expected = diffusers_transformer().state_dict()
    assert all(torch.equal(there[name], expected[name]) for name in expected)
    there = AUTOENCODER.spelled(autoencoder.state_dict(), "diffusers", autoencoder.config)
    expected = autoencoder_model().state_dict()
    assert all(torch.equal(there[name], expected[name]) for name in expected)


@torch.no_grad()
def test_text_of_the_folder_equals_transformers(model):
    text = model.text
    prompts = ["a red fox", "A House, by the sea!"]
    clip_ids = (
        text["clip"]
        .tokenizer(prompts, padding="max_length", max_length=77, return_tensors="pt")
        .input_ids
    )
    end = text["clip"].tokenizer.eos_token_id
    assert clip_ids.shape == (2, 77)
    assert (clip_ids[:, -1] == end).all()
    expected = clip_model()(input_ids=clip_ids)
    first = (clip_ids == end).int().argmax(dim=1)
    assert len(set(first.tolist())) == 2
    at_first = expected.last_hidden_state[torch.arange(2), first]
    assert (text["clip"].network(clip_ids) - at_first).abs().max() < 1e-6

    t5_ids = (
        text["t5"]
        .tokenizer(prompts, padding="max_length", max_length=64, return_tensors="pt")
        .input_ids
    )
    assert (t5_ids[:, -1] == 0).all()
    expected = t5_model()(input_ids=t5_ids, attention_mask=torch.ones_like(t5_ids))
    assert (text["t5"].network(t5_ids) - expected.last_hidden_state).abs().max() < 1e-6


def test_networks_are_ready_to_draw(model):
    for network in load.networks(model):
        assert not network.training
        assert not any(p.requires_grad or p.is_meta for p in network.parameters())
        assert not any(b.is_meta for b in network.buffers())
    t5 = model.text["t5"].network.t5
    assert t5.shared.weight is t5.encoder.embed_tokens.weight  # tied, so held once


def test_guidance_comes_from_the_folder(folder_without_guidance):
    model = load_model(locate(folder_without_guidance))
    assert not hasattr(model.transformer, "guidance_in")


def test_dtype(source):
    model = load_model(source, torch.bfloat16)
    for network in load.networks(model):
        assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    exact = load_model(source).transformer.img_in.weight
    assert torch.equal(model.transformer.img_in.weight, exact.bfloat16())


def test_layouts_and_shards_give_the_same_network(tmp_path, source, model):
    config = source.variant.transformer
    save_bfl(model.transformer, tmp_path / "flux1.safetensors")
    one = load_network(tmp_path / "flux1.safetensors", "transformer", config)
    assert same_weights(one, model.transformer)
    sharded = make_diffusers_folder(tmp_path / "sharded", max_shard_size="100KB") / "transformer"
    assert len(list(sharded.glob("*.safetensors"))) > 3
    assert same_weights(load_network(sharded, "transformer", config), model.transformer)
    save_bfl(model.autoencoder, tmp_path / "ae.safetensors")
    ae = load_network(tmp_path / "ae.safetensors", "autoencoder", source.variant.autoencoder)
    assert same_weights(ae, model.autoencoder)


class TestFaults:
    def load(self, path, config) -> str:
        with pytest.raises(WeightsError) as caught:
            load_network(path, "transformer", config)
        line = str(caught.value)
        assert "\n" not in line
        assert line.startswith(f"{path}: ")
        return line.removeprefix(f"{path}: ")

    def test_other_depth(self, source):
        config = dataclasses.replace(source.variant.transformer, depth=3)
        line = self.load(source.files.networks["transformer"].path, config)
        assert line.startswith("missing 32 of ")
        assert "transformer_blocks.2." in line
        assert "and 27 more" in line

    def test_guidance_that_the_model_has_not(self, source):
        config = dataclasses.replace(source.variant.transformer, guidance_embed=False)
        line = self.load(source.files.networks["transformer"].path, config)
        assert line.startswith("unknown 4 of ")
        assert "guidance_embedder.linear_1.weight" in line

    def test_other_width(self, tmp_path, source, model):
        save_bfl(model.transformer, tmp_path / "x.safetensors")
        config = dataclasses.replace(source.variant.transformer, context_in_dim=7)
        line = self.load(tmp_path / "x.safetensors", config)
        assert line == "wrong shape: txt_in.weight (32, 24), not (32, 7)"

    def test_another_network(self, source):
        line = self.load(source.files.networks["autoencoder"].path, source.variant.transformer)
        assert line == "holds an autoencoder, not a transformer of FLUX.1's"
        with pytest.raises(WeightsError, match=r"transformer: holds a transformer, not an autoenc"):
            load_network(
                source.files.networks["transformer"], "autoencoder", source.variant.autoencoder
            )

    def test_truncated(self, tmp_path, source):
        whole = (
            source.files.networks["transformer"].path / "diffusion_pytorch_model.safetensors"
        ).read_bytes()
        file = tmp_path / "flux1-dev.safetensors"
        file.write_bytes(whole[: len(whole) // 2])
        assert "truncated" in self.load(file, source.variant.transformer)

    def test_unknown_quantisation(self, tmp_path, source, model):
        file = tmp_path / "x.safetensors"
        state = model.transformer.state_dict()
        write_tensors(file, state | {"txt_in.weight": state["txt_in.weight"].to(torch.int8)})
        line = self.load(file, source.variant.transformer)
        assert line == "txt_in.weight: is kept as torch.int8, in a way that is not known"

    def test_tokenizer_that_is_none(self, tmp_path):
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(WeightsError, match=r"tokenizer\.json: not a tokenizer"):
            load_tokenizer(tmp_path / "tokenizer.json")


class TestRandom:
    def test_is_the_same_each_time_and_moves_no_global_state(self):
        torch.manual_seed(7)
        before = torch.get_rng_state()
        one = load.random_transformer(TINY.transformer, seed=1)
        assert torch.equal(torch.get_rng_state(), before)
        assert same_weights(one, load.random_transformer(TINY.transformer, seed=1))
        assert not same_weights(one, load.random_transformer(TINY.transformer, seed=2))

    def test_every_weight_is_drawn(self):
        for network in load.networks(load_model(locate(TINY))):
            for name, parameter in network.named_parameters():
                assert parameter.isfinite().all(), name
                assert parameter.std() > 1e-3, name

    @torch.no_grad()
    def test_pictures_follow_their_latents(self):
        autoencoder = load.random_autoencoder(TINY.autoencoder, seed=0)
        z = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
        one, other = autoencoder.decode(z)
        assert one.isfinite().all()
        assert 0.05 < one.std() < 5
        assert (one - other).abs().mean() > 0.05

    @torch.no_grad()
    def test_text_depends_on_the_words(self):
        text = load.load_text(locate(TINY))["bert"]
        encodings = text.tokenizer.encode_batch(["a fox", "a cat"])
        assert [encoding.tokens[0] for encoding in encodings] == ["[CLS]", "[CLS]"]
        ids = torch.tensor([encoding.ids for encoding in encodings])
        features = text.network(ids, torch.ones_like(ids, dtype=torch.bool))
        assert (features.pooled[0] - features.pooled[1]).abs().max() > 1e-2
        assert encodings[0].offsets[1:3] == [(0, 1), (1, 2)]

    def test_flux_text_is_refused(self):
        with pytest.raises(ValueError, match="sentence encoder alone"):
            load.random_text(FLUX_DEV.text, seed=0)


def test_loading_a_bert_restores_its_constants(tmp_path):
    bert = load.random_text(TINY.text, seed=0)["bert"].network
    save_bfl(bert, tmp_path / "x.safetensors")
    again = load.load_network(tmp_path / "x.safetensors", "bert", TINY.text.bert)
    ids = torch.tensor([[1, 70, 80, 2]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    assert torch.equal(again(ids, mask).states, bert(ids, mask).states)


def test_changing_a_mapped_tensor_leaves_the_file_alone(folder):
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = FileTensors(file)
    before = tensors["x_embedder.weight"].clone()
    tensors["x_embedder.weight"].zero_()  # writes go to a private page
    assert torch.equal(FileTensors(file)["x_embedder.weight"], before)


def test_size_of_the_shipped_model():
    parameters, tensors = count(load.Transformer, FLUX_MINI.transformer)
    assert 10_000_000 < parameters < 20_000_000
    assert tensors == 4 + 3 * 4 + 24 * 2 + 8 * 9 + 4  # in, embedders, blocks, last layer
