"""Parts of one's own: each file brings one, registers it, and works with everything else. The tests run them."""
