"""The four transforms of the signal path: analysis, hyper analysis, hyper synthesis, synthesis."""

from lic_jax.transforms.analysis import CNNAnalysis, ELICAnalysis, GDNAnalysis, LinearAnalysis
from lic_jax.transforms.convolution import transposed_convolution
from lic_jax.transforms.gdn import GDN, GDN1, InverseGDN, InverseGDN1
from lic_jax.transforms.hyper import HyperAnalysis, HyperSynthesis, JPEGLikeHyperSynthesis
from lic_jax.transforms.layers import TransposedConvolution
from lic_jax.transforms.residual import Attention, ResidualBlock
from lic_jax.transforms.synthesis import (
    CNNSynthesis,
    ELICSynthesis,
    GDNSynthesis,
    JPEGLikeSynthesis,
    TwoLayerResidualSynthesis,
    TwoLayerSynthesis,
)

__all__ = [
    "GDN",
    "GDN1",
    "Attention",
    "CNNAnalysis",
    "CNNSynthesis",
    "ELICAnalysis",
    "ELICSynthesis",
    "GDNAnalysis",
    "GDNSynthesis",
    "HyperAnalysis",
    "HyperSynthesis",
    "InverseGDN",
    "InverseGDN1",
    "JPEGLikeHyperSynthesis",
    "JPEGLikeSynthesis",
    "LinearAnalysis",
    "ResidualBlock",
    "TransposedConvolution",
    "TwoLayerResidualSynthesis",
    "TwoLayerSynthesis",
    "transposed_convolution",
]
