"""Searches: they choose an image's symbols by bits and distortion, beyond the analysis' one shot.

- `rate_control`: finds the rate at which a stream has a given size or quality
- `method`: describes a search as data: steps, method, time limit
- `search`: runs any method on batches of images of any sizes, and keeps the best
- `clock`: tells a search how far it is and when it has to end
- `tiles`: cuts large images into overlapping parts, and joins the results
- `operating_point`: describes a rate to a search: levels, the bits of their symbols, λ
- `choice`: holds symbols, and computes the latents and bits that they stand for
- `cost`: computes bits + λ · distortion of an image's own latents, as the receiver will have them
- `descent`: moves y and z down a gradient by Adam; the next two share it
- `sga`: optimizes y and z through sampled quantization (stochastic Gumbel annealing)
- `refinement`: optimizes y and z through soft quantization (plain gradient descent)
- `rounding`: moves each symbol to a neighbour where bits and a local estimate of the error fall
"""
