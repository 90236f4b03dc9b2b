"""Quantizers and their differentiable stand-ins.

stanh        the learnable quantizer, soft and hard
windowed     the soft one at a cost that does not grow with its number of components
rounding     additive noise, straight-through rounding
annealing    how the soft quantizer turns hard
rows         one quantizer that each row of the coding tables opens in the middle as it likes
fixed_point  quantizers as a codec ships them: integers, NumPy only
fixed_rows   the same of rows
"""
