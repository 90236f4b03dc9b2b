"""The priors and what is made of them: bins, integer coding tables, the coder."""
