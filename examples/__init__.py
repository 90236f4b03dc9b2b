"""Examples of your own parts: each file makes one part and registers it. The tests train, code and decode with it."""
