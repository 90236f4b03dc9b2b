"""The codec: `codec` for senders, in JAX; `decoder` for receivers, in NumPy alone."""
