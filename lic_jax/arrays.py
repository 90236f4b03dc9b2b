"""Array types for the signatures of what a decoding device runs: jaxtyping's, where something reads them.

A type checker and the tests, which import jaxtyping first, see jaxtyping; otherwise nothing is imported, since such a
device has NumPy alone.
"""

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Float, Int, UInt8

    RGB = UInt8[np.ndarray, "height width 3"]
else:

    class _Array:
        def __class_getitem__(cls, _):
            return np.ndarray

    Float = Int = UInt8 = _Array
    RGB = np.ndarray
