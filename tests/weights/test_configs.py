"""Config files as their writers have them: whole pipelines, saved by diffusers, draw its picture,
or are refused in one line that names the value."""

import inspect
import json
import shutil
from dataclasses import fields

import numpy as np
import pytest
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers import FluxPipeline as DiffusersPipeline
from transformers import CLIPTextConfig, T5Config
from transformers.configuration_utils import PreTrainedConfig

from flux1 import FluxPipeline
from flux1.errors import WeightsError
from flux1.request import make_request
from flux1.weights.kinds import autoencoder, clip, scheduler, t5, transformer
from flux1.weights.sources import locate
from synthetic import autoencoder_model, clip_model, make_text_folders, t5_model, transformer_model

DEV_TIMES = {"shift": 3.0, "use_dynamic_shifting": True}
PROMPT = "a red fox"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Saves a tiny pipeline with changes in the configs of its parts. Returns its folder."""
    from transformers import CLIPTokenizer, T5Tokenizer

    home = tmp_path_factory.mktemp("saved")
    make_text_folders(home / "words")
    common = {
        "transformer": transformer_model(),
        "tokenizer_2": T5Tokenizer.from_pretrained(home / "words" / "tokenizer_2"),
    }

    def save(name, clip=(), t5=(), times=(), vae=(), words=()):
        pipeline = DiffusersPipeline(
            **common,
            scheduler=FlowMatchEulerDiscreteScheduler(**DEV_TIMES | dict(times)),
            vae=autoencoder_model(**dict(vae)),
            text_encoder=clip_model(**dict(clip)),
            text_encoder_2=t5_model(**dict(t5)),
            tokenizer=CLIPTokenizer.from_pretrained(home / "words" / "tokenizer", **dict(words)),
        )
        pipeline.save_pretrained(home / name)
        return home / name

    return save


def drawn_by_both(folder):
    """The picture of ours and of diffusers', from the same noise, as levels."""
    ours = FluxPipeline.from_pretrained(folder)
    request = make_request(ours.variant, PROMPT, seed=5, steps=4, width=64, height=64)
    noise = ours.start(request, seed=5).x
    picture = ours.draw(request).images[0]
    theirs = DiffusersPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    drawn = theirs(
        PROMPT, num_inference_steps=4, width=64, height=64, latents=noise[None],
        guidance_scale=request.guidance,
    ).images[0]  # fmt: skip
    return np.asarray(picture, np.int16), np.asarray(drawn, np.int16)


@pytest.fixture(scope="module")
def usual(saved):
    return drawn_by_both(saved("usual"))[0]


HONOURED = {
    "another end token": {"clip": {"eos_token_id": ord("r") - 33}},
    "the end token of old files": {"clip": {"eos_token_id": 2}},
    "another pad token": {"clip": {"pad_token_id": 7, "bos_token_id": 9}},
    "CLIP with a plain GELU": {"clip": {"hidden_act": "gelu"}},
    "CLIP's epsilon": {"clip": {"layer_norm_eps": 0.3}},
    "CLIP's tokens cut": {"words": {"model_max_length": 5}},
    "T5 without a gate": {"t5": {"feed_forward_proj": "relu"}},
    "T5 gated by SiLU": {"t5": {"feed_forward_proj": "gated-silu"}},
    "T5's epsilon": {"t5": {"layer_norm_epsilon": 0.3}},
    "T5's distances": {
        "t5": {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20}
    },
    "a static shift": {"times": {"use_dynamic_shifting": False, "shift": 3.0}},
    "no shift": {"times": {"use_dynamic_shifting": False, "shift": 1.0}},
    "another line of shifts": {
        "times": {
            "base_shift": 0.9, "max_shift": 2.5, "base_image_seq_len": 10, "max_image_seq_len": 99,
        }
    },
    "a linear shift": {"times": {"time_shift_type": "linear"}},
    "Karras times": {"times": {"use_karras_sigmas": True}},
    "exponential times": {"times": {"use_exponential_sigmas": True}},
    "exponential times, static shift": {
        "times": {"use_exponential_sigmas": True, "use_dynamic_shifting": False, "shift": 2.0}
    },
    "the autoencoder's numbers": {"vae": {"scaling_factor": 0.7, "shift_factor": -0.2}},
    "what an autoencoder does not use": {
        "vae": {"force_upcast": False, "latents_mean": [1.0], "latents_std": [2.0]}
    },
}  # fmt: skip
UNCHANGED = ("another pad token", "the end token of old files", "what an autoencoder does not use")


@pytest.mark.parametrize("name", HONOURED)
def test_odd_values_draw_the_picture_of_diffusers(saved, usual, name):
    ours, theirs = drawn_by_both(saved(name, **HONOURED[name]))
    assert np.abs(ours - theirs).max() <= 1
    assert (np.abs(ours - usual).max() <= 1) == (name in UNCHANGED)


