"""The order in which the context prior codes a latent: groups of channels, each in a few passes over the positions.

The channels are in the order of their strength, so the first group holds the lowest frequencies. A group's first pass
sees the groups before it; a later pass also sees the group's own neighbours. No framework is imported here.
"""

import functools
from typing import NamedTuple

import numpy as np

from lic_jax.arrays import Bool


class Step(NamedTuple):
    """One stage of the prior: some channels at some positions.

    Attributes:
      name: the name of its parameters.
      first, last: the channels [first, last) that it codes.
      passes: the number of the group's passes over the positions: 1, 2 (a checkerboard) or 3 (from coarse to fine).
      number: the number of this pass.
      low: how many channels of lowest frequency are seen with their sign.
      means: how many of its channels have means: all, or none in the last group.
    """

    name: str
    first: int
    last: int
    passes: int
    number: int
    low: int
    means: int

    @property
    def channels(self) -> int:
        """The number of channels that it codes."""
        return self.last - self.first

    @property
    def share(self) -> float:
        """The share of all positions that it codes."""
        return float(positions(self.passes, self.number, 2, 2).mean())

    @property
    def known(self) -> int:
        """How many channels are known somewhere: those before the group, and the group's own after its first pass."""
        return self.last if self.number else self.first

    @property
    def known_low(self) -> int:
        """How many of these are seen with their sign."""
        return min(self.known, self.low)

    @property
    def outputs(self) -> int:
        """The number of its means and scales, for each position."""
        return self.means + self.channels

    @property
    def is_linear(self) -> bool:
        """Whether its means also follow linearly from the known channels of lowest frequency."""
        return self.known > 0 and self.means > 0


WINDOW = 3
"""A stage sees the positions of a window of 3×3."""

GROUPS = ((0.05, 3), (0.2, 2), (1.0, 2))
"""The groups of channels: (the share of all channels up to its end, its passes).

The last group, most of the channels, has no means: they would save nothing. So most of its latents are exactly zero,
and a synthesis can leave these out.
"""


@functools.lru_cache(maxsize=16)
def steps(channels: int) -> tuple[Step, ...]:
    """Returns the stages of a latent with this many channels."""
    ends = [max(index + 1, round(share * channels)) for index, (share, _) in enumerate(GROUPS)]
    ends = [min(end, channels - (len(GROUPS) - 1 - index)) for index, end in enumerate(ends)]
    found: list[Step] = []
    for first, last, (_, passes) in zip((0, *ends), ends, GROUPS, strict=False):
        means = last - first if last < channels else 0
        found += [
            Step(f"stage_{len(found) + number}", first, last, passes, number, ends[0], means)
            for number in range(passes)
        ]
    return tuple(found)


def mean_channels(channels: int) -> int:
    """Returns how many channels, the first ones, have means."""
    return max(step.last for step in steps(channels) if step.means)


def positions(passes: int, number: int, rows: int, columns: int) -> Bool[np.ndarray, "rows columns"]:
    """Returns the positions that a pass codes, in a field of this size.

    Two passes are the two colours of a checkerboard. Three go from coarse to fine: every other row and column, the
    positions with four such neighbours at their corners, then those between.
    """
    row, column = np.indices((rows, columns)) % 2
    colour = (row + column) % 2
    if passes == 1:
        return np.ones((rows, columns), bool)
    if passes == 2:
        return colour == number
    return (row == 0) & (column == 0) if number == 0 else (row == 1) & (column == 1) if number == 1 else colour == 1


@functools.lru_cache(maxsize=16)
def masks(rows: int, columns: int, channels: int) -> tuple[Bool[np.ndarray, "1 rows columns channels"], ...]:
    """Returns the positions and channels that each stage codes."""
    found = []
    for step in steps(channels):
        mask = np.zeros((1, rows, columns, channels), bool)
        mask[0, ..., step.first : step.last] = positions(step.passes, step.number, rows, columns)[..., None]
        mask.setflags(write=False)
        found.append(mask)
    return tuple(found)
