"""The normal command line of dlrun up to the end of the first training step: `python first_step.py train ...`.

Last it prints the seconds that `import torch` took, and those from its end to that of the step.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from dlrun import cli
from dlrun.commands import train


def end_after_first_step(job: Any) -> Any:
    """`job` of the command train, but the process ends at once after one step."""

    def patched(cfg: Any) -> Any:
        started = time.perf_counter()
        import torch

        imported = time.perf_counter()
        from dlrun.training.loop import Engine
        from peer_programs.dlrun import after_first_step

        def end() -> None:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            print(imported - started, time.perf_counter() - imported, flush=True)
            os._exit(0)

        fit = Engine.fit

        def ending(engine: Engine, *, observer: Any, **arguments: Any) -> None:
            after_first_step(observer, end)
            fit(engine, observer=observer, **arguments)

        Engine.fit = ending  # type: ignore[method-assign]
        return job(cfg)

    return patched


if __name__ == "__main__":
    train._job = end_after_first_step(train._job)
    cli.main(sys.argv[1:])
    sys.exit("there was no training step")
