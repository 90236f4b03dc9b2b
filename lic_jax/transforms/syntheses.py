"""Syntheses: latent → image, stride 16. Each function takes a `ModelConfig` and returns its layers.

The receiver runs them, so ours are shallow (Yang & Mandt, ICCV 2023). The deep ones mirror the analyses, as baselines
for the shallow ones.
"""

from lic_jax.config import LATENT_STRIDE, ModelConfig, widths
from lic_jax.errors import LicError
from lic_jax.transforms.blocks import attention, residual_group
from lic_jax.transforms.description import Gain, Layers, Norm, ReLU, Sum, TransposedConv

DEEP_KERNEL = 5


def jpeg_like(config: ModelConfig) -> Layers:
    """Describes one transposed convolution of stride 16, by default 18×18: JPEG's inverse with overlapping blocks."""
    (size,) = _kernels(config, (18,), (LATENT_STRIDE,))
    return (TransposedConv("layer_0", 3, size, LATENT_STRIDE),)


def two_layer(config: ModelConfig) -> Layers:
    """Describes convT13s8 to the hidden channels · inverse GDN · convT5s2 to the image."""
    first, last = _two_layers(config)
    return (first, Norm("inverse_gdn", inverse=True), last)


def two_layer_gain(config: ModelConfig) -> Layers:
    """Describes convT13s8 to the hidden channels · gain of either sign · convT5s2 to the image."""
    first, last = _two_layers(config)
    return (first, Gain("gain"), last)


def two_layer_residual(config: ModelConfig) -> Layers:
    """Describes u = iGDN(convT13s8 y) + convT13s8' y · convT5s2 u to the image, with a linear path beside the norm."""
    first, last = _two_layers(config)
    beside = TransposedConv("residual", first.features, first.kernel_size, first.stride)
    return (Sum(((first, Norm("inverse_gdn", inverse=True)), (beside,))), last)


def _two_layers(config: ModelConfig) -> tuple[TransposedConv, TransposedConv]:
    (width,) = widths(config, "synthesis_channels", 1)
    strides = (8, 2)
    first, last = _kernels(config, (13, 5), strides)
    return TransposedConv("layer_0", width, first, strides[0]), TransposedConv("layer_1", 3, last, strides[1])


def cnn(config: ModelConfig) -> Layers:
    """Describes the mirror of the analysis `cnn`: four transposed convolutions with LeakyReLU(0.2) between them."""
    first, second, third, last = _deep_layers(config)
    return (first, ReLU(0.2), second, ReLU(0.2), third, ReLU(0.2), last)


def gdn(config: ModelConfig) -> Layers:
    """Describes the mirror of the analysis `gdn`: four transposed convolutions with inverse GDN between them."""
    first, second, third, last = _deep_layers(config)
    norms = [Norm(f"inverse_gdn_{index}", inverse=True) for index in range(3)]
    return (first, norms[0], second, norms[1], third, norms[2], last)


def elic(config: ModelConfig) -> Layers:
    """Describes the mirror of the analysis `elic`."""
    first, second, third, last = _deep_layers(config)
    groups = [residual_group(f"residual_{index}", layer.features) for index, layer in enumerate((first, second, third))]
    return (
        *(attention("attention_0", config.latent_channels), first, groups[0]),
        *(second, attention("attention_1", second.features), groups[1]),
        *(third, groups[2], last),
    )


def _deep_layers(config: ModelConfig) -> list[TransposedConv]:
    channels = (*widths(config, "synthesis_channels", 3), 3)
    (size,) = _kernels(config, (DEEP_KERNEL,), (2,))
    return [TransposedConv(f"layer_{index}", width, size, 2) for index, width in enumerate(channels)]


def _kernels(config: ModelConfig, published: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the configuration's kernel sizes, or the published ones.

    Raises:
      LicError: there are too few, or one is smaller than its stride, which leaves gaps between blocks.
    """
    sizes = config.synthesis_kernels or published
    if len(sizes) < len(strides):
        raise LicError(f"synthesis_kernels {sizes} are too few for this model; give {len(strides)}")
    if any(size < stride for size, stride in zip(sizes, strides, strict=False)):
        raise LicError(f"synthesis_kernels {sizes} are smaller than the strides {strides}; give larger kernels")
    return sizes[: len(strides)]
