"""CLIP's text tower: its names, its config, its row."""

from typing import Any

from flux1.errors import WeightsError
from flux1.model.config import ACTIVATIONS, ClipConfig
from flux1.model.text import HIGHEST_ID, ClipText
from flux1.weights.files.lazy import StoredTensors
from flux1.weights.kinds.keys import TRAINING_ONLY, ConfigFile, Keys, Only
from flux1.weights.kinds.kind import Described, Description, NetworkKind, Part, Places, State
from flux1.weights.kinds.lines import check_names, renamed
from flux1.weights.kinds.shapes import count_blocks, matrix, shape_of, shapes_of
from flux1.weights.kinds.words import transformers_tokenizer

CLIP_HEAD = 64  # numbers in a head of CLIP's
KEYS = Keys(  # CLIPTextModel's
    used={
        "vocab_size": 49_408, "hidden_size": 512, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 8, "max_position_embeddings": 77,
        "eos_token_id": 49_407, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu",
    },
    only={
        "model_type": Only("clip_text_model", ("clip_text_model",)),
        "hidden_act": Only("quick_gelu", ACTIVATIONS),
    },
    idle=TRAINING_ONLY | {
        "pad_token_id", "bos_token_id", "projection_dim", "initializer_range", "initializer_factor",
    },
)  # fmt: skip


def clip_config(config_file: ConfigFile) -> ClipConfig:
    """A CLIPTextModel's config.json. An end token of 2 means the highest id of a text, as the
    library has it for the sake of old files, FLUX.1's own among them; so does the last word."""
    found = KEYS.read(config_file)
    end = found["eos_token_id"]
    return ClipConfig(
        vocab_size=found["vocab_size"],
        hidden_size=found["hidden_size"],
        intermediate_size=found["intermediate_size"],
        num_layers=found["num_hidden_layers"],
        num_heads=found["num_attention_heads"],
        max_length=found["max_position_embeddings"],
        end_token=None if end in (HIGHEST_ID, found["vocab_size"] - 1) else end,
        activation=found["hidden_act"],
        norm_eps=found["layer_norm_eps"],
    )


def transformers_clip_config(config: ClipConfig) -> dict[str, Any]:
    """The keys of CLIPTextModel's config.json."""
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "hidden_act": config.activation,
        "layer_norm_eps": config.norm_eps,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "max_position_embeddings": config.max_length,
        "projection_dim": config.hidden_size,
        "bos_token_id": 0,
        "eos_token_id": HIGHEST_ID if config.end_token is None else config.end_token,
        "pad_token_id": 1,
    }


def clip_shape(part: Part) -> ClipConfig:
    """The shape of a CLIP text tower, whose heads are 64 wide. WeightsError as above."""
    shapes = {clip_name(name): shape for name, shape in shapes_of(part).items()}
    stem = "text_model.encoder.layers"
    words, width = shape_of(shapes, "text_model.embeddings.token_embedding.weight", 2)
    if width % CLIP_HEAD:
        raise WeightsError(f"a CLIP of width {width} is not known")
    return ClipConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=matrix(shapes, f"{stem}.0.mlp.fc1")[0],
        num_layers=count_blocks(shapes, stem),
        num_heads=width // CLIP_HEAD,
        max_length=shape_of(shapes, "text_model.embeddings.position_embedding.weight", 2)[0],
    )


def _ours(state: State, dialect: str, config: ClipConfig) -> StoredTensors:
    """A CLIP file, with or without the `text_model.` prefix, in ClipText's names."""
    found = renamed(state, clip_name)
    check_names(found.keys(), clip_table(config))
    return found


def clip_table(config: ClipConfig) -> list[str]:
    """ClipText's names: 196 for CLIP-L."""
    stem = "text_model"
    embeddings = [f"{stem}.embeddings.{kind}_embedding.weight" for kind in ("token", "position")]
    parts = [f"self_attn.{part}_proj" for part in "kvq"] + [
        "self_attn.out_proj",
        "layer_norm1",
        "mlp.fc1",
        "mlp.fc2",
        "layer_norm2",
    ]
    layers = [f"{stem}.encoder.layers.{i}" for i in range(config.num_layers)]
    modules = [f"{layer}.{part}" for layer in layers for part in parts]
    modules.append(f"{stem}.final_layer_norm")
    return embeddings + [f"{name}.{kind}" for name in modules for kind in ("weight", "bias")]


def clip_name(name: str) -> str | None:
    """ClipText's name of one tensor; None for what it does not use."""
    bare = name.removeprefix("text_model.")
    unused = {"embeddings.position_ids", "text_projection", "text_projection.weight", "logit_scale"}
    if bare in unused or bare.startswith(("vision_model.", "visual_projection.")):
        return None
    return f"text_model.{bare}"


def _describe(part: Part, called: str) -> Described:
    config = clip_shape(part)
    usual = config.hidden_size == ClipConfig().hidden_size
    what = "CLIP-L" if usual else f"CLIP of width {config.hidden_size}; FLUX.1's has 768"
    return Described(what, "MIT" if usual else "", clip_table(config), clip_name)


CLIP = NetworkKind(
    id="clip",
    title="a CLIP text encoder",
    build=ClipText,
    signatures={"transformers": "encoder.layers.0.self_attn.q_proj."},
    ours=_ours,
    describe=_describe,
    description=Description(
        clip_config,
        transformers_clip_config,
        clip_shape,
        ("num_heads", "end_token", "activation", "norm_eps"),
    ),
    places=Places(
        folder="text_encoder",
        stem="model",
        others=("text_encoders", "clip"),
        stems=("clip_l*",),
        usual="clip_l.safetensors",
        words="tokenizer",
        word_files=("tokenizer.json", "vocab.json"),
    ),
    wrapping="text_model.",
    imports=True,
    tokenizer=transformers_tokenizer,
    stored=True,
    prefix="text_encoders.clip_l.transformer.",
)
