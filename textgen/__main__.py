"""python -m textgen: the command line."""

import sys

from textgen.cli import main

sys.exit(main())
