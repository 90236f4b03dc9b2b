"""The four transforms of the signal path: analysis, hyper analysis, hyper synthesis, synthesis."""
