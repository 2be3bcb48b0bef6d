"""Solvers of dx/dt = v(x, t), as generators: each yields the point where it wants the velocity,
receives it, and returns the final x. A solver does no I/O and knows no network.

    def run(solver, x, times, velocity):
        steps = solver(x, times)
        point = next(steps)
        while True: point = steps.send(velocity(*point))   # until StopIteration carries the result
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flux1.flow.array import Number as X

Steps = Generator[tuple[X, float], X, X]


def euler(x: X, times: Sequence[float]) -> Steps[X]:
    """First order, one evaluation a step; the reference's own."""
    for t, s in pairwise(times):
        v = yield x, t
        x = x + (s - t) * v
    return x


def euler_in_dtype(x: X, times: Sequence[float]) -> Steps[X]:
    """`euler` whose step lengths are rounded to x's dtype, as diffusers' are: the same in fp32."""
    for t, s in pairwise(times):
        v = yield x, t
        step = 0 * x + (s - t)
        x = x + step * v
    return x


def heun(x: X, times: Sequence[float]) -> Steps[X]:
    """Second order, two evaluations a step: the mean of the slopes at both ends."""
    for t, s in pairwise(times):
        v = yield x, t
        w = yield x + (s - t) * v, s
        x = x + (s - t) * (v + w) / 2
    return x


def midpoint(x: X, times: Sequence[float]) -> Steps[X]:
    """Second order, two evaluations a step: the slope half-way."""
    for t, s in pairwise(times):
        half = (t + s) / 2
        v = yield x, t
        w = yield x + (half - t) * v, half
        x = x + (s - t) * w
    return x


def _log_snr(t: float) -> float:
    """lambda = log((1 - t) / t), infinite at both ends."""
    if t <= 0:
        return math.inf
    return -math.inf if t >= 1 else math.log((1 - t) / t)


def dpmpp_2m(x: X, times: Sequence[float]) -> Steps[X]:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095) with alpha = 1 - t and sigma = t.

    Second order with one evaluation a step: the clean estimate is extrapolated from the last two
    points in log-SNR. The first step and the last (where log-SNR is infinite) are first order.
    """
    before: tuple[X, float] | None = None
    for t, s in pairwise(times):
        v = yield x, t
        image = x - t * v  # as `path.denoised`, which needs arrays
        step = _log_snr(s) - _log_snr(t)
        target = image
        if before is not None and math.isfinite(before[1]) and math.isfinite(step):
            target = image + (step / before[1]) / 2 * (image - before[0])
        # sigma_s/sigma_t x + alpha_s (1 - e^-h) D, written so that t = 1 stays finite
        x = (s / t) * x + (1 - s / t) * target
        before = (image, step)
    return x


@dataclass(frozen=True)
class Solver:
    """One way to follow the path: `run` takes the noise and the times of the steps, and asks for
    `evaluations` velocities a step; its error falls with the `order`-th power of a step's length.
    """

    id: str
    run: Callable[[Any, Sequence[float]], Steps[Any]]
    order: int
    evaluations: int

    def times(self, times: Sequence[float]) -> list[float]:
        """When it asks for the velocity: that does not depend on the point where it is."""
        steps, found = self.run(0.0, times), []
        try:
            _, t = next(steps)
            while True:
                found.append(t)
                _, t = steps.send(0.0)
        except StopIteration:
            return found


EULER = Solver("euler", euler, order=1, evaluations=1)
EULER_IN_DTYPE = Solver("euler", euler_in_dtype, order=1, evaluations=1)
SOLVERS: dict[str, Solver] = {
    row.id: row
    for row in (
        EULER,
        Solver("heun", heun, order=2, evaluations=2),
        Solver("midpoint", midpoint, order=2, evaluations=2),
        Solver("dpmpp_2m", dpmpp_2m, order=2, evaluations=1),
    )
}
