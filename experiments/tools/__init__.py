"""Commands that answer no question of their own: they measure for other scripts, compare tables and draw."""
