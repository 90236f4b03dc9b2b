"""How to search, as data. No framework is imported here: the command line reads it."""

from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

from lic_jax.errors import LicError
from lic_jax.registry import SEARCHES

if TYPE_CHECKING:
    from lic_jax.distortion.base import Distortion


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


class SearchSettings(NamedTuple):
    """How to search.

    Attributes:
      iterations: steps, or passes of "rounding".
      method: a name in `registry.SEARCHES`.
      time_limit: seconds after which there is a result; the schedules then follow the time, if that ends first.
        What has to be compiled takes its time all the same.
      report: is told of progress.
      distortion: what λ weighs, a name in `registry.DISTORTIONS` or a function; the model's own if None.
      rd_lambda: λ, for a distortion other than the model's; that of the rate if None.
    """

    iterations: int
    method: str = "sga"
    time_limit: float | None = None
    report: Report | None = None
    distortion: "str | Distortion | None" = None
    rd_lambda: float | None = None

    def check(self) -> None:
        """Raises LicError unless there can be such a search."""
        if not isinstance(self.iterations, Integral):
            raise LicError(f"{self.iterations} iterations are no whole number; give one, 0 for encoding in one shot")
        if self.iterations < 0:
            raise LicError(f"{self.iterations} iterations are negative; give 0 for encoding in one shot, or more")
        SEARCHES.check(self.method)
        if self.time_limit is not None and not self.time_limit > 0:
            raise LicError(f"a time limit of {self.time_limit:g} seconds leaves no time; give more")
