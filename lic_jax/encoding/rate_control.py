"""Finds the rate at which an image's stream has a given size or quality.

The logarithm of an image's bytes, and its PSNR, are nearly straight lines over the rate. So a few probes find the rate;
each probe quantizes and codes the image at another rate. Nothing here knows a codec: the search calls a function from a
rate, in the units of 1/256 that streams store, to a stream.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from lic_jax.errors import LicError
from lic_jax.quantization.fixed_point import RATE_UNITS

PASSES = 8
"""The most times that an image is quantized and coded."""

BPP_TOLERANCE = 0.01
"""A stream hits a target in bits per pixel if it misses by at most this share of the target."""

PSNR_TOLERANCE = 0.05
"""A stream hits a target PSNR if it misses by at most this many dB."""

_LOSSLESS = 100.0
"""The PSNR in dB that stands for the infinite one of an image without error."""

_WORD = 4
"""Sizes of an image's streams differ by multiples of this many bytes: if fewer are left, no larger stream fits."""

_LOG_BYTES_SLOPE = 0.35 / RATE_UNITS
_PSNR_SLOPE = 1.8 / RATE_UNITS
"""How ln(bytes) and PSNR rise with a unit of rate, on average over Kodak; other images need another probe."""

_OVERSHOOT = 1.2
"""The second probe goes further than the slope says by this factor, so that the target lies between the two."""

Code = Callable[[int], bytes]
"""Maps a rate in units of 1/256, from 0 to the highest one, to the image's stream."""


class TooFewBytesError(LicError):
    """No stream of the image is small enough."""


class Found(NamedTuple):
    """A stream and, if it misses the target, a warning of one line."""

    stream: bytes
    warning: str | None = None


def with_bpp(code: Code, highest_units: int, bpp: float, pixels: int, start: int | None = None) -> Found:
    """Finds a stream of `bpp` bits per pixel, to 1 %, or the nearest.

    Args:
      code: the image's stream at each rate.
      highest_units: the highest rate.
      bpp: the target in bits per pixel, header included.
      pixels: the image's number of pixels.
      start: the rate to try first.

    Raises:
      LicError: bpp is not a positive number.
    """
    _check_positive("bpp", bpp)
    goal = Goal(
        lambda stream: math.log(8 * len(stream) / pixels),
        math.log(bpp),
        math.log(bpp * (1 - BPP_TOLERANCE)),
        math.log(bpp * (1 + BPP_TOLERANCE)),
        _LOG_BYTES_SLOPE,
    )
    return _nearest(code, highest_units, goal, lambda log_bpp: f"{math.exp(log_bpp):.3g} bpp", start)


def with_psnr(
    code: Code, highest_units: int, psnr: float, psnr_of: Callable[[bytes], float], start: int | None = None
) -> Found:
    """Finds a stream that decodes to an image of this PSNR, to 0.05 dB, or the nearest.

    Args:
      code: the image's stream at each rate.
      highest_units: the highest rate.
      psnr: the target in dB.
      psnr_of: a stream → the PSNR of its decoded image against the original, in dB.
      start: the rate to try first.

    Raises:
      LicError: psnr is not a positive number.
    """
    _check_positive("psnr", psnr)
    goal = Goal(
        lambda stream: min(psnr_of(stream), _LOSSLESS),
        psnr,
        psnr - PSNR_TOLERANCE,
        psnr + PSNR_TOLERANCE,
        _PSNR_SLOPE,
    )
    return _nearest(code, highest_units, goal, lambda value: f"{value:.2f} dB", start)


def within_bytes(code: Code, highest_units: int, max_bytes: int, start: int | None = None) -> Found:
    """Finds the largest stream of at most `max_bytes`; with a `start`, a stream of 99 % of them is enough.

    Where a stream shrinks although its rate rises, a larger stream that also fits may be missed.

    Args:
      code: the image's stream at each rate.
      highest_units: the highest rate.
      max_bytes: the limit, never exceeded.
      start: the rate to try first.

    Raises:
      LicError: max_bytes is not a positive number.
      TooFewBytesError: even the smallest stream is larger.
    """
    _check_positive("max_bytes", max_bytes)
    limit = math.log(max_bytes)
    enough = max_bytes - _WORD + 1 if start is None else (1 - BPP_TOLERANCE) * max_bytes
    goal = Goal(
        lambda stream: math.log(len(stream)),
        limit if start is None else limit - BPP_TOLERANCE / 2,
        math.log(enough) if enough > 0 else limit,
        limit,
        _LOG_BYTES_SLOPE,
    )
    probes = search(code, highest_units, goal, start)
    fitting = [probe for probe in probes if len(probe.stream) <= max_bytes]
    if not fitting:
        smallest = min(len(probe.stream) for probe in probes)
        raise TooFewBytesError(
            f"{max_bytes} bytes are too few for this image: its smallest stream has {smallest}; "
            "allow that many or make the image smaller"
        )
    return Found(max(fitting, key=lambda probe: (len(probe.stream), probe.rate_units)).stream)


