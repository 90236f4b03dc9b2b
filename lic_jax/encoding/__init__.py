"""Choosing an image's symbols by their cost and their worth, beyond the analysis' one shot.

- `rate_control`: the rate at which a stream has a given size or quality
- `operating_point`: a rate as a search sees it: levels, the cost of their symbols, λ
- `choice`: symbols, and the latents and bits that they stand for
- `cost`: bits + λ · distortion of an image's own latents, as the receiver will have them
- `sga`: stochastic Gumbel annealing: y and z optimized through sampled quantization
- `refinement`: plain gradient descent through soft quantization
- `descent`: Adam on y and z, which both share
- `rounding`: each symbol or a neighbour of it, by bits and a local estimate of the error
- `method`, `clock`: how to search, as data; how far it is and when it has to end
- `search`: any of them on batches of images of any sizes
- `tiles`: large images as overlapping parts, and together again
"""
