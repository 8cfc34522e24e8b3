"""Programs that tests start as the ranks of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROCESSES = 4
_SECONDS = 600  # for all of it, on a machine that is busy with other things


def run(script: str, folder: Path) -> None:
    """Run a program beside this file as PROCESSES processes in `folder`, each with its number; none is left behind."""
    command = [sys.executable, str(Path(__file__).with_name(script)), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DLRUN_CACHE": str(folder / "cache")}
    processes = []
    try:
        for number in range(PROCESSES):
            with (folder / f"said-{number}").open("wb") as said:
                one = subprocess.Popen(
                    [*command, str(number)], env=environment, cwd=folder, stderr=said
                )
            processes.append(one)
        codes = [process.wait(timeout=_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    errors = "\n".join((folder / f"said-{number}").read_text() for number in range(PROCESSES))
    assert codes == [0] * PROCESSES, errors
