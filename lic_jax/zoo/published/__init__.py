"""Published models, imported as ours."""
