"""Array types for the signatures of the receiver's code.

A type checker sees jaxtyping's types, and so do the tests, which import it first. Otherwise nothing is imported,
because a decoding device has NumPy alone.
"""

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, Integer, UInt8

    RGB = UInt8[np.ndarray, "height width 3"]
else:

    class _Array:
        def __class_getitem__(cls, _):
            return np.ndarray

    Bool = Float = Int = Integer = UInt8 = _Array
    RGB = np.ndarray
