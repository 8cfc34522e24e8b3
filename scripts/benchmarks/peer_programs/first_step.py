"""The normal command line of dlrun up to the end of the first training step: `python first_step.py train ...`."""

from __future__ import annotations

import os
import sys
from typing import Any

from dlrun import cli
from dlrun.commands import train


def end_after_first_step(job: Any) -> Any:
    """`job` of the command train, but the process ends at once after one step."""

    def patched(cfg: Any) -> Any:
        from dlrun.training.loop import Engine

        step = Engine.train_step

        def first(*arguments: Any) -> None:
            step(*arguments)
            os._exit(0)

        Engine.train_step = first  # type: ignore[assignment]
        return job(cfg)

    return patched


if __name__ == "__main__":
    train._job = end_after_first_step(train._job)
    cli.main(sys.argv[1:])
    sys.exit("there was no training step")
