"""A quantizer for tests whose values are given as they are, not computed from free parameters."""

from lic_jax.quantization.stanh import STanH


class GivenValues(STanH):
    """w, b, c or T, as far as a test needs them; what computes in them rounds nothing again."""

    spacings = thresholds = levels = components = None

    def __init__(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)
