"""What a model costs: parameters, multiplications and additions per pixel, counted from its layers.

Counted as the published figures are: the products and sums of convolutions and of GDN's matrices, biases, and GDN's own
scaling; activations, residual sums and the padding of images are left out.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lic_jax.config import HYPER_STRIDE, ModelConfig
from lic_jax.model import model_of
from lic_jax.transforms.layers import Convolution, LayerCall, TransposedConvolution, layer_calls

_SIDE = 4 * HYPER_STRIDE
"""Of the image that costs are counted for; per pixel they are the same for all images that need no padding."""


class Cost(NamedTuple):
    """Parameters, and operations per pixel of the image."""

    parameters: int
    multiplications: float
    additions: float

    @property
    def flops(self) -> float:
        """Multiplications and additions counted apart, per pixel."""
        return self.multiplications + self.additions

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(mine + others for mine, others in zip(self, other, strict=True)))


NOTHING = Cost(0, 0, 0)


def layer_cost(call: LayerCall) -> Cost:
    """The cost of one layer's call on an image of 256×256 pixels, per pixel."""
    *_, in_height, in_width, in_channels = call.input_shape
    *_, out_height, out_width, out_channels = call.output_shape
    positions = out_height * out_width
    pixels = _SIDE**2
    if isinstance(call.layer, Convolution | TransposedConvolution):
        weights = call.layer.kernel_size**2 * in_channels * out_channels
        products = weights * (positions if isinstance(call.layer, Convolution) else in_height * in_width)
        return Cost(weights + out_channels, products / pixels, (products + positions * out_channels) / pixels)
    weights = in_channels**2
    operations = positions * (weights + in_channels) / pixels
    return Cost(weights + in_channels, operations, operations)


def complexity(config: ModelConfig) -> dict[str, Cost]:
    """The cost of each transform that the model has, in the order of the signal path.

    Decoding is hyper synthesis and synthesis; encoding is analysis, hyper analysis and hyper synthesis.
    """
    model = model_of(dataclasses.replace(config, hyper_arithmetic="float"))
    calls = layer_calls(model.init, jax.random.key(0), jnp.zeros((1, _SIDE, _SIDE, 3)))
    parts = ("analysis", "hyper_analysis", "hyper_synthesis", "synthesis")
    costs = {part: [layer_cost(call) for call in calls if call.path[0] == part] for part in parts}
    return {part: sum(of_part, start=NOTHING) for part, of_part in costs.items() if of_part}


def decoding(costs: dict[str, Cost]) -> Cost:
    """What a receiver computes: hyper synthesis, where there is one, and synthesis."""
    return sum((cost for part, cost in costs.items() if "synthesis" in part), start=NOTHING)


def with_sums(costs: dict[str, Cost]) -> dict[str, Cost]:
    """The costs, and the sums that encoding and decoding take."""
    encoding = sum((cost for part, cost in costs.items() if part != "synthesis"), start=NOTHING)
    return {**costs, "encoding": encoding, "decoding": decoding(costs)}


def complexity_table(costs: dict[str, Cost]) -> str:
    """The costs as text."""
    lines = [f"{'':16} {'parameters':>12} {'multiply':>12} {'add':>12} {'FLOPs':>12}   per pixel"]
    for name, cost in costs.items():
        lines.append(
            f"{name.replace('_', ' '):16} {cost.parameters:12,} {cost.multiplications:12,.0f} {cost.additions:12,.0f}"
            f" {cost.flops:12,.0f}"
        )
    return "\n".join(lines)
