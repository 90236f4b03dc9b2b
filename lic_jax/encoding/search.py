"""The search for an image's symbols: by any method, for as long as asked, on images of any sizes; the best is kept."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from lic_jax.config import HYPER_STRIDE, LATENTS_PER_HYPER
from lic_jax.encoding import refinement, rounding, sga
from lic_jax.encoding.objective import (
    ImageBatch,
    Latents,
    OperatingPoint,
    RateDistortion,
    Solution,
    Symbols,
    nearest_solution,
)
from lic_jax.encoding.settings import Progress, Settings
from lic_jax.model import CodecModel
from lic_jax.transforms.buckets import batches_of, stacked

BATCH_BLOCKS = 512
"""A batch of more than one image has at most so many blocks: two megapixels, whose gradients take half a gigabyte."""

LOOKS = 10
"""How often a search looks at where it stands, the end included."""


class Method(NamedTuple):
    """A way to search, as pure functions. A state has `latents`; what it stands for are the levels nearest to them.

    Attributes:
      begin: images → state.
      update: (model, variables, images, point, state, progress, steps) → state.
      passes: of "rounding", which finish the search: a descent that ends at levels leaves some a level off.
    """

    begin: Callable
    update: Callable
    passes: int


METHODS = {
    "rounding": Method(rounding.begin, rounding.update, passes=0),
    "refinement": Method(refinement.begin, refinement.update, passes=2),
    "sga": Method(sga.begin, sga.update, passes=2),
}


class Found(NamedTuple):
    """What a search found for an image: symbols, what they cost by the coding tables' bits, and what one shot costs."""

    symbols: Symbols
    cost: RateDistortion
    one_shot_cost: RateDistortion


class Start(NamedTuple):
    """An image, what the analysis made of it (y and z), and what one shot makes of that (ŷ and ẑ); a batch of one."""

    pixels: UInt8[np.ndarray, "height width 3"]
    analysed: Latents
    one_shot: Latents


look = jax.jit(nearest_solution, static_argnums=0)
"""`objective.nearest_solution`, compiled."""


@partial(jax.jit, static_argnums=0)
def begin(method: Method, images: ImageBatch):
    """A method's first state."""
    return method.begin(images)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=5)
def update(method: Method, model: CodecModel, variables: dict, images: ImageBatch, point, state, progress, steps):
    """A method's next state; the last one's memory is used again."""
    return method.update(model, variables, images, point, state, progress, steps)


@jax.jit
def _better(new: Solution, old: Solution) -> Solution:
    """Image by image, the new one where it costs less."""
    wins = new.cost.objective < old.cost.objective
    choose = lambda new, old: jnp.where(jnp.expand_dims(wins, range(1, new.ndim)), new, old)
    return jax.tree.map(choose, new, old)


_STEPS_TO_FINISH = 8
"""Another step, the passes that finish, coding and decoding take about as long as so many steps."""


class _Clock:
    """Tells a search how far it is, and when to stop so as to end in time; each batch has its share of the time."""

    def __init__(self, steps: int, batches: int, seconds: float | None):
        self._steps, self._batches = steps, batches
        self._deadline = None if seconds is None else time.perf_counter() + seconds
        self._batch, self._stopped = -1, False
        self.next_batch()

    def next_batch(self) -> None:
        self._batch += 1
        self.step, self._step_s = 0, 0.0
        self._started = self._last_tick = time.perf_counter()

    def tick(self) -> None:
        """A step is done. The first one's time is not typical: what was not compiled yet was compiled in it."""
        now = time.perf_counter()
        self._step_s = now - self._last_tick if self.step else 0.0
        self._last_tick = now
        self.step += 1

    @property
    def progress(self) -> float:
        """The fraction of the steps that are done, or of the time that has passed, whichever is more."""
        of_time = 0.0 if self._deadline is None else (self._last_tick - self._started) / max(self._seconds, 1e-9)
        return min(max(self.step / self._steps, of_time), 1.0)

    @property
    def expected_steps(self) -> int:
        """How many steps there will be, by the time that the last one took."""
        if self._deadline is None or self._step_s == 0:
            return self._steps
        return min(self._steps, max(1, round(self._seconds / self._step_s)))

    @property
    def is_over(self) -> bool:
        """Whether the batch has had its steps or its time, or someone asked to stop."""
        out_of_time = (
            self._deadline is not None
            and self._last_tick + _STEPS_TO_FINISH * self._step_s > self._started + self._seconds
        )
        return self._stopped or self.step == self._steps or out_of_time

    @property
    def _seconds(self) -> float:
        return (self._deadline - self._started) / (self._batches - self._batch)

    def report(self, settings: Settings, cost: RateDistortion) -> None:
        """Tells how far the search is and what its best costs."""
        if settings.report is None:
            return
        objective, bpp, mse = (float(jnp.mean(term)) for term in cost)
        step, steps = self._batch * self._steps + self.step, self._batches * self._steps
        if settings.report(Progress(step, steps, bpp, psnr_of(mse), objective)):
            self._stopped = True


