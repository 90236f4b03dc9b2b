"""Quantizers and their differentiable stand-ins.

stanh        the learnable quantizer, soft and hard
rounding     additive noise, straight-through rounding
annealing    how the soft quantizer turns hard
fixed_point  quantizers as a codec ships them: integers, NumPy only
"""