class Goal(NamedTuple):
    """The target of a search.

    Attributes:
      value_of: a stream → its value, which is finite and mostly rises with the rate.
      target: the wanted value.
      lowest, highest: the range of values that are as good.
      slope: about how much the value rises with a unit of rate.
    """

    value_of: Callable[[bytes], float]
    target: float
    lowest: float
    highest: float
    slope: float

    def is_hit_by(self, value: float) -> bool:
        """Returns whether a stream of this value hits the target."""
        return self.lowest <= value <= self.highest


class Probe(NamedTuple):
    """An image coded at a rate, and the value of the stream."""

    rate_units: int
    stream: bytes
    value: float


def _probe(code: Code, rate_units: int, goal: Goal) -> Probe:
    stream = code(rate_units)
    return Probe(rate_units, stream, goal.value_of(stream))


class _End(NamedTuple):
    """An end of the bracket: a rate, and how far its value is from the target; `None` if it was not probed."""

    rate_units: int
    error: float | None = None

    def halved(self) -> "_End":
        return self if self.error is None else _End(self.rate_units, self.error / 2)


def search(code: Code, highest_units: int, goal: Goal, start: int | None = None) -> list[Probe]:
    """Probes rates ever closer to the rate at which the value crosses its target.

    Regula falsi in the form called Illinois (Dowell & Jarratt, BIT 1971): an end of the bracket that stays for a second
    time counts half. The lower end always falls short of the target and the upper one always exceeds it. So the value
    crosses the target between them, however it rises and falls there.

    Args:
      code: the image's stream at each rate.
      highest_units: the highest rate.
      goal: the target.
      start: the rate to try first; the middle one if none is given.

    Returns:
      The probes in order, at most `PASSES`. The last one is a hit with three exceptions: no hit lies between two
      neighbouring rates, the target lies beyond the rates (the probes then include that end), the passes are spent.
    """
    probes: list[Probe] = []
    below, above = _End(-1), _End(highest_units + 1)
    while above.rate_units - below.rate_units > 1 and len(probes) < PASSES:
        position = round(_expected_crossing(probes, below, above, goal)) if start is None or probes else start
        position = min(max(position, below.rate_units + 1), above.rate_units - 1)
        probes.append(_probe(code, position, goal))
        if goal.is_hit_by(probes[-1].value):
            break
        error = probes[-1].value - goal.target
        end = _End(position, error)
        same_side = not _enclose(probes[-2:], goal)
        if error > 0:
            below, above = below.halved() if same_side else below, end
        else:
            below, above = end, above.halved() if same_side else above
    return probes


def _expected_crossing(probes: list[Probe], below: _End, above: _End, goal: Goal) -> float:
    """Returns the next rate: the middle, then along the usual slope, then an end; between probed ends, a line."""
    if below.error is not None and above.error is not None:
        share = below.error / (below.error - above.error)
        return below.rate_units + share * (above.rate_units - below.rate_units)
    if not probes:
        return (below.rate_units + above.rate_units) / 2
    if len(probes) == 1:
        return probes[0].rate_units + _OVERSHOOT * (goal.target - probes[0].value) / goal.slope
    return above.rate_units if above.error is None else below.rate_units


def _nearest(code: Code, highest_units: int, goal: Goal, in_words: Callable[[float], str], start: int | None) -> Found:
    """Finds the stream whose value is nearest to the target, with a warning if it misses.

    To name the image's range, both its ends are coded. With a `start`, they are not: the search that found the start
    has named the range already.
    """
    probes = search(code, highest_units, goal, start)
    if start is None and not goal.is_hit_by(probes[-1].value) and not _enclose(probes, goal):
        unseen_ends = {0, highest_units} - {probe.rate_units for probe in probes}
        probes += [_probe(code, rate_units, goal) for rate_units in unseen_ends]
    nearest = min(probes, key=lambda probe: abs(probe.value - goal.target))
    asked, given = in_words(goal.target), in_words(nearest.value)
    if goal.is_hit_by(nearest.value):
        return Found(nearest.stream)
    if _enclose(probes, goal):
        return Found(nearest.stream, f"no rate of this image has {asked}; {given} is the nearest that was found")
    if start is not None:
        return Found(nearest.stream, f"with iterations, it gets {given}")
    values = [probe.value for probe in probes]
    lowest, highest = in_words(min(values)), in_words(max(values))
    return Found(nearest.stream, f"{asked} is outside of this image's range, {lowest} to {highest}; it gets {given}")


def _enclose(probes: list[Probe], goal: Goal) -> bool:
    """Returns whether the target lies between the values of probes."""
    return len({probe.value > goal.target for probe in probes}) == 2


def check_wishes(**wishes: float | None) -> None:
    """Raises LicError if more than one of rate, bpp, psnr and max_bytes is given, or a target is not positive."""
    given = {name: wish for name, wish in wishes.items() if wish is not None}
    if len(given) > 1:
        raise LicError(f"{' and '.join(given)} are given; give only one of {', '.join(wishes)}")
    for name, wish in given.items():
        if name != "rate":
            _check_positive(name, wish)


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise LicError(f"{name} is {value}; give a positive number")
