"""Products in eight-bit floats (e4m3), on graphics cards that have them (Ada, Hopper and later).

Each row of the weight has a scale, told beforehand; each row of the input gets its own at every
call. A number keeps four significant bits: it is off by a sixteenth of itself at most.
"""

import torch
from jaxtyping import Float
from torch import Tensor

E4M3 = torch.float8_e4m3fn
LARGEST = torch.finfo(E4M3).max  # 448


def fp8_linear(
    x: Float[Tensor, "... n_in"],
    codes: Float[Tensor, "n_out n_in"],
    scales: Float[Tensor, " n_out"],
    bias: Float[Tensor, " n_out"] | None,
) -> Float[Tensor, "... n_out"]:
    """x (codes * scales)^T + b, in x's dtype; the kernel hands the sums out in bf16."""
    rows = x.flatten(0, -2)
    whole, steps = fp8_rows(rows)
    y = torch._scaled_mm(
        whole, codes.t(), scale_a=steps, scale_b=scales[None], out_dtype=torch.bfloat16
    ).to(x.dtype)
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], -1)


def fp8_rows(
    rows: Float[Tensor, "n n_in"],
) -> tuple[Float[Tensor, "n n_in"], Float[Tensor, "n 1"]]:
    """Codes in e4m3 and a scale for each row, which uses the whole range."""
    steps = rows.abs().amax(dim=1, keepdim=True).float() / LARGEST
    steps = steps.clamp(min=torch.finfo(torch.float32).tiny)
    return (rows / steps).clamp(-LARGEST, LARGEST).to(E4M3), steps
