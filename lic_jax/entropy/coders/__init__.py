"""Entropy coders: symbols to bytes by integer tables, and back.

- `base`: defines the contract of a coder
- `coding`: codes symbols by the coder that is named, in one or more parts
- `constriction_coder`: codes by constriction's range coder, the default
- `tfc_coder`: codes by tensorflow-compression's range coder; needs the extra `tfc`
"""