REFUSED = [
    ("text_encoder", "eos_token_id", [3, 4], "eos_token_id cannot be [3, 4]"),
    ("text_encoder", "eos_token_id", None, "eos_token_id cannot be None"),
    ("text_encoder", "hidden_act", "mish", "hidden_act is 'mish', only 'quick_gelu'"),
    ("text_encoder", "layer_norm_eps", "1e-5", "layer_norm_eps cannot be '1e-5'"),
    ("text_encoder_2", "feed_forward_proj", "gated-tanh", "feed_forward_proj is 'gated-tanh'"),
    ("text_encoder_2", "dense_act_fn", "mish", "dense_act_fn is 'mish'"),
    ("text_encoder_2", "is_decoder", True, "is_decoder is True, only False"),
    ("text_encoder_2", "relative_attention_num_buckets", 2, "relative_attention_num_buckets 2"),
    ("text_encoder_2", "model_type", "umt5", "model_type is 'umt5', only 't5'"),
    ("transformer", "guidance_embeds", "no", "guidance_embeds cannot be 'no'"),
    ("vae", "use_post_quant_conv", True, "use_post_quant_conv is True, only False"),
    ("vae", "mid_block_add_attention", False, "mid_block_add_attention is False, only True"),
    ("vae", "act_fn", "gelu", "act_fn is 'gelu', only 'silu'"),
    ("vae", "norm_num_groups", 3, "norm_num_groups 3 does not divide 8 channels"),
    ("vae", "down_block_types", ["DownEncoderBlock2D"], "only 'DownEncoderBlock2D's"),
    ("vae", "shift_factor", None, "shift_factor is None, a number is needed"),
    ("vae", "scaling_factor", 0, "scaling_factor is 0, it must be above 0"),
    ("vae", "out_channels", 4, "out_channels is 4, only 3"),
    ("scheduler", "_class_name", "DDIMScheduler", "_class_name is 'DDIMScheduler', only 'FlowM"),
    ("scheduler", "num_train_timesteps", 500, "num_train_timesteps is 500, only 1000"),
    ("scheduler", "invert_sigmas", True, "invert_sigmas is True, only False"),
    ("scheduler", "shift_terminal", 0.1, "shift_terminal is 0.1, only None"),
    ("scheduler", "use_beta_sigmas", True, "use_beta_sigmas is True, only False"),
    ("scheduler", "stochastic_sampling", True, "stochastic_sampling is True, only False"),
    ("scheduler", "time_shift_type", "cosine", "time_shift_type is 'cosine', only 'exponential'"),
    ("scheduler", "use_flow_sigmas", True, "use_flow_sigmas is True, only False"),
    ("scheduler", "sigma_min", 0.1, "sigma_min is 0.1, only None"),
    ("scheduler", "base_shift", None, "base_shift cannot be None"),
    ("scheduler", "max_image_seq_len", 256, "base_image_seq_len and max_image_seq_len are both"),
    ("scheduler", "max_shift", "1.15", "max_shift cannot be '1.15'"),
]


@pytest.mark.parametrize(("part", "key", "value", "said"), REFUSED)
def test_what_is_not_supported_is_named(saved, usual, tmp_path, part, key, value, said):
    folder = shutil.copytree(saved("usual"), tmp_path / "model")
    file = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(WeightsError) as failure:
        locate(folder)
    assert said in str(failure.value)
    assert str(file) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_key_that_is_absent_has_the_default_of_the_library(saved, tmp_path):
    folder = shutil.copytree(saved("usual"), tmp_path / "model")
    file = folder / "vae" / "config.json"
    told = json.loads(file.read_text())
    del told["use_quant_conv"]
    file.write_text(json.dumps(told))
    with pytest.raises(WeightsError, match="use_quant_conv is True, the default where it is"):
        locate(folder)


@pytest.mark.parametrize(
    ("keys", "writer", "base"),
    [
        (transformer.KEYS, FluxTransformer2DModel, None),
        (autoencoder.KEYS, AutoencoderKL, None),
        (scheduler.KEYS, FlowMatchEulerDiscreteScheduler, None),
        (clip.KEYS, CLIPTextConfig, PreTrainedConfig),
        (t5.KEYS, T5Config, PreTrainedConfig),
    ],
    ids=["transformer", "autoencoder", "scheduler", "clip", "t5"],
)
def test_every_key_that_a_writer_has_is_known(keys, writer, base):
    """A library that learns a new key fails here, before a file with it draws another picture."""
    if base is None:
        signature = inspect.signature(writer.__init__).parameters
        theirs = {name: one.default for name, one in signature.items() if name != "self"}
    else:
        own = {one.name for one in fields(writer)} - {one.name for one in fields(base)}
        theirs = {name: value for name, value in writer().to_dict().items() if name in own}
    assert theirs.keys() - keys.known == set()
    for name, default in theirs.items():
        ours = keys.only[name].default if name in keys.only else keys.used.get(name, default)
        assert ours == default, name


def test_unusual_values_have_a_hash_of_their_own(saved, usual):
    hashes = {
        locate(saved(name, **HONOURED[name])).model_hash
        for name in ("another end token", "T5's epsilon", "Karras times", "a static shift")
    }
    assert len(hashes | {locate(saved("usual")).model_hash}) == 5
