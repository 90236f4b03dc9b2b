"""Searches for the best symbols of images of any sizes, by any method, within a number of steps or a time limit."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, ScalarLike, UInt8

from lic_jax.config import HYPER_STRIDE, LATENTS_PER_HYPER
from lic_jax.distortion.base import RateDistortion
from lic_jax.distortion.mse import mse
from lic_jax.encoding import cost, rounding
from lic_jax.encoding.choice import Choice, Latents, Symbols
from lic_jax.encoding.clock import Clock
from lic_jax.encoding.cost import ImageBatch
from lic_jax.encoding.descent import Descent, DescentState
from lic_jax.encoding.method import SearchSettings
from lic_jax.encoding.operating_point import OperatingPoint
from lic_jax.model import CodecModel
from lic_jax.registry import SEARCHES
from lic_jax.transforms.buckets import batches_of, stacked

BATCH_BLOCKS = 512
"""The most blocks in a batch of several images: two megapixels, whose gradients take half a gigabyte."""

LOOKS = 10
"""How many times a descent assesses the levels nearest to its latents, the end included."""

FINISHING_PASSES = 2
"""Passes of rounding after a descent, which leaves some latents a level off."""


class Start(NamedTuple):
    """An image, its y and z from the analysis, and its choice in one shot; both are batches of one."""

    pixels: UInt8[np.ndarray, "height width 3"]
    analysed: Latents
    one_shot: Choice


class Problem(NamedTuple):
    """The input of every search: the codec with its weights, a batch of images, and the rate."""

    model: CodecModel
    variables: dict
    images: ImageBatch
    point: OperatingPoint


class Solution(NamedTuple):
    """A choice for every image of a batch, and its cost."""

    choice: Choice
    cost: RateDistortion


class Found(NamedTuple):
    """The choice that a search found for an image, its cost by the coding tables' bits, and the cost of one shot."""

    choice: Choice
    cost: RateDistortion
    one_shot_cost: RateDistortion


