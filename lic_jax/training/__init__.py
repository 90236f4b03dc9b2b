"""How an anchor is trained and how its quantizers are refitted."""
