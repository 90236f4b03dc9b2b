"""The four transforms of the signal path: analysis, hyper analysis, hyper synthesis, synthesis."""

from lic_jax.lazy import lazy_names

_HOMES = {
    "Attention": "residual",
    "CNNAnalysis": "analysis",
    "CNNSynthesis": "synthesis",
    "ELICAnalysis": "analysis",
    "ELICSynthesis": "synthesis",
    "GDN": "gdn",
    "GDN1": "gdn",
    "GDNAnalysis": "analysis",
    "GDNSynthesis": "synthesis",
    "HyperAnalysis": "hyper",
    "HyperSynthesis": "hyper",
    "IntegerHyperSynthesis": "hyper",
    "InverseGDN": "gdn",
    "InverseGDN1": "gdn",
    "JPEGLikeSynthesis": "synthesis",
    "LinearAnalysis": "analysis",
    "ResidualBlock": "residual",
    "TransposedConvolution": "layers",
    "TwoLayerResidualSynthesis": "synthesis",
    "TwoLayerSynthesis": "synthesis",
    "transposed_convolution": "convolution",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
