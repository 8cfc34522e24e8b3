"""`python -m dlrun`: the same as the command `dlrun`."""

import sys

from dlrun.cli import main

sys.exit(main())
