"""Entropy coding: priors, integer coding tables, coders.

- `priors`: say how probable a latent's symbols are
- `tables`: turns a prior's densities into integer coding tables
- `scale_table`: holds the 64 scales of a Gaussian prior
- `exact`: computes exp, log and the normal distribution alike on every machine
- `coders`: turn symbols into bytes by coding tables, and back
"""
