"""The choice of how the layers of a network keep their weights: chosen layer by layer while it
is loaded."""

import torch
from torch import nn

from flux1.model.stored import StoredEmbedding, StoredLinear
from flux1.weights.files.ahead import Ahead
from flux1.weights.files.lazy import Stored
from flux1.weights.numbers.choices import Keep, Quantization
from flux1.weights.numbers.quantize import (
    PLAIN,
    as_it_is,
    check_device,
    mapped_arithmetic,
    quantizable,
    quantized,
)
from flux1.weights.numbers.stored import StoredMatrix

VOCABULARIES = ("shared", "embed_tokens", "token_embedding")  # the text encoders' large embeddings


class Storing:
    """The choice, for one network that is being loaded, of how its layers keep their weights."""

    def __init__(
        self,
        keep: Keep,
        quantize: Quantization | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        """Flux1Error if the device has no arithmetic for this quantisation."""
        if quantize is not None:
            check_device(quantize, torch.device(device))
        self._keep, self._quantize, self._dtype, self._device = keep, quantize, dtype, device
        self._ahead = Ahead(device) if keep == "mapped" else None

    def layer(self, name: str, layer: nn.Module, stored: Stored) -> nn.Module | None:
        """The layer in the place of `layer`, whose weight is `stored`; None: it stays as it is.

        WeightsError, naming the layer, if the tensor cannot be decoded or kept so.
        """
        if isinstance(layer, nn.Linear) and name != PLAIN:
            matrix = self._matrix(name, layer.weight.shape, stored)
            if matrix is not None:
                return StoredLinear(matrix, layer.bias, self._dtype, self._device)
        elif isinstance(layer, nn.Embedding) and self._wants_embedding(name):
            matrix = self._matrix(name, layer.weight.shape, stored)
            if matrix is not None:
                return StoredEmbedding(matrix, self._dtype, self._device)
        return None

    def _wants_embedding(self, name: str) -> bool:
        return self._keep != "plain" and name.endswith(VOCABULARIES)

    def _matrix(self, name: str, shape: torch.Size, stored: Stored) -> StoredMatrix | None:
        """None if the tensor is of another shape or not of numbers: `load` says that of all."""
        if stored.shape != shape:
            return None
        first = stored.decode(stored.opened(), slice(0, 1))  # fails now, or never
        if not first.is_floating_point():
            return None
        quantize = self._quantize if quantizable(name) else None
        if self._ahead is not None:
            return StoredMatrix(stored, self._ahead, mapped_arithmetic(name, stored, quantize))
        if quantize is not None:
            return quantized(name, stored, quantize, self._device)
        if self._keep == "plain":
            weight = stored.read().to(self._device, self._dtype)
            return as_it_is(weight)
        parts = [part.to(self._device, copy=True) for part in stored.opened()]
        return StoredMatrix(stored, parts)
