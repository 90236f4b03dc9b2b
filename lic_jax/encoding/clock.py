"""The time of a search: its progress, its deadline and its reports."""

import math
import time
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from lic_jax.distortion.base import RateDistortion, psnr
from lic_jax.encoding.method import Progress, SearchSettings

_STEPS_TO_FINISH = 8
"""Time reserved for finishing, in search steps: another step, the last passes, coding and decoding."""


class Clock:
    """Tells a search its progress and when it must stop. The remaining batches share the remaining time equally."""

    def __init__(self, settings: SearchSettings, batches: int):
        self._steps, self._batches, self._report = settings.iterations, batches, settings.report
        self._deadline = None if settings.time_limit is None else time.perf_counter() + settings.time_limit
        self._batch, self._stopped = -1, False
        self.next_batch()

    def next_batch(self) -> None:
        """Starts the next batch's steps and time."""
        self._batch += 1
        self.step, self._step_s = 0, 0.0
        self._started = self._last_tick = time.perf_counter()

    def tick(self) -> None:
        """Counts a step as done. The first step's time is ignored, because it may include compiling."""
        now = time.perf_counter()
        self._step_s = now - self._last_tick if self.step else 0.0
        self._last_tick = now
        self.step += 1

    def turns(self) -> Iterator[None]:
        """Yields once for each step until the search is over. A step counts as done when the next one is requested."""
        while not self.is_over:
            yield
            self.tick()

    @property
    def progress(self) -> float:
        """The fraction of the steps that are done, or of the time that has passed, whichever is larger."""
        time_progress = 0.0 if self._deadline is None else (self._last_tick - self._started) / max(self._seconds, 1e-9)
        return min(max(self.step / self._steps, time_progress), 1.0)

    @property
    def expected_steps(self) -> int:
        """The expected number of steps, judged by the last step's time."""
        if self._deadline is None or self._step_s == 0:
            return self._steps
        return min(self._steps, max(1, round(self._seconds / self._step_s)))

    @property
    def is_over(self) -> bool:
        """Whether the batch has used its steps or its time, or a report asked to stop."""
        out_of_time = (
            self._deadline is not None
            and self._last_tick + _STEPS_TO_FINISH * self._step_s > self._started + self._seconds
        )
        return self._stopped or self.step >= self._steps or out_of_time

    @property
    def _seconds(self) -> float:
        if self._deadline is None:
            return math.inf
        return (self._deadline - self._started) / (self._batches - self._batch)

    def report(self, cost: RateDistortion) -> None:
        """Reports the progress and the best cost so far; a report that returns True stops the search."""
        if self._report is None:
            return
        objective, bpp, mse = (float(jnp.mean(term)) for term in (cost.objective, cost.bpp, cost.mse))
        step, steps = self._batch * self._steps + self.step, self._batches * self._steps
        if self._report(Progress(step, steps, bpp, float(psnr(np.float64(mse))), objective)):
            self._stopped = True
