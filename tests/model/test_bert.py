"""The sentence encoder against `transformers`' BERT, on the same weights, words and padding."""

import subprocess
import sys

import pytest
import torch
from transformers import BertConfig as TheirConfig
from transformers import BertModel

from flux1.model.bert import BertText
from flux1.model.config import BertConfig
from flux1.weights.build import count

SMALL = BertConfig(
    vocab_size=50, hidden_size=16, intermediate_size=32, num_layers=2, num_heads=4, max_positions=20
)


@pytest.fixture(scope="module")
def berts():
    torch.manual_seed(0)
    theirs = BertModel(
        TheirConfig(
            vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=20,
        ),
        add_pooling_layer=False,
    ).eval()  # fmt: skip
    for parameter in theirs.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)  # so that no bias is zero
    ours = BertText(SMALL).eval()
    ours.load_state_dict({f"bert.{name}": t for name, t in theirs.state_dict().items()})
    return ours, theirs


@torch.no_grad()
def test_states_are_those_of_transformers(berts):
    ours, theirs = berts
    ids = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[1, 5:] = mask[2, 1:] = False
    expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    assert expected.std() > 0.1
    assert ((ours(ids, mask).states - expected) * mask[..., None]).abs().max() < 1e-6


@torch.no_grad()
def test_padding_is_not_read_and_the_mean_is_of_words(berts):
    bert, _ = berts
    alone = bert(torch.tensor([[2, 7, 8, 3]]), torch.ones(1, 4, dtype=torch.bool))
    padded = bert(torch.tensor([[2, 7, 8, 3, 0, 0, 9]]), torch.tensor([[True] * 4 + [False] * 3]))
    assert (alone.states - padded.states[:, :4]).abs().max() < 1e-6
    assert (padded.states[:, 4:] == 0).all()
    assert (padded.pooled - alone.states.mean(dim=1)).abs().max() < 1e-6


def test_size_of_the_published_encoder():
    assert count(BertText, BertConfig()) == (22_565_376, 101)


def test_a_picture_of_flux_mini_needs_no_transformers_and_no_compiler(tmp_path):
    """Those imports take longer than all else."""
    words = (
        "import sys; sys.modules['transformers'] = sys.modules['torch._dynamo'] = None\n"
        "from flux1 import FluxPipeline\n"
        "FluxPipeline.from_pretrained('flux-mini')('a fox', steps=1, seed=0)"
        f".images[0].save({str(tmp_path / 'fox.png')!r})"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fox.png").stat().st_size > 500
