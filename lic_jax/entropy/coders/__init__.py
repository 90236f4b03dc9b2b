"""Entropy coders: `coding` codes symbols by the one that is named; each coder is a file."""
