"""How to search, as data. No framework is imported here: the command line reads it."""

from collections.abc import Callable
from numbers import Integral
from typing import Literal, NamedTuple, get_args

from lic_jax.errors import LicError, unknown_name

MethodName = Literal["sga", "refinement", "rounding"]
"""Stochastic Gumbel annealing, gradient descent, or rounding by rate and distortion."""


class Progress(NamedTuple):
    """How far a search is, and the best that it has seen: means over the images that are searched together.

    `bpp` and `psnr_db` (of the mean error) are what a receiver will find but for some bytes of overhead; `objective` is
    bpp + λ · MSE. Steps are counted over all batches.
    """

    step: int
    steps: int
    bpp: float
    psnr_db: float
    objective: float


Report = Callable[[Progress], bool | None]
"""Is told after every step; a search whose report answers True stops with the best so far."""


class Settings(NamedTuple):
    """How to search.

    Attributes:
      iterations: steps, or passes of "rounding".
      method: one of `MethodName`.
      time_limit: seconds after which there is a result; the schedules then follow the time, if that ends first.
        What has to be compiled takes its time all the same.
      report: is told of progress.
    """

    iterations: int
    method: MethodName = "sga"
    time_limit: float | None = None
    report: Report | None = None

    def check(self) -> None:
        """Raises LicError unless there can be such a search."""
        if not isinstance(self.iterations, Integral):
            raise LicError(f"{self.iterations} iterations are no whole number; give one, 0 for encoding in one shot")
        if self.iterations < 0:
            raise LicError(f"{self.iterations} iterations are negative; give 0 for encoding in one shot, or more")
        if self.method not in get_args(MethodName):
            raise unknown_name("search method", self.method, get_args(MethodName))
        if self.time_limit is not None and not self.time_limit > 0:
            raise LicError(f"a time limit of {self.time_limit:g} seconds leaves no time; give more")
