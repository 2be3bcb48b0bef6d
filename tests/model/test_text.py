"""The text encoders against `transformers`' own, on the same weights, tokens, ends and padding."""

import pytest
import torch

from flux1.model.config import ClipConfig, T5Config
from flux1.model.text import ClipText, T5Text
from flux1.weights.build import count
from flux1.weights.kinds.clip import clip_config, clip_name
from flux1.weights.kinds.lines import renamed
from flux1.weights.kinds.t5 import t5_config, t5_name
from synthetic import CLIP, T5, clip_model, t5_model

END = CLIP["eos_token_id"]


@pytest.fixture(scope="module")
def clip():
    theirs = clip_model()
    ours = ClipText(clip_config(CLIP)).eval()
    ours.load_state_dict(dict(renamed(theirs.state_dict(), clip_name)))
    return ours, theirs


@pytest.fixture(scope="module")
def t5():
    theirs = t5_model()
    ours = T5Text(t5_config(T5)).eval()
    ours.load_state_dict(dict(renamed(theirs.state_dict(), t5_name)), strict=False)
    return ours, theirs


@torch.no_grad()
def test_clip_is_read_at_the_first_end_of_text(clip):
    ours, theirs = clip
    ids = torch.full((2, 77), END)  # the padding is the end's own token
    ids[0, :4] = torch.tensor([END - 1, 5, 6, 7])
    ids[1, :76] = torch.arange(76) % 50
    states = theirs(input_ids=ids).last_hidden_state
    pooled = ours(ids)
    assert (pooled[0] - states[0, 4]).abs().max() < 1e-6
    assert (pooled[1] - states[1, 76]).abs().max() < 1e-6
    assert (pooled[0] - states[0, 76]).abs().max() > 1e-2  # the last end is another vector
    assert (pooled - theirs(input_ids=ids).pooler_output).abs().max() < 1e-6


@torch.no_grad()
def test_what_follows_the_end_does_not_change_clip(clip):
    ours, _ = clip
    short, long = torch.full((1, 77), END), torch.full((1, 77), END)
    short[0, :3] = long[0, :3] = torch.tensor([END - 1, 5, 6])
    long[0, 10:] = 9
    assert (ours(short) - ours(long)).abs().max() < 1e-6


@torch.no_grad()
def test_t5_reads_its_padding(t5):
    ours, theirs = t5
    ids = torch.zeros(2, 16, dtype=torch.int64)
    ids[:, :4] = torch.tensor([[10, 11, 12, 1], [20, 21, 1, 0]])
    expected = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    assert expected.std() > 0.1
    got = ours(ids)
    assert (got - expected).abs().max() < 1e-6
    masked = theirs(input_ids=ids, attention_mask=(ids > 0).long()).last_hidden_state
    assert (got[0, 0] - masked[0, 0]).abs().max() > 1e-4  # masking would have changed the words
    assert got[1, 10].abs().max() > 0.1  # and the padding's own states are not zero


@torch.no_grad()
def test_t5_distinguishes_positions(t5):
    ours, _ = t5
    ids = torch.tensor([[10, 11, 12, 1]])
    there, back = ours(ids), ours(ids.flip(1)).flip(1)
    assert (there - back).abs().max() > 1e-3


def test_sizes_of_the_published_encoders():
    assert count(ClipText, ClipConfig()) == (123_060_480, 196)
    assert count(T5Text, T5Config()) == (4_762_310_656, 219)
