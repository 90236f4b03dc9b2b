"""The blocks of ELIC's transforms (He et al., CVPR 2022, section 3.3): residual bottlenecks and attention."""

from lic_jax.transforms.description import Conv, Gate, Layers, ReLU, Scope, Sum


def residual_block(name: str, channels: int) -> Scope:
    """Describes x + (1×1 to half the channels, ReLU, 3×3, ReLU, 1×1 back)."""
    half = channels // 2
    bottleneck: Layers = (
        *(Conv("convolution_0", half, 1), ReLU()),
        *(Conv("convolution_1", half, 3), ReLU()),
        Conv("convolution_2", channels, 1),
    )
    return Scope(name, (Sum(((), bottleneck)),))


def residual_group(name: str, channels: int) -> Scope:
    """Describes three residual blocks in a row."""
    return Scope(name, tuple(residual_block(f"block_{index}", channels) for index in range(3)))


def attention(name: str, channels: int) -> Scope:
    """Describes x + trunk(x) · sigmoid(conv1×1(branch(x))); both are residual groups (Cheng et al. 2020)."""
    trunk, branch = residual_group("trunk", channels), residual_group("branch", channels)
    return Scope(name, (Gate((trunk,), (branch, Conv("mask", channels, 1))),))
