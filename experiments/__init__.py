"""Experiments with `lic_jax`, run from the root of the repository: `python -m experiments.questions.rd_curve`.

- `experiments.questions`: one script, one question, one picture.
- `experiments.lab`: what the scripts share.
- `experiments.tools`: commands that answer no question of their own.
"""
