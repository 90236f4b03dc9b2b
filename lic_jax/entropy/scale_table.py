"""The scale table's three numbers (tensorflow-compression's): 64 log-spaced scales from 0.11 to 256."""

SCALE_COUNT = 64
SCALE_MIN = 0.11
SCALE_MAX = 256.0
LOG_SCALE_STEP = 0.12305479932808386
"""ln(256/0.11)/63, written out, because the receiver's logarithm might round it differently."""
