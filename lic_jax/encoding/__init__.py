"""Choosing an image's symbols by what they cost and bring, beyond the analysis' one shot.

objective   bits + λ · error of an image's own latents, as the receiver will have them
sga         stochastic Gumbel annealing: y and z optimized through sampled quantization
refinement  plain gradient descent through the straight-through quantizer
rounding    each symbol or its neighbour, by bits and a local estimate of the error
search      any of them on batches of images of any sizes: the best solution seen, in time
"""
