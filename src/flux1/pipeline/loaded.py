"""A model whose networks are all in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from flux1.model.autoencoder import Autoencoder
from flux1.model.stored import StoredEmbedding, StoredLinear
from flux1.model.transformer import Transformer
from flux1.pipeline.advance import TOKENS_PER_CALL
from flux1.pipeline.encode import TextEncoder
from flux1.pipeline.lora import Loras
from flux1.request import ImageRequest, Origin
from flux1.variants import Variant


@dataclass(frozen=True, eq=False)
class Loaded:
    """The networks of one model, which stay in memory. `Staged` answers the same questions for
    networks that come and go.

    `tokens_per_call` and `exact_tiling` (of the decode) bound the memory of drawing; a picture does
    not depend on them beyond rounding. `dataclasses.replace` gives networks of their own: LoRAs
    that were loaded here are not loaded there.
    """

    variant: Variant
    transformer: Transformer
    autoencoder: Autoencoder
    text: TextEncoder
    model_hash: str = ""
    tokens_per_call: int = TOKENS_PER_CALL
    exact_tiling: bool = False
    loras: Loras = field(init=False, repr=False)

    def __post_init__(self) -> None:
        loras = Loras(self.transformer.config, self.device, self.dtype)
        loras.attach(self.transformer)
        object.__setattr__(self, "loras", loras)

    @property
    def device(self) -> torch.device:
        """The device on which the networks compute."""
        return self.transformer.img_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format in which the networks compute."""
        return self.transformer.img_in.weight.dtype

    @property
    def origin(self) -> Origin:
        """The weights, device and number format that a picture's recipe names."""
        return origin_of(self.model_hash, self.device, self.dtype)

    @property
    def comes_and_goes(self) -> bool:
        """False: no network leaves while others work."""
        return False

    @property
    def all_resident(self) -> bool:
        """True: all networks are in memory at once."""
        return True

    @property
    def nbytes(self) -> int:
        """The bytes of memory that the weights take."""
        parts = (self.transformer, self.autoencoder, *self.text.networks)
        return sum(map(weight_bytes, parts))

    def prepare(self, requests: Sequence[ImageRequest]) -> None:
        """Get ready to draw these requests together: everything is here already."""

    def check(self, request: ImageRequest) -> None:
        """RequestError if this request can never be drawn: that depends on the device alone."""

    def count_tokens(self, prompt: str) -> int:
        """The number of tokens that the text encoder reads of a prompt."""
        return self.text.count(prompt)


def origin_of(model_hash: str, device: torch.device, dtype: torch.dtype) -> Origin:
    """The origin of pictures that torch draws."""
    return Origin(model_hash, str(device), str(dtype).removeprefix("torch."))


def weight_bytes(network: nn.Module) -> int:
    """The bytes of memory that a network's weights take, quantised ones as they are kept. Weights
    that stay in their file take none."""
    tensors = {*network.parameters(), *network.buffers()}
    stored = (m for m in network.modules() if isinstance(m, StoredLinear | StoredEmbedding))
    return sum(t.nbytes for t in tensors) + sum(layer.matrix.nbytes for layer in stored)
