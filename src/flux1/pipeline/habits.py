"""Names that diffusers' users reach for, each with the one that does the same here."""

HABITS = {
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


def answer(name: str) -> str:
    """The words of an AttributeError for a name that a pipeline does not have."""
    ours = f"; here it is {HABITS[name]}" if name in HABITS else ""
    return f"'FluxPipeline' object has no attribute {name!r}{ours}"
