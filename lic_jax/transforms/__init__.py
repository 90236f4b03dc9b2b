"""The four transforms of the signal path: analysis, hyper analysis, hyper synthesis, synthesis."""

from lic_jax.transforms.analysis import CNNAnalysis, LinearAnalysis
from lic_jax.transforms.hyper import HyperAnalysis, HyperSynthesis
from lic_jax.transforms.layers import InverseGDN1, TransposedConvolution, transposed_convolution
from lic_jax.transforms.synthesis import JPEGLikeSynthesis, TwoLayerSynthesis

__all__ = [
    "CNNAnalysis",
    "HyperAnalysis",
    "HyperSynthesis",
    "InverseGDN1",
    "JPEGLikeSynthesis",
    "LinearAnalysis",
    "TransposedConvolution",
    "TwoLayerSynthesis",
    "transposed_convolution",
]
