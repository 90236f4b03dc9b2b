"""The four transforms of the signal path: analysis, hyper analysis, hyper synthesis, synthesis."""

from lic_jax.transforms.analysis import CNNAnalysis, LinearAnalysis
from lic_jax.transforms.convolution import transposed_convolution
from lic_jax.transforms.gdn import InverseGDN1
from lic_jax.transforms.hyper import HyperAnalysis, HyperSynthesis
from lic_jax.transforms.layers import TransposedConvolution
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
