"""The T5 encoder: its names, transformers' and llama.cpp's, its config, its row."""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from flux1.errors import WeightsError
from flux1.model.config import ACTIVATIONS, T5Config
from flux1.model.text import T5Text
from flux1.weights.files.lazy import LazyTensors, StoredTensors
from flux1.weights.kinds.keys import TRAINING_ONLY, ConfigFile, Keys, Only
from flux1.weights.kinds.kind import Described, Description, NetworkKind, Part, Places, State
from flux1.weights.kinds.lines import check_names, renamed
from flux1.weights.kinds.shapes import count_blocks, matrix, shape_of, shapes_of
from flux1.weights.kinds.words import transformers_tokenizer

GATED = "gated-"
T5_FORWARD = (*(GATED + name for name in ACTIVATIONS), *ACTIVATIONS)
T5_ALIASES = {  # other names that the library takes, and lets go before the usual ones
    "hidden_size": "d_model", "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers",
    "head_dim": "d_kv",
}  # fmt: skip
KEYS = Keys(  # T5EncoderModel's
    used={
        "vocab_size": 32_128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6,
        "num_heads": 8, "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu", "dense_act_fn": None, "is_gated_act": None,
    },
    only={
        "model_type": Only("t5", ("t5",)),
        "feed_forward_proj": Only("relu", T5_FORWARD),
        "dense_act_fn": Only(None, (*ACTIVATIONS, None)),
        "is_gated_act": Only(None, (True, False, None)),
        "is_decoder": Only(False, (False,)),
    },
    idle=TRAINING_ONLY | {
        "num_decoder_layers", "initializer_factor", "use_cache", "pad_token_id", "eos_token_id",
        "is_encoder_decoder", "tie_word_embeddings", "scale_decoder_outputs",
    },
)  # fmt: skip
T5_UNUSED = {"lm_head.weight", "logit_scale", "spiece_model", "output.weight"}
T5_LLAMA = {  # llama.cpp's names: of whole tensors, and of a block's parts
    "token_embd.weight": "shared.weight",
    "enc.output_norm.weight": "encoder.final_layer_norm.weight",
    "attn_q": "layer.0.SelfAttention.q",
    "attn_k": "layer.0.SelfAttention.k",
    "attn_v": "layer.0.SelfAttention.v",
    "attn_o": "layer.0.SelfAttention.o",
    "attn_rel_b": "layer.0.SelfAttention.relative_attention_bias",
    "attn_norm": "layer.0.layer_norm",
    "ffn_gate": "layer.1.DenseReluDense.wi_0",
    "ffn_up": "layer.1.DenseReluDense.wi_1",
    "ffn_down": "layer.1.DenseReluDense.wo",
    "ffn_norm": "layer.1.layer_norm",
}
T5_GATES = ("DenseReluDense.wi_0.weight", "ffn_gate.weight")
T5_PLAIN = "layer.1.DenseReluDense.wi"  # the first matrix of an MLP without a gate


def t5_config(config_file: ConfigFile) -> T5Config:
    """A T5EncoderModel's config.json. Its own keys for the activation and the gate, where they are
    there, go before what feed_forward_proj says of them."""
    found = KEYS.read({T5_ALIASES.get(key, key): value for key, value in config_file.items()})
    buckets, farthest, forward = (
        found[key]
        for key in (
            "relative_attention_num_buckets",
            "relative_attention_max_distance",
            "feed_forward_proj",
        )
    )
    if buckets < 4 or farthest <= buckets // 4:
        raise WeightsError(
            f"relative_attention_num_buckets {buckets} do not go with a "
            f"relative_attention_max_distance of {farthest}"
        )
    activation: Any = "gelu_new" if forward == "gated-gelu" else forward.removeprefix(GATED)
    gated = forward.startswith(GATED)
    return T5Config(
        vocab_size=found["vocab_size"],
        hidden_size=found["d_model"],
        head_dim=found["d_kv"],
        intermediate_size=found["d_ff"],
        num_layers=found["num_layers"],
        num_heads=found["num_heads"],
        gated=gated if found["is_gated_act"] is None else found["is_gated_act"],
        activation=found["dense_act_fn"] or activation,
        norm_eps=found["layer_norm_epsilon"],
        buckets=buckets,
        farthest=farthest,
    )


