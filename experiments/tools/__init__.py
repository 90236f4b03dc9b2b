"""Commands that measure or draw and answer no question of their own."""
