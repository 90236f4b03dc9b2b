"""Quantizers and their differentiable stand-ins.

stanh        the learnable quantizer, soft and hard
windowed     the soft one at a cost that does not grow with its number of components
rounding     additive noise, straight-through rounding
annealing    how the soft quantizer turns hard
fixed_point  quantizers as a codec ships them: integers, NumPy only
"""
