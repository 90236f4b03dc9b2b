"""Quantizers and their differentiable stand-ins.

- `base`: defines the two contracts of a quantizer: fitted, and in integers
- `contract`: checks whether a fitted quantizer keeps its contract
- `stanh`: makes a learnable quantizer of tanh steps
- `staircase`: derives symbols and integers from any fitted quantizer's thresholds and levels
- `counting`: counts the thresholds below a value
- `rows`: opens a quantizer's middle by another amount for each row of the coding tables
- `bins`: gives the interval of the prior that each symbol stands for
- `windowed`: computes STanH's soft form at a cost that does not grow with its components
- `relaxation`: replaces decisions by differentiable ones while something learns
- `noise`: adds uniform noise, or rounds with a straight-through gradient
- `gumbel`: samples between the two levels beside a value
- `annealing`: schedules how the soft quantizer turns hard
- `fixed_point`, `fixed_rows`: quantize as a codec ships it, in integers and NumPy alone
"""