nearest_choice = jax.jit(cost.nearest_choice, static_argnums=0)
assess = jax.jit(cost.assess, static_argnums=0)
improve = jax.jit(rounding.improve, static_argnums=0)
local_gains = jax.jit(rounding.local_gains, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def begin(descent: Descent, images: ImageBatch, point: OperatingPoint) -> DescentState:
    """Returns a descent's first state."""
    return descent.begin(images, point)


@partial(jax.jit, static_argnums=(0, 1))
def update(
    descent: Descent,
    model: CodecModel,
    variables: dict,
    images: ImageBatch,
    point: OperatingPoint,
    state: DescentState,
    progress: ScalarLike,
    steps: Int[Array, ""] | int,
) -> DescentState:
    """Returns a descent's next state.

    Args:
      progress: the fraction of the steps that are done.
      steps: the expected number of steps.
    """
    return descent.update(model, variables, images, point, state, progress, steps)


@jax.jit
def _better(old: Solution, new: Solution) -> Solution:
    """Takes, image by image, the new solution where it costs less."""
    wins = new.cost.objective < old.cost.objective
    choose = lambda new, old: jnp.where(jnp.expand_dims(wins, range(1, new.ndim)), new, old)
    return jax.tree.map(choose, new, old)


def search(
    model: CodecModel, variables: dict, starts: Sequence[Start], point: OperatingPoint, settings: SearchSettings
) -> list[Found]:
    """Searches for the best symbols of images of any sizes; images of about the same size are searched together.

    Args:
      model, variables: the codec's model and its weights.
      starts: the images.
      point: the quantizers and λ.
      settings: the method, its steps and its time.

    Returns:
      A choice for each image. By the coding tables' bits, it is never worse than one shot.

    Raises:
      LicError: a setting is invalid.
    """
    settings.check()
    shapes = [start.analysed.hyper_latent.shape for start in starts]
    extents = [(rows, columns) for _, rows, columns, _ in shapes]
    batches = list(batches_of(extents, BATCH_BLOCKS))
    clock = Clock(settings, len(batches))
    found: list = [None] * len(starts)
    for grid, positions in batches:
        images = batch_of([starts[position] for position in positions], grid)
        result = _search(Problem(model, variables, images, point), settings, clock)
        for row, position in enumerate(positions):
            costs = (RateDistortion(*(float(term[row]) for term in cost)) for cost in result[1:])
            found[position] = Found(_cut(result.choice, row, extents[position]), *costs)
        clock.next_batch()
    return found


def _search(problem: Problem, settings: SearchSettings, clock: Clock) -> Found:
    """Searches one batch."""
    method = SEARCHES[settings.method]
    if isinstance(method, Descent):
        bests = _descend(method, problem, clock)
    else:
        bests = _bests(_passes(jax.jit(method, static_argnums=0), problem, problem.images.one_shot, clock.turns()))
    best = one_shot = next(bests)
    clock.report(best.cost)
    for best in bests:
        clock.report(best.cost)
    return jax.tree.map(np.asarray, Found(best.choice, best.cost, one_shot.cost))


def _passes(improve: Callable, problem: Problem, choice: Choice, turns: Iterable) -> Iterator[Solution]:
    """Yields a choice, then the result of each pass over it.

    A pass decodes the choice that it starts from, so it also gives its cost. Only the last result is assessed apart.
    """
    for _ in turns:
        cost, following = jax.block_until_ready(improve(*problem, choice))
        yield Solution(choice, cost)
        choice = following
    yield Solution(choice, assess(*problem, choice))


def _descend(descent: Descent, problem: Problem, clock: Clock) -> Iterator[Solution]:
    """Yields the best so far: one shot, then after every step, then after the finishing passes."""
    best = Solution(problem.images.one_shot, assess(*problem, problem.images.one_shot))
    yield best
    state = begin(descent, problem.images, problem.point)
    looks = seen = 0
    while not clock.is_over:
        state = jax.block_until_ready(update(descent, *problem, state, clock.progress, clock.expected_steps))
        clock.tick()
        if int(LOOKS * clock.progress) > looks:
            looks, seen = int(LOOKS * clock.progress), clock.step
            best = _better(best, _nearest(problem, state.latents))
        yield best
    if seen < clock.step:
        best = _better(best, _nearest(problem, state.latents))
    if problem.point.distortion is mse:
        *_, best = _bests(_passes(improve, problem, best.choice, range(FINISHING_PASSES)))
    yield best


def _nearest(problem: Problem, latents: Latents) -> Solution:
    choice = nearest_choice(*problem, latents)
    return Solution(choice, assess(*problem, choice))


def _bests(solutions: Iterator[Solution]) -> Iterator[Solution]:
    """Yields the best so far, image by image; the earlier solution where two cost the same."""
    return itertools.accumulate(solutions, _better)


def batch_of(starts: Sequence[Start], grid: tuple[int, int]) -> ImageBatch:
    """Puts images of several sizes into arrays of one size, given in blocks."""

    def together(parts: Sequence[Array | np.ndarray], per_block: int) -> jax.Array:
        return jnp.asarray(stacked(parts, (per_block * grid[0], per_block * grid[1])))

    stack_latents = lambda parts: together(parts, LATENTS_PER_HYPER)
    analysed = [start.analysed for start in starts]
    choices = [start.one_shot for start in starts]
    symbols = [choice.symbols for choice in choices]
    return ImageBatch(
        together([start.pixels[None] for start in starts], HYPER_STRIDE),
        jnp.array([start.pixels.shape[:2] for start in starts], jnp.int32),
        Latents(stack_latents([y for y, _ in analysed]), together([z for _, z in analysed], 1)),
        Choice(
            Symbols(stack_latents([y for y, _ in symbols]), together([z for _, z in symbols], 1)),
            stack_latents([choice.mean for choice in choices]),
            stack_latents([choice.index for choice in choices]),
        ),
    )


def _cut(choice: Choice, row: int, extent: tuple[int, int]) -> Choice:
    """Returns one image's choice, cut to its size."""
    cut = lambda array, per_block: array[row : row + 1, : per_block * extent[0], : per_block * extent[1]]
    cut_latents = lambda array: cut(array, LATENTS_PER_HYPER)
    symbols = Symbols(cut_latents(choice.symbols.latent), cut(choice.symbols.hyper_latent, 1))
    return Choice(symbols, cut_latents(choice.mean), cut_latents(choice.index))
