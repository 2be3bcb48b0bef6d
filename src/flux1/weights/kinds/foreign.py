"""Models that are not FLUX.1's, told by a name that only they have: in the network's own files, and
in LoRAs of it, so that the answer is "this is Stable Diffusion 3", not a missing key."""

import re
from collections.abc import Iterable, Mapping

FAMILIES = tuple(
    (title, re.compile(pattern))
    for title, pattern in (
        ("FLUX.2", r"(double|single)_stream_modulation|(^|[._])to_qkv_mlp_proj\b"),
        ("Chroma", r"distilled_guidance_layer[._]"),
        ("Stable Diffusion 3", r"(^|[._])joint_blocks[._]|pos_embed\.proj\."),
        ("Stable Diffusion XL", r"^lora_te2_text_model_"),
        (
            "Stable Diffusion 1, 2 or XL",
            r"input_blocks\.0\.0\.|down_blocks\.1\.attentions\."
            r"|(^|[._])unet[._](down|up|mid|input|output|middle)_blocks?",
        ),
        ("a FLUX.1 ControlNet", r"controlnet_x_embedder\."),
        ("a ControlNet", r"controlnet_blocks\."),
        ("an IP adapter", r"ip_adapter_proj_model\."),
        ("the FLUX.1 Redux adapter", r"redux_up\."),
        ("a language model", r"model\.layers\.0\.self_attn\.|token_embd\."),
        (
            "Qwen-Image",
            r"txt_norm\.|(^|[._])(img|txt)_mod[._]1([._]|$)|transformer_blocks[._]\d+[._](img|txt)_mlp[._]net",
        ),
        ("Wan", r"(^|[._])blocks[._]\d+[._](self|cross)_attn[._][qkvo]\b"),
    )
)


# Families whose layers may be called as FLUX.1's are: told by what trainers write beside them.
MARKED_IN = ("modelspec.architecture", "ss_base_model_version")
MARKS = tuple(
    (title, re.compile(pattern, re.IGNORECASE))
    for title, pattern in (
        ("FLUX.2", r"flux[-_. ]?2"),
        ("Chroma", r"chroma"),
        ("HunyuanVideo", r"hunyuan"),
        ("Z-Image", r"z[-_ ]?image"),
        ("Qwen-Image", r"qwen"),
    )
)
OTHER_ADAPTERS = tuple(
    (title, re.compile(pattern))
    for title, pattern in (
        ("OFT", r"[._]oft_(blocks|diag|R|Q)"),
        ("GLoRA", r"\.(a1|a2|b1|b2)\.weight$"),
        ("IA3", r"[._](ia3_l|on_input$)"),
    )
)


def family_told(metadata: Mapping[str, str]) -> str | None:
    """The family that a file's metadata names, where it is not FLUX.1's."""
    config_file = " ".join(str(metadata.get(key, "")) for key in MARKED_IN)
    return next((title for title, known in MARKS if known.search(config_file)), None)


def other_adapter(names: Iterable[str]) -> str | None:
    """The kind of adapter that tensor names betray, where it is none that is read."""
    kept = list(names)
    return next((title for title, known in OTHER_ADAPTERS if any(map(known.search, kept))), None)


def family_of(names: Iterable[str]) -> str | None:
    """The family that tensor names betray, where it is not FLUX.1's."""
    kept = list(names)
    return next((title for title, known in FAMILIES if any(map(known.search, kept))), None)
