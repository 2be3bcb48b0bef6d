"""The transformer against diffusers' implementation, on the same weights."""

import pytest
import torch

from flux1.model.config import TransformerConfig
from flux1.model.patches import image_ids, text_ids
from flux1.model.rope import apply_rope
from flux1.model.transformer import Transformer
from flux1.variants import FLUX_DEV, FLUX_SCHNELL
from flux1.weights.build import count
from flux1.weights.kinds.table import KINDS
from flux1.weights.kinds.transformer import transformer_config
from synthetic import TRANSFORMER, transformer_model


def both(guidance: bool, **changes):
    theirs = transformer_model(guidance, **changes)
    config = transformer_config(dict(theirs.config))
    ours = Transformer(config)
    ours.load_state_dict(dict(KINDS["transformer"].ours(theirs.state_dict(), "diffusers", config)))
    return ours, theirs


def inputs(config: TransformerConfig, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    return {
        "img": torch.randn(2, 12, config.in_channels, generator=g),
        "txt": torch.randn(2, 5, config.context_in_dim, generator=g),
        "pooled": torch.randn(2, config.vec_in_dim, generator=g),
        "t": torch.tensor([1.0, 0.37]),
    }


@pytest.mark.parametrize(
    ("guidance", "changes"),
    [
        (True, {}),
        (False, {}),
        (True, {"in_channels": 32, "out_channels": 16, "num_layers": 1, "num_single_layers": 1}),
    ],
)
@torch.no_grad()
def test_equals_diffusers(guidance, changes):
    ours, theirs = both(guidance, **changes)
    given = inputs(ours.config)
    scale = torch.tensor([3.5, 1.0]) if guidance else None
    got = ours(
        img=given["img"], img_ids=image_ids(3, 4).expand(2, -1, -1),
        txt=given["txt"], txt_ids=text_ids(5).expand(2, -1, -1),
        t=given["t"], pooled=given["pooled"], guidance=scale,
    )  # fmt: skip
    expected = theirs(
        hidden_states=given["img"], encoder_hidden_states=given["txt"],
        pooled_projections=given["pooled"], timestep=given["t"],
        img_ids=image_ids(3, 4), txt_ids=text_ids(5), guidance=scale,
    ).sample  # fmt: skip
    assert expected.std() > 0.1
    assert (got - expected).abs().max() < 1e-5


@torch.no_grad()
def test_guidance_time_and_text_all_matter():
    ours, _ = both(guidance=True)
    given = inputs(ours.config)
    ids = {"img_ids": image_ids(3, 4).expand(2, -1, -1), "txt_ids": text_ids(5).expand(2, -1, -1)}
    base = ours(**given, **ids, guidance=torch.tensor([3.5, 3.5]))
    other = inputs(ours.config, seed=1)
    for change in (
        {"t": given["t"] / 2},
        {"txt": other["txt"]},
        {"pooled": other["pooled"]},
        {"img_ids": ids["img_ids"].flip(1)},
    ):
        moved = ours(**(given | ids | change), guidance=torch.tensor([3.5, 3.5]))
        assert (moved - base).abs().max() > 1e-3, change.keys()
    assert (ours(**given, **ids, guidance=torch.tensor([1.0, 1.0])) - base).abs().max() > 1e-3


@pytest.mark.parametrize("embeds", [True, False])
def test_guidance_must_be_given_exactly_when_embedded(embeds):
    ours = Transformer(transformer_config(TRANSFORMER | {"guidance_embeds": embeds}))
    given = inputs(ours.config)
    wrong = None if embeds else torch.ones(2)
    with pytest.raises(ValueError, match="needs a guidance" if embeds else "has no guidance"):
        ours(
            **given, img_ids=image_ids(3, 4).expand(2, -1, -1),
            txt_ids=text_ids(5).expand(2, -1, -1), guidance=wrong,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "numbers", "tensors"),
    [(FLUX_DEV, 11_901_408_320, 780), (FLUX_SCHNELL, 11_891_178_560, 776)],
)
def test_size_of_the_published_models(variant, numbers, tensors):
    assert count(Transformer, variant.transformer) == (numbers, tensors)


@pytest.mark.parametrize(("in_channels", "numbers"), [(128, 11_901_604_928), (384, 11_902_391_360)])
def test_size_of_the_tools(in_channels, numbers):
    assert count(Transformer, TransformerConfig(in_channels=in_channels)) == (numbers, 780)


def test_blocks_attend_with_what_they_are_given():
    """By the softmax of its definition."""
    ours, _ = both(guidance=True)
    asked, calls = inputs(ours.config) | {"guidance": torch.tensor([3.5, 1.0])}, []
    asked["img_ids"] = image_ids(3, 4).expand(2, -1, -1)
    asked["txt_ids"] = text_ids(5).expand(2, -1, -1)

    def by_definition(q, k, v, rope):
        calls.append(q.shape)
        q, k = apply_rope(q, rope), apply_rope(k, rope)
        scores = (q @ k.mT / q.shape[-1] ** 0.5).exp()
        out = scores @ v / scores.sum(dim=-1, keepdim=True)
        return out.transpose(1, 2).flatten(2)

    expected = ours(**asked)
    ours.attention = by_definition
    torch.testing.assert_close(ours(**asked), expected, atol=1e-5, rtol=1e-5)
    assert calls == [(2, 2, 17, 16)] * 5
