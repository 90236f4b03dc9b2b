"""The settings of a search, as data. Imports no framework, because the command line reads it."""

from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

from lic_jax.errors import LicError
from lic_jax.registry import SEARCHES

if TYPE_CHECKING:
    from lic_jax.distortion.base import Distortion


class Progress(NamedTuple):
    """The progress of a search and its best result so far: means over the images that are searched together.

    `bpp` and `psnr_db` (of the mean error) are the receiver's, except for some bytes of overhead; `objective` is
    bpp + λ · MSE. Steps are counted over all batches.
    """

    step: int
    steps: int
    bpp: float
    psnr_db: float
    objective: float


Report = Callable[[Progress], bool | None]
"""Called after every step; where it returns True, the search stops with the best so far."""


class SearchSettings(NamedTuple):
    """The settings of a search.

    Attributes:
      iterations: steps, or passes of "rounding".
      method: a name in `registry.SEARCHES`.
      time_limit: seconds until the result; the schedules follow the time if it ends before the steps do. Compiling may
        exceed it.
      report: called with the progress.
      distortion: the distortion that λ weighs: a name in `registry.DISTORTIONS` or a function; the model's own if None.
      rd_lambda: λ for a distortion other than the model's; the rate's own λ if None.
    """

    iterations: int
    method: str = "sga"
    time_limit: float | None = None
    report: Report | None = None
    distortion: "str | Distortion | None" = None
    rd_lambda: float | None = None

    def check(self) -> None:
        """Raises LicError if a setting is invalid."""
        if not isinstance(self.iterations, Integral):
            raise LicError(f"iterations is {self.iterations}; give a whole number, 0 for encoding in one shot")
        if self.iterations < 0:
            raise LicError(f"iterations is {self.iterations}; give 0 for encoding in one shot, or more")
        SEARCHES.check(self.method)
        if self.time_limit is not None and not self.time_limit > 0:
            raise LicError(f"the time limit is {self.time_limit:g} seconds; give a positive number")