def transformers_t5_config(config: T5Config) -> dict[str, Any]:
    """The keys of T5EncoderModel's config.json."""
    return {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "feed_forward_proj": _forward(config),
        "dense_act_fn": config.activation,
        "is_gated_act": config.gated,
        "layer_norm_epsilon": config.norm_eps,
        "is_encoder_decoder": False,
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "d_kv": config.head_dim,
        "d_ff": config.intermediate_size,
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.farthest,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def _forward(config: T5Config) -> str:
    """T5's word for its MLP: "gated-gelu" is the gated MLP with the approximate GELU."""
    if not config.gated:
        return config.activation
    return "gated-gelu" if config.activation == "gelu_new" else f"gated-{config.activation}"


def t5_shape(part: Part) -> T5Config:
    """The shape of a T5 encoder in transformers' or llama.cpp's names: one with gated MLPs is of
    version 1.1, one without of the first. WeightsError as above."""
    gated = t5_gated(part.tensors)
    shapes = {t5_name(name, gated): shape for name, shape in shapes_of(part).items()}
    stem = "t5.encoder.block"
    attention, mlp = f"{stem}.0.layer.0.SelfAttention", f"{stem}.0.layer.1.DenseReluDense"
    words, width = shape_of(shapes, "t5.shared.weight", 2)
    buckets, heads = matrix(shapes, f"{attention}.relative_attention_bias")
    inner = matrix(shapes, f"{attention}.q")[0]
    if heads == 0 or inner % heads:
        raise WeightsError(f"{heads} heads in {inner} numbers")
    return T5Config(
        vocab_size=words,
        hidden_size=width,
        head_dim=inner // heads,
        intermediate_size=matrix(shapes, f"{mlp}.{'wi_0' if gated else 'wi'}")[0],
        num_layers=count_blocks(shapes, stem),
        num_heads=heads,
        gated=gated,
        activation="gelu_new" if gated else "relu",
        buckets=buckets,
    )


def _ours(state: State, dialect: str, config: T5Config) -> StoredTensors:
    """A T5 file, in transformers' or llama.cpp's names, in T5Text's. The embedding, tied, may have
    either of its names, or both."""
    found = renamed(state, partial(t5_name, gated=t5_gated(state)))
    check_names(found.keys(), t5_table(config))
    return found


def _spelled(state: State, layout: str, config: T5Config) -> State:
    rename = t5_llama_name if layout == "gguf" else _without_t5
    return LazyTensors({rename(name): partial(state.__getitem__, name) for name in state})


def _without_t5(name: str) -> str:
    return name.removeprefix("t5.")


def t5_table(config: T5Config) -> list[str]:
    """T5Text's names, the tied embedding once: 219 for T5-XXL."""
    modules, mlp = ["t5.shared"], ("wi_0", "wi_1", "wo") if config.gated else ("wi", "wo")
    for i in range(config.num_layers):
        block = f"t5.encoder.block.{i}.layer"
        bias = ["relative_attention_bias"] if i == 0 else []
        modules += [f"{block}.0.SelfAttention.{part}" for part in ["q", "k", "v", "o", *bias]]
        modules += [f"{block}.1.DenseReluDense.{part}" for part in mlp]
        modules += [f"{block}.{part}.layer_norm" for part in (0, 1)]
    return [f"{name}.weight" for name in [*modules, "t5.encoder.final_layer_norm"]]


def t5_gated(found: Iterable[str]) -> bool:
    """Return whether a T5 file's MLPs have a gate."""
    return any(name.endswith(T5_GATES) for name in found)


def t5_name(name: str, gated: bool = True) -> str | None:
    """T5Text's name of one tensor; None for what it does not use, the decoder above all."""
    if name.startswith(("decoder.", "dec.")) or name in T5_UNUSED:
        return None
    if name == "encoder.embed_tokens.weight":
        name = "shared.weight"
    name = T5_LLAMA.get(name, name)
    if found := re.fullmatch(r"enc\.blk\.(\d+)\.(\w+)\.weight", name):
        block, part = found.groups()
        if part == "ffn_up" and not gated:
            name = f"encoder.block.{block}.{T5_PLAIN}.weight"
        elif part in T5_LLAMA:
            name = f"encoder.block.{block}.{T5_LLAMA[part]}.weight"
    return f"t5.{name}"


def t5_llama_name(name: str) -> str:
    """llama.cpp's name of one of T5Text's tensors."""
    spelled = {theirs: llama for llama, theirs in T5_LLAMA.items()} | {T5_PLAIN: "ffn_up"}
    bare = name.removeprefix("t5.")
    if found := re.fullmatch(r"encoder\.block\.(\d+)\.(.+)\.weight", bare):
        block, part = found.groups()
        return f"enc.blk.{block}.{spelled[part]}.weight"
    return spelled[bare]


def _describe(part: Part, called: str) -> Described:
    config = t5_shape(part)
    usual = config.hidden_size == T5Config().hidden_size
    what = "T5 v1.1 XXL" if usual else f"T5 of width {config.hidden_size}; FLUX.1's has 4096"
    rename = partial(t5_name, gated=config.gated)
    return Described(what, "Apache-2.0" if usual else "", t5_table(config), rename)


T5 = NetworkKind(
    id="t5",
    title="a T5 encoder",
    build=T5Text,
    signatures={
        "transformers": "encoder.block.0.layer.0.SelfAttention.q.",
        "llama.cpp": "enc.blk.0.attn_q.",
    },
    ours=_ours,
    describe=_describe,
    description=Description(
        t5_config, transformers_t5_config, t5_shape, ("activation", "norm_eps", "farthest")
    ),
    places=Places(
        folder="text_encoder_2",
        stem="model",
        others=("text_encoders", "clip"),
        stems=("t5xxl_fp16*", "t5xxl_bf16*", "t5xxl*", "t5-v1_1-xxl*"),
        usual="t5xxl_fp16.safetensors",
        words="tokenizer_2",
        word_files=("tokenizer.json", "spiece.model"),
    ),
    spelled=_spelled,
    imports=True,
    tokenizer=transformers_tokenizer,
    stored=True,
    quantised="weights",  # the inputs of its layers have outliers that eight bits do not hold
    large=True,
    prefix="text_encoders.t5xxl.transformer.",
    gguf="t5encoder",
    ends=("shared", "token_embd"),
)
