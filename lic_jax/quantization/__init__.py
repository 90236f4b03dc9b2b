"""Quantizers and their differentiable stand-ins: STanH, rounding, annealing."""

from lic_jax.quantization import annealing, stanh
from lic_jax.quantization.rounding import additive_noise, straight_through, straight_through_round
from lic_jax.quantization.stanh import STanH

__all__ = ["STanH", "additive_noise", "annealing", "stanh", "straight_through", "straight_through_round"]
