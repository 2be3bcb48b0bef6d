"""The autoencoder's halves as graphs, between pixels in [-1, 1] and raw latents: scale and shift
are applied outside, as with the published graphs."""

from dataclasses import dataclass

import numpy as np

from flux1.export.attention import attention
from flux1.export.graph import FLOAT, Graph, Value
from flux1.model.config import AutoencoderConfig

NORM_EPS = 1e-6


def write_decoder(graph: Graph, config: AutoencoderConfig) -> None:
    """`latent` to `images`."""
    latent = graph.input("latent", "batch", config.latent_channels, "rows", "columns")
    pen = _Pen(graph, config, "decoder")
    x = pen.middle(pen.conv(latent.to(graph.type), "conv_in"))
    for level in reversed(range(len(config.channel_mult))):
        for block in range(config.res_blocks + 1):
            x = pen.resnet(x, f"up.{level}.block.{block}")
        if level:
            x = pen.conv(_doubled(x), f"up.{level}.upsample.conv")
    images = pen.conv(pen.norm(x, "norm_out").silu(), "conv_out")
    graph.output("images", images, "batch", config.in_channels, "height", "width")


def write_encoder(graph: Graph, config: AutoencoderConfig) -> None:
    """`images` to `latent`: the mean, not a sample."""
    images = graph.input("images", "batch", config.in_channels, "height", "width")
    pen = _Pen(graph, config, "encoder")
    x = pen.conv(images.to(graph.type), "conv_in")
    last = len(config.channel_mult) - 1
    for level in range(last + 1):
        for block in range(config.res_blocks):
            x = pen.resnet(x, f"down.{level}.block.{block}")
        if level < last:
            x = pen.conv(x, f"down.{level}.downsample.conv", stride=2, pads=(0, 0, 1, 1))
    x = pen.conv(pen.norm(pen.middle(x), "norm_out").silu(), "conv_out")
    channels = config.latent_channels  # of the mean; as many of the variance's logarithm follow
    mean = graph.node("Slice", x, np.array([0]), np.array([channels]), np.array([1]))
    graph.output("latent", mean, "batch", channels, "rows", "columns")


@dataclass(frozen=True)
class _Pen:
    """Writes the parts of one half, whose tensors' names begin with `stem`."""

    graph: Graph
    config: AutoencoderConfig
    stem: str

    def conv(self, x: Value, name: str, stride: int = 1, pads: tuple[int, ...] = (1,) * 4) -> Value:
        """3x3; `pads` are of top, left, bottom and right."""
        name = f"{self.stem}.{name}"
        weights = self.graph.weight(f"{name}.weight"), self.graph.weight(f"{name}.bias")
        return self.graph.node("Conv", x, *weights, strides=(stride,) * 2, pads=pads)

    def pointwise(self, x: Value, name: str) -> Value:
        return self.conv(x, name, pads=(0,) * 4)

    def norm(self, x: Value, name: str) -> Value:
        """Norm groups of channels, then scale and shift each channel."""
        name, groups = f"{self.stem}.{name}", self.config.norm_groups
        normed = self.graph.node(
            "InstanceNormalization",
            x.reshape(0, groups, -1),
            np.ones(groups),
            np.zeros(groups),
            epsilon=NORM_EPS,
        )
        scale, bias = (
            self.graph.weight(f"{name}.{part}", shape=(-1, 1, 1)) for part in ("weight", "bias")
        )
        return self.graph.node("Reshape", normed, self.graph.shape(x)) * scale + bias

    def resnet(self, x: Value, name: str) -> Value:
        change = self.conv(self.norm(x, f"{name}.norm1").silu(), f"{name}.conv1")
        change = self.conv(self.norm(change, f"{name}.norm2").silu(), f"{name}.conv2")
        if self.graph.has(f"{self.stem}.{name}.nin_shortcut.weight"):
            x = self.pointwise(x, f"{name}.nin_shortcut")
        return x + change

    def middle(self, x: Value) -> Value:
        x = self.resnet(x, "mid.block_1")
        normed = self.norm(x, "mid.attn_1.norm")
        channels = self.config.channels * self.config.channel_mult[-1]
        q, k, v = (
            self.pointwise(normed, f"mid.attn_1.{part}")
            .reshape(0, channels, -1)
            .transpose(0, 2, 1)
            .unsqueeze(2)
            for part in "qkv"
        )
        out = attention(q, k, v, scale=channels**-0.5).transpose(0, 2, 1)
        out = self.graph.node("Reshape", out, self.graph.shape(x))
        return self.resnet(x + self.pointwise(out, "mid.attn_1.proj_out"), "mid.block_2")


def _doubled(x: Value) -> Value:
    """Every position four times."""
    return x.graph.node(
        "Resize",
        x,
        None,
        x.graph.constant(np.array([1, 1, 2, 2], np.float32), FLOAT),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
