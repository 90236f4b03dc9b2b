"""The blocks of ELIC's transforms (He et al., CVPR 2022, section 3.3): residual bottlenecks and attention."""

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from lic_jax.transforms.layers import Convolution


class ResidualBlock(nn.Module):
    """x + (1×1 to half the channels, ReLU, 3×3, ReLU, 1×1 back)."""

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch height width channel"]:
        channels = inputs.shape[-1]
        hidden = nn.relu(Convolution(channels // 2, 1, 1, name="convolution_0")(inputs))
        hidden = nn.relu(Convolution(channels // 2, 3, 1, name="convolution_1")(hidden))
        return inputs + Convolution(channels, 1, 1, name="convolution_2")(hidden)


class ResidualGroup(nn.Module):
    """Three residual blocks in a row."""

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch height width channel"]:
        for index in range(3):
            inputs = ResidualBlock(name=f"block_{index}")(inputs)
        return inputs


class Attention(nn.Module):
    """x + trunk(x) · sigmoid(conv1×1(branch(x))), trunk and branch three residual blocks each (Cheng et al. 2020)."""

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch height width channel"]:
        trunk = ResidualGroup(name="trunk")(inputs)
        branch = ResidualGroup(name="branch")(inputs)
        mask = jax.nn.sigmoid(Convolution(inputs.shape[-1], 1, 1, name="mask")(branch))
        return inputs + trunk * mask
