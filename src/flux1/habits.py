"""Names that diffusers' users reach for, each with the one that does the same here."""

from collections.abc import Iterable

from flux1.errors import nearest

# How a pipeline's attributes are called there, and what does the same here.
ATTRIBUTES = {
    "enable_model_cpu_offload": "FluxPipeline.from_pretrained(..., memory='auto')",
    "enable_sequential_cpu_offload": "FluxPipeline.from_pretrained(..., memory='auto')",
    "load_lora_weights": "pipe.load_lora(path)",
    "unload_lora_weights": "pipe.unload_lora(name)",
    "set_adapters": "pipe(..., loras=[(name, scale)])",
    "set_progress_bar_config": "pipe(..., progress=False)",
    "save_pretrained": "`flux1 convert MODEL FOLDER --to diffusers`",
    "scheduler": "pipe(..., solver=..., schedule=...)",
    "vae": "pipe.autoencoder",
    "text_encoder": "pipe.text",
}

# How a request's keywords are called there, and what to say instead.
KEYWORDS = {
    "num_inference_steps": "it is 'steps' here",
    "guidance_scale": "it is 'guidance' here",
    "true_cfg_scale": "it is 'true_cfg' here",
    "num_images_per_prompt": "it is 'num_images' here",
    "generator": "it is 'seed' here",
    "callback_on_step_end": "it is 'callback' here",
    "output_type": "pictures are PIL's images; examples/sample_by_hand.py shows the latents",
}


def unknown_attribute(name: str) -> str:
    """Return the words of an AttributeError for a name that a pipeline does not have."""
    ours = f"; here it is {ATTRIBUTES[name]}" if name in ATTRIBUTES else ""
    return f"'FluxPipeline' object has no attribute {name!r}{ours}"


def unknown_keyword(name: str, known: Iterable[str]) -> str:
    """Return the words of a RequestError for a keyword that is none of `known`: ours, or the
    nearest one."""
    ours = f"; {KEYWORDS[name]}" if name in KEYWORDS else nearest(name, known)
    return f"is nothing that a request has{ours}"
