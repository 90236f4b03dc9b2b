"""Training: first an anchor, then the quantizers that are refitted to it.

- `settings`: describes a training and a refit as data
- `data`: makes batches of random crops from a folder of photographs
- `latents`: keeps the latents of a frozen analysis in memory, for training a prior
- `klt`: initializes an anchor's transforms to the best linear ones
- `anchor_objective`: computes what an anchor minimizes
- `anchor`: takes an anchor's training step, in stages
- `health`: looks for dead units and entries at a floor
- `loop`: trains an anchor, with a log, checkpoints and weights
- `checkpoint`: saves and restores a training's state
- `refit_objective`: computes what a refit minimizes
- `refit`: fits quantizers for several λ to a frozen anchor
- `optimization`: steps an optax optimizer on any pytree
- `curve`: fits a rate–distortion curve, and measures it
- `deployment`: makes the file that a codec loads from an anchor and its quantizers
"""
