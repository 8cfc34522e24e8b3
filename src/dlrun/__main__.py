"""`python -m dlrun`: the same as the command `dlrun`."""

import sys

# Python puts the working folder first here: what lies in it must not stand in for a library.
if not sys.flags.safe_path:
    del sys.path[0]

from dlrun.cli import main

if __name__ == "__main__":
    sys.exit(main())
