"""Quantizers and their differentiable stand-ins.

- `base`: the two contracts of a quantizer, fitted and in integers
- `staircase`: what follows from thresholds and levels, for every fitted quantizer
- `stanh`: the learnable quantizer made of tanh steps
- `windowed`: its soft form at a cost that does not grow with the number of components
- `relaxation`: what stands in for decisions while something learns
- `noise`: additive noise and straight-through rounding
- `annealing`: how the soft quantizer turns hard
- `rows`: one quantizer that each row of the coding tables opens in the middle by its own amount
- `bins`: the interval of the prior that each symbol stands for
- `gumbel`: sampling between two levels
- `fixed_point`, `fixed_rows`: quantizers as a codec ships them, in integers and NumPy only
"""
