"""Measures how long the event loop lets everybody wait: what a stranger may hold up is measured
here."""

import asyncio
import time

BEAT_S = 0.02


class Pulse:
    """One for each server. `longest_s` is the longest pause since it began to beat, `work_s` the
    most that the loop itself computed between two beats: the rest of a pause was others', on a
    machine that is busy."""

    def __init__(self) -> None:
        self.longest_s = self.work_s = 0.0

    async def run(self) -> None:
        """Beat until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due, worked = clock() + BEAT_S, time.thread_time()
            await asyncio.sleep(BEAT_S)
            self.longest_s = max(self.longest_s, clock() - due)
            self.work_s = max(self.work_s, time.thread_time() - worked)
