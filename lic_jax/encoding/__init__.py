"""Choosing an image's symbols by what they cost and bring, beyond the analysis' one shot.

rate_control   the rate at which a stream has a given size or quality
objective      bits + λ · error of an image's own latents, as the receiver will have them
sga            stochastic Gumbel annealing: y and z optimized through sampled quantization
refinement     plain gradient descent through soft quantization
rounding       each symbol or a neighbour of it, by bits and a local estimate of the error
descent        what the two share: Adam on y and z
settings       how to search, as data
search         any of them on batches of images of any sizes: the best solution seen, in time
"""