def search(
    model: CodecModel, variables: dict, starts: Sequence[Start], point: OperatingPoint, settings: Settings
) -> list[Found]:
    """The best symbols seen for images of any sizes; those of about the same size are searched together.

    Args:
      model, variables: of the codec, with its weights.
      starts: the images.
      point: the quantizers and λ.
      settings: how.

    Returns:
      For each image symbols which, by the coding tables' bits, are never worse than those of one shot.

    Raises:
      LicError: settings that make no sense.
    """
    settings.check()
    extents = [start.one_shot.hyper_latent.shape[1:3] for start in starts]
    batches = list(batches_of(extents, BATCH_BLOCKS))
    clock = _Clock(settings.iterations, len(batches), settings.time_limit)
    found: list = [None] * len(starts)
    for grid, positions in batches:
        images = batch_of([starts[position] for position in positions], grid)
        of_batch = _search(model, variables, images, point, settings, clock)
        for row, position in enumerate(positions):
            costs = (RateDistortion(*(float(term[row]) for term in cost)) for cost in of_batch[1:])
            found[position] = Found(_cut(of_batch.symbols, row, extents[position]), *costs)
        clock.next_batch()
    return found


def _search(
    model: CodecModel, variables: dict, images: ImageBatch, point: OperatingPoint, settings: Settings, clock: _Clock
) -> Found:
    """What is found for one batch."""
    method, problem = METHODS[settings.method], (variables, images, point)
    one_shot = best = look(model, *problem, images.one_shot)
    state = begin(method, images)
    look_every = -(-settings.iterations // LOOKS)
    clock.report(settings, best.cost)
    while not clock.is_over:
        state = update(method, model, *problem, state, clock.progress, clock.expected_steps)
        jax.block_until_ready(state)
        clock.tick()
        if clock.step % look_every == 0:
            best = _better(look(model, *problem, state.latents), best)
        clock.report(settings, best.cost)
    if clock.step % look_every:
        best = _better(look(model, *problem, state.latents), best)
    if method.passes:
        best = _finished(method.passes, model, problem, best)
    clock.report(settings, best.cost)
    return jax.tree.map(np.asarray, Found(best.symbols, best.cost, one_shot.cost))


def _finished(passes: int, model: CodecModel, problem: tuple, best: Solution) -> Solution:
    """The best after some passes of "rounding"."""
    _, images, _ = problem
    state = begin(METHODS["rounding"], images.replace(one_shot=best.latents))
    for number in range(passes):
        state = update(METHODS["rounding"], model, *problem, state, number / passes, passes)
        best = _better(look(model, *problem, state.latents), best)
    return best


def psnr_of(mse: float) -> float:
    """In dB, of a mean squared error on the 0–255 scale."""
    return 10 * math.log10(255.0**2 / max(mse, 1e-10))


def batch_of(starts: Sequence[Start], grid: tuple[int, int]) -> ImageBatch:
    """Images of several sizes in arrays of one, which is given in blocks."""
    of_size = lambda arrays, rows: jnp.asarray(stacked(arrays, (rows * grid[0], rows * grid[1])))
    latents = lambda parts: Latents(
        of_size([part.latent for part in parts], LATENTS_PER_HYPER), of_size([part.hyper_latent for part in parts], 1)
    )
    return ImageBatch(
        of_size([start.pixels[None] for start in starts], HYPER_STRIDE),
        jnp.array([start.pixels.shape[:2] for start in starts], jnp.int32),
        latents([start.analysed for start in starts]),
        latents([start.one_shot for start in starts]),
    )


def _cut(symbols: Symbols, row: int, extent: tuple[int, int]) -> Symbols:
    """One image's symbols without what lies beyond it."""
    return Symbols(
        *(
            of_part[row : row + 1, : per_block * extent[0], : per_block * extent[1]]
            for of_part, per_block in zip(symbols, (LATENTS_PER_HYPER, 1), strict=True)
        )
    )
