"""The numbers that define a network. Frozen data, no torch."""

from dataclasses import dataclass
from typing import Literal, get_args

# The text encoders' nonlinearities, as `transformers` calls them.
Activation = Literal["quick_gelu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of a FLUX.1 transformer. The defaults are FLUX.1 [dev]'s."""

    in_channels: int = 64
    out_channels: int = 64
    vec_in_dim: int = 768
    context_in_dim: int = 4096
    hidden_size: int = 3072
    mlp_ratio: float = 4.0
    num_heads: int = 24
    depth: int = 19
    depth_single_blocks: int = 38
    axes_dim: tuple[int, int, int] = (16, 56, 56)
    theta: int = 10_000
    guidance_embed: bool = True

    def __post_init__(self) -> None:
        head_dim, rest = divmod(self.hidden_size, self.num_heads)
        if rest:
            raise ValueError(
                f"hidden_size {self.hidden_size} does not divide into {self.num_heads} heads"
            )
        if sum(self.axes_dim) != head_dim:
            raise ValueError(
                f"axes_dim {self.axes_dim} must sum to the head width {head_dim}, "
                f"got {sum(self.axes_dim)}"
            )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def mlp_size(self) -> int:
        return int(self.hidden_size * self.mlp_ratio)


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the autoencoder. The defaults are FLUX.1's (8x down, 16 channels)."""

    in_channels: int = 3
    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    res_blocks: int = 2
    latent_channels: int = 16
    norm_groups: int = 32
    scale_factor: float = 0.3611
    shift_factor: float = 0.1159

    @property
    def downscale(self) -> int:
        """Pixels per latent cell along one side."""
        return 2 ** (len(self.channel_mult) - 1)


@dataclass(frozen=True)
class ClipConfig:
    """A CLIP text tower, read for its pooled vector. The defaults are CLIP ViT-L/14's.

    The vector is read at the first `end_token` of a text; None: at the first of its highest ids.
    """

    vocab_size: int = 49_408
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_layers: int = 12
    num_heads: int = 12
    max_length: int = 77
    end_token: int | None = None
    activation: Activation = "quick_gelu"
    norm_eps: float = 1e-5


@dataclass(frozen=True)
class T5Config:
    """A T5 encoder, read for its token states. The defaults are T5 v1.1 XXL's.

    Its MLPs are `gated` from version 1.1 on. Positions are told by a bias for each of `buckets` of
    distances between tokens; all that are `farthest` tokens apart or more share one.
    """

    vocab_size: int = 32_128
    hidden_size: int = 4096
    head_dim: int = 64
    intermediate_size: int = 10_240
    num_layers: int = 24
    num_heads: int = 64
    gated: bool = True
    activation: Activation = "gelu_new"
    norm_eps: float = 1e-6
    buckets: int = 32
    farthest: int = 128


@dataclass(frozen=True)
class BertConfig:
    """A BERT encoder, read for its token states and their mean. The defaults are MiniLM-L6's."""

    vocab_size: int = 30_522
    hidden_size: int = 384
    intermediate_size: int = 1536
    num_layers: int = 6
    num_heads: int = 12
    max_positions: int = 512


@dataclass(frozen=True)
class UpscalerConfig:
    """A compact upscaler. The defaults are those of Real-ESRGAN's "animevideov3", x4."""

    channels: int = 64
    convolutions: int = 16  # between the first and the last
    scale: int = 4

    @property
    def reach(self) -> int:
        """The number of pixels that the network looks away to each side: one for each 3x3
        convolution."""
        return self.convolutions + 2
