"""Hyper transforms: latent → hyper latent, and back to the mean and scale of each latent. Each takes a `ModelConfig`.

A hyper synthesis has only transposed convolutions and ReLU, so that integers compute it exactly
(`entropy.priors.integers`).
"""

from lic_jax.config import LATENTS_PER_HYPER, ModelConfig, widths
from lic_jax.transforms.description import Conv, Layers, ReLU, TransposedConv


def standard_analysis(config: ModelConfig) -> Layers:
    """Describes conv3s1, ReLU · conv5s2, ReLU · conv5s2 (Minnen et al. 2018)."""
    width = config.hyper_channels
    return (
        *(Conv("convolution_0", width, 3), ReLU()),
        *(Conv("convolution_1", width, 5, 2), ReLU()),
        Conv("convolution_2", width, 5, 2),
    )


def standard_synthesis(config: ModelConfig) -> Layers:
    """Describes convT5s2 N · convT5s2 ⌊3N/2⌋ · convT3s1 to (μ, s), with ReLU between them (Minnen et al. 2018)."""
    first, second = config.hyper_channels, config.hyper_channels * 3 // 2
    if config.hyper_synthesis_channels:
        first, second = widths(config, "hyper_synthesis_channels", 2)
    return (
        *(TransposedConv("layer_0", first, 5, 2), ReLU()),
        *(TransposedConv("layer_1", second, 5, 2), ReLU()),
        TransposedConv("layer_2", config.mean_channels + config.latent_channels, 3),
    )


def jpeg_like_synthesis(config: ModelConfig) -> Layers:
    """Describes one transposed convolution, 6×6 of stride 4, to (μ, s) (Yang & Mandt, ICCV 2023)."""
    return (TransposedConv("layer_0", config.mean_channels + config.latent_channels, 6, LATENTS_PER_HYPER),)


def transposed_layers(layers: Layers) -> tuple[TransposedConv, ...]:
    """Returns a hyper synthesis' layers with weights, first layer first."""
    return tuple(layer for layer in layers if isinstance(layer, TransposedConv))
