"""Experiments with the codec: questions with their answers, what the scripts share, and tools.

Run them from the repository's root: `python -m experiments.questions.annealing PHOTOGRAPHS`.
"""
