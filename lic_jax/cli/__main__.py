"""`python -m lic_jax.cli` is `lic`."""

import sys

from lic_jax.cli.main import main

sys.exit(main())
