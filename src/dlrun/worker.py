"""`python -m dlrun.worker RUN`: one rank of a run of several devices, as torchrun and dlrun itself start it."""

import os
import sys

from dlrun.cli import main

if __name__ == "__main__":
    # Warnings of torch's C++ parts are not for users, and would come from each rank; read when torch is loaded.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    sys.argv.insert(1, "_worker")
    try:
        code = main()
    except SystemExit as end:
        code = int(end.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)  # taking down what is shared with other ranks would wait for them
