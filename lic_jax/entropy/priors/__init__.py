"""Priors: what is known of a latent before its symbols are read.

- `base`: defines the contract of a prior
- `factorized`: knows one density for each channel, and sends nothing beside the latent
- `hyperprior`: predicts mean and scale of each latent from a hyper latent
- `density`: learns the density of a channel
- `gaussian`: computes the mass of a Gaussian whose scale comes from a table
- `integers`: computes the hyper synthesis in integers, alike on every machine
- `integer_module`: runs that as Flax modules, through which quantizers are fitted
"""
