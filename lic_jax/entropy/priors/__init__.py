"""Priors: what is known of a latent before its symbols are read.

- `base`: defines the contract of a prior
- `factorized`: knows one density for each channel, and sends nothing beside the latent
- `hyperprior`: predicts mean and scale of each latent from a hyper latent
- `context`: changes a hyperprior's predictions by what is known already, in stages
- `context_plan`: orders the stages: groups of channels, each in passes over the positions
- `context_module`: runs the stages' networks in Flax
- `context_exact`: rounds their weights to the grid, and runs them in NumPy
- `grid`: keeps the sums of small networks exact in float32
- `density`: learns the density of a channel
- `gaussian`: computes the mass of a Gaussian whose scale comes from a table
- `integers`: computes the hyper synthesis in integers, alike on every machine
- `integer_module`: runs that as Flax modules, through which quantizers are fitted
"""
