"""Held-out pictures are never learnt, and the loss on them is that of the network that is kept."""

import json

import pytest
import torch

from flux1.errors import DataError
from flux1.flow.path import mix, velocity
from flux1.model.patches import image_ids, text_ids
from flux1.training.finetune.cache import Cache, RememberedText, read_tokens
from flux1.training.finetune.encoded import EncodedPictures
from flux1.training.finetune.held_out import TIMES, HeldOut
from flux1.training.finetune.settings import RunOptions
from flux1.variants import TINY
from flux1.weights.load import RANDOM_SEED, random_transformer
from flux1.weights.lora.read import merge_lora, read_lora
from flux1.weights.sources import locate
from training.folders import picture_folder
from training.test_finetune import finetune


def test_the_loss_on_pictures_that_are_not_learnt_is_the_written_loras(tmp_path, monkeypatch):
    out, shown, held = tmp_path / "out", set(), []
    batch, figures = EncodedPictures.batch, HeldOut.figures

    def seen(self, step, text):
        made = batch(self, step, text)
        shown.update(made.names)
        return made

    def kept(self):
        held[:] = self.pictures
        return figures(self)

    monkeypatch.setattr(EncodedPictures, "batch", seen)
    monkeypatch.setattr(HeldOut, "figures", kept)
    options = RunOptions(log_every=1, preview_every=4)
    data = picture_folder(tmp_path / "data")
    made = finetune(data, out, options, steps=8, learning_rate=1e-2, held_out=0.3).run()
    assert len(held) == 2
    assert len(shown) == 4
    assert not shown & {one.name for one in held}
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert list(losses) == [4, 8]

    network = random_transformer(TINY.transformer, RANDOM_SEED)
    state = merge_lora(network.state_dict(), read_lora(made, TINY.transformer))
    network.load_state_dict({name: state[name] for name in state})
    text = RememberedText(Cache(out / "cache", f"{locate('tiny').model_hash} float32"))
    errors = []
    for number, one in enumerate(held):
        generator = torch.Generator().manual_seed(number)
        image, (words,) = read_tokens(one.latents).float(), text([one.caption])
        noises = torch.randn((len(TIMES), *image.shape), generator=generator)
        for t, noise in zip(TIMES, noises, strict=True):
            at = torch.tensor([t])
            with torch.no_grad():
                found = network(
                    mix(image[None], noise[None], at), image_ids(*one.grid)[None], words.txt[None],
                    text_ids(len(words.txt))[None], at, words.pooled[None], torch.ones(1),
                )  # fmt: skip
            errors.append((found - velocity(image, noise)).square().mean().item())
    assert losses[8] == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_one_picture_cannot_be_held_out_and_learnt(tmp_path):
    with pytest.raises(DataError, match=r"held_out: 0\.1 of 1 pictures leaves none to learn from"):
        finetune(picture_folder(tmp_path / "data", 1), tmp_path / "out", held_out=0.1).run()
