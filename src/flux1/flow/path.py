"""The straight path of rectified flow (Liu et al. 2022; Esser et al. 2024, arXiv 2403.03206).

t = 1 is noise and t = 0 the image, everywhere: x_t = (1 - t) image + t noise.
"""

from jaxtyping import Float

from flux1.flow.array import Array


def mix(
    image: Float[Array, "b *rest"], noise: Float[Array, "b *rest"], t: Float[Array, " b"]
) -> Float[Array, "b *rest"]:
    """The point x_t between an image and its noise."""
    t = t.reshape(-1, *[1] * (image.ndim - 1))
    return (1 - t) * image + t * noise


def velocity(
    image: Float[Array, "b *rest"], noise: Float[Array, "b *rest"]
) -> Float[Array, "b *rest"]:
    """v = dx/dt = noise - image: what the network learns."""
    return noise - image


def denoised(x: Float[Array, "*rest"], t: float, v: Float[Array, "*rest"]) -> Float[Array, "*rest"]:
    """The image that x and v point to: x_0 = x - t v."""
    return x - t * v
