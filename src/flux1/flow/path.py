"""The straight path of rectified flow (Liu et al. 2022; Esser et al. 2024, arXiv 2403.03206).

t = 1 is noise and t = 0 the image, everywhere: x_t = (1 - t) image + t noise.
"""

from jaxtyping import Float
from torch import Tensor


def mix(
    image: Float[Tensor, "b *rest"], noise: Float[Tensor, "b *rest"], t: Float[Tensor, " b"]
) -> Float[Tensor, "b *rest"]:
    """The point x_t between an image and its noise."""
    t = t.reshape(-1, *[1] * (image.ndim - 1))
    return (1 - t) * image + t * noise


def velocity(
    image: Float[Tensor, "b *rest"], noise: Float[Tensor, "b *rest"]
) -> Float[Tensor, "b *rest"]:
    """v = dx/dt = noise - image: what the network learns."""
    return noise - image


def denoised(
    x: Float[Tensor, "*rest"], t: float, v: Float[Tensor, "*rest"]
) -> Float[Tensor, "*rest"]:
    """The image that x and v point to: x_0 = x - t v."""
    return x - t * v
