"""Models with an anchor's weights and quantizers that were just fitted, as files and as they would ship."""

import tempfile
from pathlib import Path

from lic_jax.training.deployment import in_fixed_point
from lic_jax.training.refit_objective import Quantizers
from lic_jax.zoo.bundle import Bundle, load_bundle, save_bundle


def save_refitted(path: Path, anchor: Bundle, quantizers: Quantizers, lambdas: tuple[float, ...]) -> None:
    """Writes a codec's model: the anchor's weights with one pair of fitted quantizers for each λ."""
    save_bundle(path, anchor.config, anchor.params, anchor.rd_lambda, lambdas, *in_fixed_point(quantizers))


def refitted(anchor: Bundle, quantizers: Quantizers, lambdas: tuple[float, ...]) -> Bundle:
    """The same model, read back from a file: measurements are of the model that would ship."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_refitted(path, anchor, quantizers, lambdas)
        return load_bundle(path)
