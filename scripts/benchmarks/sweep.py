"""What a sweep in one process adds to each trial, beside what the same run costs alone.

From the end of one trial's training to the end of the next passes the training of a run, and what the
sweep adds: drawing and composing its settings, the study, the leaderboard, the line on the screen. The
first is timed inside the sweep; the rest is the figure, as a median over windows of trials. Beside it, in
the same run: jobs that do nothing through Hydra's own sweeper and launcher, on the same configs.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

WINDOW = 50  # trials around each number of trials that is looked at
SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-2))", "optimizer.weight_decay=interval(0,0.1)"]
RUN = ["dataset=iris", "model=logistic", "trainer.max_epochs=1", "trainer.batch_size=full"]
QUIET = ["tracking.tensorboard=false"]

# Jobs that do nothing: what remains is composition and launching.
_HYDRA = """
import sys, hydra
from dlrun.composing import register_resolvers
from dlrun.search_path import packaged_configs
register_resolvers()
@hydra.main(config_path=str(packaged_configs()), config_name="train", version_base="1.3")
def job(cfg): pass
job()
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--strategy", default="random")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        added, trained = sweep(arguments.trials, arguments.strategy)
    print(f"sweep={arguments.strategy}, {arguments.trials} trials, milliseconds a trial, medians")
    print(f"{'around trial':>12}  {'the sweep adds':>14}  {'the run itself':>14}")
    for end in points(arguments.trials):
        window = slice(max(0, end - WINDOW), end)
        print(
            f"{end:>12}  {1000 * statistics.median(added[window]):>14.1f}"
            f"  {1000 * statistics.median(trained[window]):>14.1f}"
        )
    print(f"Hydra's own sweeper and launcher, a job that does nothing: {hydra_job():.0f} ms")


def sweep(trials: int, strategy: str) -> tuple[list[float], list[float]]:
    """Seconds that the sweep added to each trial after the first, and that its run took."""
    from dlrun import cli, experiment

    ends: list[float] = []
    seconds: list[float] = []
    with timed(experiment.train, ends, seconds) as experiment.train, silence():
        words = [f"sweep={strategy}", f"sweep.trials={trials}", *SPACE, *RUN, *QUIET]
        assert cli.main(["train", *words]) == 0
    periods = [after - before for before, after in itertools.pairwise(ends)]
    return [a - b for a, b in zip(periods, seconds[1:], strict=True)], seconds[1:]


@contextlib.contextmanager
def timed(
    function: Callable[..., Any], ends: list[float], seconds: list[float]
) -> Iterator[Callable[..., Any]]:
    """`function`, which notes when each call ended and how long it took."""

    def noted(*given: Any, **more: Any) -> Any:
        started = time.perf_counter()
        result = function(*given, **more)
        ends.append(time.perf_counter())
        seconds.append(ends[-1] - started)
        return result

    yield noted


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """The lines of the sweep go to a file, as those of a batch job do."""
    with open("sweep.log", "w") as log, contextlib.redirect_stdout(log):
        yield


def points(trials: int) -> list[int]:
    """10, 100, 1000 and so on up to the number of trials."""
    powers = [10**exponent for exponent in range(1, 6)]
    return [*(point for point in powers if point < trials), trials]


def hydra_job(jobs: int = 50) -> float:
    """Milliseconds of a job; the start is taken out by a second run with fewer jobs."""
    times = []
    for count in (jobs, 10):
        words = ["-m", "hydra/sweeper=basic", f"seed=range({count})", *RUN]
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            command = [sys.executable, "-c", _HYDRA, *words]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - started)
    return 1000 * (times[0] - times[1]) / (jobs - 10)


if __name__ == "__main__":
    main()
