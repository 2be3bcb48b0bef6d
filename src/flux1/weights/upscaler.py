"""The upscaler that the package ships: from its file to a network."""

from importlib import resources
from pathlib import Path

import torch

from flux1.errors import WeightsError
from flux1.model.config import UpscalerConfig
from flux1.model.upscaler import Upscaler
from flux1.variants import Licence
from flux1.weights.files.safetensors import FileTensors

FILE = Path(str(resources.files("flux1"))) / "shipped" / "upscaler" / "upscaler.safetensors"
LICENCE_FILE = FILE.with_name("LICENSE")
LICENCE = Licence(
    "BSD-3-Clause",
    "https://github.com/xinntao/Real-ESRGAN/blob/master/LICENSE",
    commercial_use=True,
)
CONFIG = UpscalerConfig()


def load_upscaler(device: torch.device | str = "cpu", file: Path = FILE) -> Upscaler:
    """The network in float32, ready to run. MissingWeightsError, or WeightsError for a file that is
    damaged or another network's."""
    network = Upscaler(CONFIG)
    try:
        network.load_state_dict(dict(FileTensors(file)))
    except RuntimeError as failure:  # torch's, over several lines
        reason = " ".join(str(failure).split())
        raise WeightsError(f"{file}: is not the upscaler's file: {reason[:200]}") from failure
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)
