"""Inputs of a transformer without pictures."""

import torch

from flux1.model.config import TransformerConfig
from flux1.training.transformer import Batch


def random_batch(config: TransformerConfig, count: int = 2, grid: tuple[int, int] = (2, 3)):
    generator = torch.Generator().manual_seed(0)
    return Batch(
        torch.randn(count, grid[0] * grid[1], config.in_channels, generator=generator),
        torch.randn(count, 5, config.context_in_dim, generator=generator),
        torch.randn(count, config.vec_in_dim, generator=generator),
        grid,
    )
