"""Sides that are timed in turn, and what their times say."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Times:
    """Seconds that one side needed in each round: by the clock, and of all its threads' processor
    time, which other work on the machine disturbs less."""

    clock: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, work: Callable[[], object]) -> None:
        """Run it once and note what it took."""
        clock, cpu = time.perf_counter(), time.process_time()
        work()
        self.clock.append(time.perf_counter() - clock)
        self.cpu.append(time.process_time() - cpu)

    def milliseconds(self) -> dict[str, float]:
        """The least and the median of both."""
        clock, cpu = ([1000 * one for one in each] for each in (self.clock, self.cpu))
        return {
            "least_ms": min(clock),
            "median_ms": statistics.median(clock),
            "least_cpu_ms": min(cpu),
            "median_cpu_ms": statistics.median(cpu),
        }


def take_turns(
    sides: Mapping[str, Callable[[], object]], rounds: int, warm: int = 0
) -> dict[str, Times]:
    """Time all sides in turn (A B A B), so that a busy machine slows each of them; the first `warm`
    rounds are not counted."""
    times: dict[str, Times] = {}
    for turn in range(warm + rounds):
        if turn == warm:
            times = {side: Times() for side in sides}
        for side, work in sides.items():
            times.setdefault(side, Times()).add(work)
    return times


def paired_median(ours: list[float], theirs: list[float]) -> float:
    """The median of ours over theirs, round by round: what slows a whole round is in neither."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
