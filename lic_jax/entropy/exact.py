"""Elementary functions that give the same float64 on every IEEE machine.

A receiver derives the coding tables by itself, and one different rounding destroys the image. libm and BLAS round
differently from one machine to the next; +, −, ×, ÷, comparison, rint, ldexp and frexp of IEEE 754 do not. So these
functions use only those, one NumPy operation at a time (nothing to fuse), with sums in a fixed order.
They agree with the true values to about 1e-15, far better than tables of 24 bits need.
"""

import numpy as np

from lic_jax.arrays import Float

Values = Float[np.ndarray, "*shape"]

_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_INV_LN2 = float.fromhex("0x1.71547652b82fep+0")
_INV_SQRT_2PI = float.fromhex("0x1.9884533d43651p-2")

_EXP_TERMS = 16
_LOG_TERMS = 24
_CDF_TERMS = 128
CDF_LIMIT = 8.0
"""Beyond ± this, `normal_cdf` is exactly 0 or 1."""


def exp(values: Values) -> Values:
    """Computes e^v: v = n ln 2 + r with |r| ≤ ½ ln 2, the Taylor series of e^r, scaled by 2^n. v is clipped to ±700."""
    values = np.clip(np.asarray(values, np.float64), -700.0, 700.0)
    exponent = np.rint(values * _INV_LN2)
    rest = values - exponent * _LN2_HIGH
    rest = rest - exponent * _LN2_LOW
    total = np.ones_like(rest)
    for term in range(_EXP_TERMS, 0, -1):
        total = total * rest / term
        total = total + 1.0
    return np.ldexp(total, exponent.astype(np.int32))


def log(values: Values) -> Values:
    """Computes ln v for v > 0: v = m 2^e with m in [½, 1), ln m = 2 artanh((m − 1)/(m + 1)) by its series."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    small = mantissa < 0.7071067811865476
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    exponent = np.where(small, exponent - 1, exponent).astype(np.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    total = np.zeros_like(ratio)
    for term in range(_LOG_TERMS, -1, -1):
        total = total * square
        total = total + 1.0 / (2 * term + 1)
    return exponent * _LN2_HIGH + (exponent * _LN2_LOW + 2.0 * ratio * total)


def sigmoid(values: Values) -> Values:
    """Computes 1/(1 + e^−v), from e^−|v|."""
    values = np.asarray(values, np.float64)
    small = exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)


def tanh(values: Values) -> Values:
    """Computes tanh v = 2 · sigmoid(2v) − 1."""
    return 2.0 * sigmoid(2.0 * np.asarray(values, np.float64)) - 1.0


def softplus(values: Values) -> Values:
    """Computes ln(1 + e^v) = max(v, 0) + ln(1 + e^−|v|)."""
    values = np.asarray(values, np.float64)
    return np.maximum(values, 0.0) + log(1.0 + exp(-np.abs(values)))


def normal_cdf(values: Values) -> Values:
    """Computes Φ(v) = ½ + φ(v) (v + v³/3 + v⁵/(3·5) + …), exactly 0 or 1 beyond ±8 (Marsaglia 2004).

    Every term has the sign of v, so nothing cancels; the error is absolute, about 1e-15.
    """
    values = np.clip(np.asarray(values, np.float64), -CDF_LIMIT, CDF_LIMIT)
    square = values * values
    term, total = values, values
    for index in range(1, _CDF_TERMS):
        term = term * square / (2 * index + 1)
        total = total + term
    density = _INV_SQRT_2PI * exp(-0.5 * square)
    cdf = np.clip(0.5 + density * total, 0.0, 1.0)
    cdf = np.where(values <= -CDF_LIMIT, 0.0, cdf)
    return np.where(values >= CDF_LIMIT, 1.0, cdf)
