"""`python -m dlrun.worker RUN`: one rank of a run of several devices, as torchrun and dlrun itself start it."""

import sys

from dlrun.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "_worker")
    sys.exit(main())
