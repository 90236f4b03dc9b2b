"""Priors: what is known of a latent before its symbols are read."""
