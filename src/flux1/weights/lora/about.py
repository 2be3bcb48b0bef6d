"""Metadata in which a LoRA's file describes itself, under the keys that tools show:
ModelSpec's (Stability AI's specification 1.0.0) and sd-scripts' `ss_`."""

import json
from collections.abc import Mapping
from typing import Any

SETTINGS = "flux1"  # the key of all settings of the training, as JSON
SHOWN = {  # sd-scripts' key, and the setting that it is
    "ss_steps": "step",
    "ss_max_train_steps": "steps",
    "ss_learning_rate": "learning_rate",
    "ss_batch_size_per_device": "batch_size",
    "ss_lr_warmup_steps": "warmup_steps",
    "ss_optimizer": "optimizer",
    "ss_mixed_precision": "precision",
    "ss_seed": "seed",
    "ss_sd_model_name": "model",
    "ss_sd_model_hash": "model_hash",
}


def metadata(settings: Mapping[str, Any], rank: int, alpha: float) -> dict[str, str]:
    """The metadata of a LoRA of this rank whose tensors have this alpha, in a fixed order. Of the
    `settings` those that are there are told; no date and no file's name, so that the same LoRA is
    the same file."""
    told = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": f"LoRA of rank {rank} for {settings.get('model', 'FLUX.1')}",
        "modelspec.implementation": "https://github.com/black-forest-labs/flux",
        "ss_network_module": "networks.lora_flux",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        "ss_base_model_version": "flux1",
    }
    if "model" in settings:
        model = str(settings["model"]).replace("flux-", "flux-1-", 1)
        told["modelspec.architecture"] = f"{model}/lora"
    if "resolutions" in settings:
        side = max(settings["resolutions"])
        told["modelspec.resolution"] = told["ss_resolution"] = f"{side}x{side}"
    told |= {key: str(settings[name]) for key, name in SHOWN.items() if name in settings}
    return {SETTINGS: json.dumps(dict(settings)), **told}
