"""Compiles a model's transforms to programs that serve images of every size (`transforms.buckets`)."""

from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lic_jax.config import HYPER_STRIDE, LATENTS_PER_HYPER, ModelConfig
from lic_jax.distortion.base import to_network_domain, to_pixels
from lic_jax.model import CodecModel
from lic_jax.transforms.buckets import Bucketed
from lic_jax.zoo.bundle import Bundle


class Programs:
    """The transforms of one model on this process' device.

    Attributes:
      model: the Flax module.
      variables: its weights, as `model.apply` takes them.
      encode: padded images → (y, z) of each.
      predict: for each stage of the prior, its input (ẑ, or ẑ beside ŷ so far) → (μ, index) of each image.
      decode: latents ŷ → padded uint8 images.
    """

    def __init__(self, bundle: Bundle):
        self.model = CodecModel(bundle.config)
        self.variables: dict[str, Any] = {"params": jax.tree.map(jnp.asarray, bundle.params)}
        self.encode, self.predict, self.decode = _compiled(bundle.config)

    def stage(
        self, number: int, hyper_latents: list[np.ndarray], latents: list[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Computes (μ, index) of a stage, for each image.

        Args:
          number: the number of the stage.
          hyper_latents: ẑ of each image.
          latents: ŷ of the earlier stages; the first stage ignores it.
        """
        inputs = hyper_latents
        if number:
            inputs = [_side_by_side(*pair) for pair in zip(hyper_latents, latents, strict=True)]
        return self.predict[number](self.variables, inputs)


@lru_cache(maxsize=16)
def _compiled(config: ModelConfig) -> tuple[Bucketed, tuple[Bucketed, ...], Bucketed]:
    """Makes the programs; codecs whose models differ only in their weights share them."""
    model = CodecModel(config)
    stages = range(model.prior.stage_count)
    return (
        Bucketed(partial(model.apply, method="encode"), HYPER_STRIDE, to_network_domain),
        tuple(Bucketed(partial(_mean_and_index, model, stage), 1) for stage in stages),
        Bucketed(partial(_pixels, model), LATENTS_PER_HYPER),
    )


def _side_by_side(hyper_latent: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """Joins both in one array at the hyper latents' positions: their channels, then those of 4 × 4 latents."""
    _, rows, columns, channels = latent.shape
    side = LATENTS_PER_HYPER
    blocks = latent.reshape(1, rows // side, side, columns // side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return np.concatenate([hyper_latent, blocks.reshape(*hyper_latent.shape[:3], -1)], axis=-1)


def _apart(model: CodecModel, inputs: Array) -> tuple[Array, Array]:
    """Inverts `_side_by_side`."""
    side, channels = LATENTS_PER_HYPER, model.config.latent_channels
    hyper_latent, blocks = jnp.split(inputs, [model.config.hyper_channels], axis=-1)
    batch, rows, columns, _ = blocks.shape
    latent = blocks.reshape(batch, rows, columns, side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return hyper_latent, latent.reshape(batch, rows * side, columns * side, channels)


def _mean_and_index(model: CodecModel, stage: int, variables: dict, inputs: Array) -> tuple[Array, Array]:
    """Computes μ and the index of the coding table; the index is exact."""
    hyper_latent, latent = (inputs, None) if stage == 0 else _apart(model, inputs)
    mean, index = model.apply(variables, hyper_latent, latent, stage, method="predict_stage")
    return mean, index.astype(jnp.uint16)


def _pixels(model: CodecModel, variables: dict, latent: Array) -> Array:
    return to_pixels(model.apply(variables, latent, method="decode"))
