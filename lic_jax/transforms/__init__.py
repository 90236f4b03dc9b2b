"""Transforms: analysis, hyper analysis, hyper synthesis and synthesis.

- `description`: describes a transform's layers as data
- `analyses`: describe image → latent
- `syntheses`: describe latent → image
- `hyper_transforms`: describe latent → hyper latent, and back to mean and scale
- `blocks`: describe ELIC's residual bottlenecks and attention
- `module`: builds a Flax module from a description
- `layers`, `gdn`: are the layers with weights as Flax modules
- `convolution`: computes transposed convolutions fast, gradients included
- `phases`: computes transposed convolutions as matrix products, in NumPy or JAX
- `receiver`: runs shallow transforms in NumPy alone
- `buckets`: runs images of every size through programs of few sizes
- `bands`: cuts large images into bands of rows, to bound memory
"""
