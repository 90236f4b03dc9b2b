"""Looks inside a model in training: units that never fire, entries at a floor, channels whose means matter.

Layers that rectify report the largest activation of each unit in Flax's collection "activity" (`transforms.module`). A
unit that is zero for every crop has no gradient, so it stays dead; the same holds for an entry at its floor.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt8

from lic_jax.distortion.base import to_network_domain
from lic_jax.model import CodecModel
from lic_jax.transforms.description import PEDESTAL
from lic_jax.zoo.weights import flatten

MEAN_MATTERS = 0.1
"""A channel's means matter if they are larger than this on average."""

_MANY = 0.25
"""A layer of which more than this share is dead has stalled."""


class Part(NamedTuple):
    """How many of a layer's units never fire, or how many of its entries are at their floor."""

    name: str
    idle: int
    total: int


class Health(NamedTuple):
    """The state of a model in training.

    Attributes:
      units: the rectifying layers.
      floors: the normalizations.
      means: how many channels have means that matter.
      channels: how many there are.
    """

    units: tuple[Part, ...]
    floors: tuple[Part, ...]
    means: int
    channels: int

    @property
    def dead_units(self) -> int:
        """The units that never fire, in all layers."""
        return sum(part.idle for part in self.units)

    @property
    def at_floor(self) -> int:
        """The entries at their floor, in all normalizations."""
        return sum(part.idle for part in self.floors)

    def __str__(self) -> str:
        sentences = []
        for parts, what in ((self.units, "units never fire"), (self.floors, "entries are at their floor")):
            named = ", ".join(f"{part.name} {part.idle}" for part in parts if part.idle)
            total = sum(part.total for part in parts)
            if total:
                idle = sum(part.idle for part in parts)
                sentences.append(f"{idle} of {total} {what}" + (f" ({named})" if named else ""))
        return "; ".join([*sentences, f"{self.means} of {self.channels} channels have means above {MEAN_MATTERS}"])

    def stalled(self) -> list[str]:
        """Names the layers that hardly learn any more, with what to do."""
        return [
            f"{part.name} has stalled: {part.idle} of its {part.total} {what}; {remedy}"
            for parts, what, remedy in (
                (self.units, "units never fire", "start again with a lower learning rate"),
                (self.floors, "entries are at their floor", "a gain (two_layer_gain) has none"),
            )
            for part in parts
            if part.idle > _MANY * part.total
        ]


def inspect(model: CodecModel, params: dict, crops: UInt8[Array, "count height width 3"]) -> Health:
    """Looks at a model on some crops.

    Args:
      model, params: the anchor in training.
      crops: sides a multiple of 64.
    """
    activity, means = _activity(model, params, crops)
    units = []
    for path, leaves in jax.tree_util.tree_flatten_with_path(activity, is_leaf=lambda leaf: isinstance(leaf, tuple))[0]:
        name = "/".join(str(key.key) for key in path[:-1])
        for number, largest in enumerate(leaves):
            of_layer = f"{name} {number}" if len(leaves) > 1 else name
            units.append(Part(of_layer, int(jnp.sum(largest <= 0)), largest.size))
    floors = [
        Part(name, int(jnp.sum(leaf < PEDESTAL**0.5)), leaf.size)
        for name, leaf in flatten(params).items()
        if name.endswith("gamma_root")
    ]
    return Health(tuple(units), tuple(floors), int(jnp.sum(means > MEAN_MATTERS)), means.size)


@functools.partial(jax.jit, static_argnums=0)
def _activity(model: CodecModel, params: dict, crops: Array) -> tuple[dict, Array]:
    """Returns the largest activation of each unit, by layer, and the mean |μ| of each channel."""

    def through(module: CodecModel, image: Array) -> Array:
        latent, hyper_latent = module.encode(image)
        decide = lambda mean, _: jnp.round(latent - mean)
        _, mean, _ = module.predict(jnp.round(hyper_latent), decide)
        return jnp.mean(jnp.abs(mean), axis=(0, 1, 2))

    image = to_network_domain(crops)
    means, changed = model.apply({"params": params}, image, method=through, mutable=["activity"])
    return changed.get("activity", {}), means
