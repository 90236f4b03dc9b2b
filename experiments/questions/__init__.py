"""One script, one question, one picture. docs/experiments.md has the answers."""
