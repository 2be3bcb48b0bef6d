"""A complete FLUX.1 in miniature, written by diffusers and transformers themselves: the real layout
and file names, sizes in kilobytes. What loads this folder loads the real one."""

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from flux1.training.mini.sprites import Sprites
from flux1.training.mini.vocabulary import NOUNS, STYLES
from flux1.training.mini.world.drawings import Drawings, style_of
from flux1.training.mini.world.nouns import all_nouns

TRANSFORMER = {
    "patch_size": 1,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 2,
    "num_single_layers": 3,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "pooled_projection_dim": 32,
    "axes_dims_rope": (4, 6, 6),
}
AUTOENCODER = {
    "block_out_channels": (8, 16, 32, 32),
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
CLIP_WORDS = 2 * 256 + 2  # every byte, inside a word and at its end, and the two ends of a text
CLIP = {
    "vocab_size": CLIP_WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "bos_token_id": CLIP_WORDS - 2,
    "eos_token_id": CLIP_WORDS - 1,
    "pad_token_id": CLIP_WORDS - 1,
}
T5_LETTERS = "▁" + "".join(map(chr, range(33, 127)))
T5 = {
    "vocab_size": 3 + len(T5_LETTERS),
    "d_model": 24,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": False,
    "dropout_rate": 0.0,
}


def make_diffusers_folder(path: Path, guidance: bool = True, max_shard_size: str = "5GB") -> Path:
    """Write a tiny random FLUX.1 to `path`, the same each time; with `guidance` like dev, without
    like schnell. Returns `path`."""
    made = _diffusers_folder(guidance, max_shard_size)
    return Path(shutil.copytree(made, path, dirs_exist_ok=True))


@cache
def _diffusers_folder(guidance: bool, max_shard_size: str) -> Path:
    """Such a folder of this process, to be copied."""
    path = Path(_place().name) / f"{guidance}-{max_shard_size}"
    autoencoder_model().save_pretrained(path / "vae")
    transformer_model(guidance).save_pretrained(path / "transformer", max_shard_size=max_shard_size)
    make_text_folders(path)
    index = {"_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"]}
    (path / "model_index.json").write_text(json.dumps(index))
    return path


@cache
def _place() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="synthetic-")  # gone with the process


def make_text_folders(path: Path, **t5_changes: object) -> None:
    """The text encoders of such a folder and their tokenizers."""
    clip_model().save_pretrained(path / "text_encoder")
    t5_model(**t5_changes).save_pretrained(path / "text_encoder_2")
    _clip_tokenizer(path / "tokenizer")
    _t5_tokenizer(path / "tokenizer_2")


def transformer_model(guidance: bool = True, **changes: object) -> nn.Module:
    """Diffusers' transformer at TRANSFORMER's size."""
    from diffusers import FluxTransformer2DModel

    config = TRANSFORMER | {"guidance_embeds": guidance} | changes
    return _drawn(lambda: FluxTransformer2DModel(**config))


def autoencoder_model(**changes: object) -> nn.Module:
    """Diffusers' autoencoder at AUTOENCODER's size."""
    from diffusers import AutoencoderKL

    return _drawn(lambda: AutoencoderKL(**AUTOENCODER | changes))


def clip_model(**changes: object) -> nn.Module:
    """Transformers' CLIP text tower at CLIP's size."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return _drawn(lambda: CLIPTextModel(CLIPTextConfig(**CLIP | changes)))


def t5_model(**changes: object) -> nn.Module:
    """Transformers' T5 encoder at T5's size."""
    from transformers import T5Config, T5EncoderModel

    return _drawn(lambda: T5EncoderModel(T5Config(**T5 | changes)))


def _drawn(build) -> nn.Module:
    """Build from a seed of its own, then move every parameter: a norm left at 1 or a bias left at 0
    would hide a name that is mapped wrongly."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = build().eval()
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def _clip_tokenizer(folder: Path) -> None:
    """In the files that the real repository has: vocab.json and merges.txt."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": 77,
                "bos_token": "<|startoftext|>",
                "eos_token": "<|endoftext|>",
                "pad_token": "<|endoftext|>",
                "unk_token": "<|endoftext|>",
            }
        )
    )


def _t5_tokenizer(folder: Path) -> None:
    """A unigram model of letters: pad 0, end 1, unknown 2."""
    from transformers import T5Tokenizer

    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    words += [(letter, -4.0) for letter in T5_LETTERS]
    T5Tokenizer(vocab=words, extra_ids=0, model_max_length=512).save_pretrained(folder)


def disc_sprites() -> Sprites:
    """A disc of its own colour for every noun: real composition without fetching drawings."""
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    inside = (x**2 + y**2 < 0.8)[..., None]
    rng = np.random.default_rng(0)
    drawings = {}
    for style in STYLES:
        colours = rng.integers(0, 256, (len(NOUNS), 1, 1, 3))
        rgb = np.broadcast_to(colours, (len(NOUNS), 24, 24, 3))
        alpha = np.broadcast_to(inside * 255, (len(NOUNS), 24, 24, 1))
        drawings[style] = np.concatenate([rgb, alpha], axis=-1).astype(np.uint8)
    return Sprites(drawings)


def ellipse_drawings() -> Drawings:
    """Drawings of the world of scenes that need no network: a coloured ellipse for each."""
    rng = np.random.default_rng(0)
    rows = [(n.name, name, framing) for n in all_nouns().values() for name, framing in n.drawings]
    sides = rng.integers(16, 33, (len(rows), 2)).tolist()
    colours = rng.integers(60, 220, (len(rows), 3)).tolist()
    rgba = [_ellipse(*side, tuple(colour)) for side, colour in zip(sides, colours, strict=True)]
    nouns, names, framings = zip(*rows, strict=True)
    return Drawings(rgba, nouns, names, tuple(map(style_of, names)), framings)


def _ellipse(wide: int, high: int, colour: tuple[int, ...]) -> np.ndarray:
    image = Image.new("RGBA", (wide, high))
    ImageDraw.Draw(image).ellipse((0, 0, wide - 1, high - 1), fill=(*colour, 255))
    return np.asarray(image)
