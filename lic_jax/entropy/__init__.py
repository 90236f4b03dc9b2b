"""Priors, the integer coding tables that are computed from them, and the entropy coders."""
