"""The cost of a model: parameters, multiplications and additions per pixel, counted from its layers.

It is counted like the published figures: products and sums of convolutions and of GDN's matrices, biases, and GDN's own
scaling. Activations, residual sums and the padding of images are left out.
"""

import dataclasses
import math
from fractions import Fraction

from lic_jax.config import HYPER_STRIDE, LATENT_STRIDE, ModelConfig
from lic_jax.entropy.priors import context_exact
from lic_jax.entropy.priors.context import WIDTH, Context
from lic_jax.entropy.priors.context_plan import steps
from lic_jax.registry import PRIORS
from lic_jax.transforms.description import Gain, Layers, Norm, TransposedConv, Use, uses
from lic_jax.transforms.hyper_transforms import standard_analysis


@dataclasses.dataclass(frozen=True)
class Cost:
    """Parameters, and operations per pixel of the image."""

    parameters: int
    multiplications: float
    additions: float

    @property
    def flops(self) -> float:
        """Multiplications and additions counted apart, per pixel."""
        return self.multiplications + self.additions

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.parameters + other.parameters,
            self.multiplications + other.multiplications,
            self.additions + other.additions,
        )


NOTHING = Cost(0, 0, 0)


def layer_cost(use: Use, input_positions: Fraction) -> Cost:
    """Computes the cost of one layer, per pixel of the image.

    Args:
      use: the layer in its transform.
      input_positions: positions of the transform's input, per pixel of the image.
    """
    before, after = (float(input_positions * scale**2) for scale in (use.in_scale, use.out_scale))
    parameters = sum(math.prod(shape) for shape in use.parameter_shapes.values())
    if isinstance(use.layer, Norm | Gain):
        operations = after * (use.in_channels**2 + use.in_channels)
        return Cost(parameters, operations, operations)
    weights = use.layer.kernel_size**2 * use.in_channels * use.out_channels
    products = weights * (before if isinstance(use.layer, TransposedConv) else after)
    return Cost(parameters, products, products + after * use.out_channels)


def complexity(config: ModelConfig) -> dict[str, Cost]:
    """Computes the cost of each of a model's transforms, in the order of the signal path.

    Decoding runs hyper synthesis and synthesis; encoding runs analysis, hyper analysis and hyper synthesis. A transform
    that is a Flax module without a description is left out.
    """
    latents, hyper_latents = Fraction(1, LATENT_STRIDE**2), Fraction(1, HYPER_STRIDE**2)
    parts: dict[str, tuple[Layers, int, Fraction]] = {"analysis": (config.analysis_layers, 3, Fraction(1))}
    if config.has_hyper_latent:
        channels = config.latent_channels * (2 if config.hyper_input == "companded" else 1)
        parts["hyper_analysis"] = (standard_analysis(config), channels, latents)
        parts["hyper_synthesis"] = (config.hyper_synthesis_layers, config.hyper_channels, hyper_latents)
    parts["synthesis"] = (config.synthesis_layers, config.latent_channels, latents)
    costs = {
        part: sum((layer_cost(use, positions) for use in uses(layers, channels)), start=NOTHING)
        for part, (layers, channels, positions) in parts.items()
        if isinstance(layers, tuple)
    }
    if PRIORS[config.prior] is Context:
        costs["context"] = _context_cost(config)
    return costs


def _context_cost(config: ModelConfig) -> Cost:
    """Computes the cost of the context prior's networks, each at the positions that it codes."""
    shares = {step.name: step.share / LATENT_STRIDE**2 for step in steps(config.latent_channels)}
    cost = NOTHING
    for name, shape in context_exact.shapes(config, WIDTH).items():
        share, count = shares[name.split("/")[1]], math.prod(shape)
        cost += Cost(count, share * count if len(shape) > 1 else 0, share * count)
    return cost


def decoding(costs: dict[str, Cost]) -> Cost:
    """Sums the cost of decoding: synthesis and, if the model has them, hyper synthesis and context."""
    return sum((cost for part, cost in costs.items() if part == "context" or "synthesis" in part), start=NOTHING)


def with_sums(costs: dict[str, Cost]) -> dict[str, Cost]:
    """Adds the sums for encoding and decoding to the costs."""
    encoding = sum((cost for part, cost in costs.items() if part != "synthesis"), start=NOTHING)
    return {**costs, "encoding": encoding, "decoding": decoding(costs)}


def complexity_table(costs: dict[str, Cost]) -> str:
    """Formats the costs as text."""
    lines = [f"{'':16} {'parameters':>12} {'multiply':>12} {'add':>12} {'FLOPs':>12}   per pixel"]
    for name, cost in costs.items():
        lines.append(
            f"{name.replace('_', ' '):16} {cost.parameters:12,} {cost.multiplications:12,.0f} {cost.additions:12,.0f}"
            f" {cost.flops:12,.0f}"
        )
    return "\n".join(lines)
