"""`python -m probact`: the command line."""

import sys

from probact.cli import main

sys.exit(main())
