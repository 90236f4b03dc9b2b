"""Analyses: image → latent, stride 16. The sender runs them, so they may be large.

Each function takes a `ModelConfig` and returns its layers. A deep analysis can have a linear block transform beside it,
whose output is added: the KLT start (`training.klt`) sets it. With the last convolution at zero, a training then begins
as the best linear codec.
"""

from lic_jax.config import LATENT_STRIDE, ModelConfig, widths
from lic_jax.transforms.blocks import attention, residual_group
from lic_jax.transforms.description import Conv, Layers, Norm, ReLU, Sum

LAYERS = 4
"""Convolutions of stride 2 in a deep analysis."""


def linear(config: ModelConfig) -> Layers:
    """Describes a block transform: one 16×16 convolution of stride 16. With KLT weights, it is a classical codec's."""
    return (Conv("linear", config.latent_channels, LATENT_STRIDE, LATENT_STRIDE),)


def cnn(config: ModelConfig) -> Layers:
    """Describes four convolutions with LeakyReLU(0.2) between them (Yang & Mandt, ICCV 2023, section 4.1)."""
    first, second, third, last = _convolutions(config)
    return _beside_blocks(config, (first, ReLU(0.2), second, ReLU(0.2), third, ReLU(0.2), last))


def residual(config: ModelConfig) -> Layers:
    """Describes the `cnn` with residual groups before its second and third activation, and one on the latent."""
    first, second, third, last = _convolutions(config)
    groups = [residual_group(f"residual_{index}", layer.features) for index, layer in enumerate((second, third, last))]
    layers = (first, ReLU(0.2), second, groups[0], ReLU(0.2), third, groups[1], ReLU(0.2), last)
    return (*_beside_blocks(config, layers), groups[2])


def gdn(config: ModelConfig) -> Layers:
    """Describes four convolutions with GDN between them (Ballé et al. 2018; Minnen et al. 2018).

    GDN is the simplified form, the default of tensorflow-compression and of the published models.
    """
    first, second, third, last = _convolutions(config)
    return _beside_blocks(config, (first, Norm("gdn_0"), second, Norm("gdn_1"), third, Norm("gdn_2"), last))


def elic(config: ModelConfig) -> Layers:
    """Describes ELIC's analysis: four convolutions, residual blocks after the first three, attention twice.

    He et al., CVPR 2022, figure 4.
    """
    first, second, third, last = _convolutions(config)
    widths_of_layers = widths(config, "analysis_channels", LAYERS - 1)
    groups = [residual_group(f"residual_{index}", width) for index, width in enumerate(widths_of_layers)]
    layers = (
        *(first, groups[0], second, groups[1], attention("attention_0", widths_of_layers[1])),
        *(third, groups[2], last, attention("attention_1", config.latent_channels)),
    )
    return _beside_blocks(config, layers)


def _convolutions(config: ModelConfig) -> list[Conv]:
    channels = (*widths(config, "analysis_channels", LAYERS - 1), config.latent_channels)
    return [Conv(f"convolution_{index}", width, config.analysis_kernel, 2) for index, width in enumerate(channels)]


def _beside_blocks(config: ModelConfig, layers: Layers) -> Layers:
    return (Sum((layers, linear(config))),) if config.block_transform else layers
