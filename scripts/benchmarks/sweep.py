"""What a sweep in one process adds to each trial, beside what the same run costs alone.

From the end of one trial's training to the end of the next passes the training of a run, and what the
sweep adds: drawing and composing its settings, the study, the leaderboard, the line on the screen. The
first is timed inside the sweep; the rest is the figure, as a median over windows of trials. Beside it, in
the same run: the same sweep stacked, where training and the rest cannot be told apart, as the time that a
stack took for each of its trials (none for trials drawn by what others came to); and jobs that do nothing
through Hydra's own sweeper and launcher, on the same configs.
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
QUIET = ["tracking.tensorboard=false", "trainer.accelerator=cpu"]

# Jobs that do nothing: what remains is composition and launching.
_HYDRA = """
import sys, hydra
from dlrun.config.compose import register_resolvers
from dlrun.config.search_path import packaged_configs
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
        together = stacked(arguments.trials, arguments.strategy)
    print(f"sweep={arguments.strategy}, {arguments.trials} trials, milliseconds a trial, medians")
    heads = ("the sweep adds", "the run itself", "all of it, stacked")
    print(f"{'around trial':>12}  {'  '.join(heads)}")
    for end in points(arguments.trials):
        window = slice(max(0, end - WINDOW), end)
        print(
            f"{end:>12}  {1000 * statistics.median(added[window]):>14.1f}"
            f"  {1000 * statistics.median(trained[window]):>14.1f}"
            f"  {f'{1000 * together[end - 1]:.1f}' if end <= len(together) else '–':>18}"
        )
    print(f"Hydra's own sweeper and launcher, a job that does nothing: {hydra_job():.0f} ms")


def sweep(trials: int, strategy: str) -> tuple[list[float], list[float]]:
    """Seconds that the sweep added to each trial after the first, and that its run took."""
    from dlrun.runner import start
    from dlrun.runner.session import Session

    begun: list[tuple[float, float]] = []  # when each call began and ended
    trained: list[tuple[float, float]] = []
    with timed(start, "begin", begun), timed(Session, "train", trained):
        search(trials, strategy, "off")
    calls = zip(begun, trained, strict=True)
    seconds = [(b - a) + (d - c) for (a, b), (c, d) in calls]  # a run's beginning, and its training
    periods = [after - before for (_, before), (_, after) in itertools.pairwise(trained)]
    return [a - b for a, b in zip(periods, seconds[1:], strict=True)], seconds[1:]


def stacked(trials: int, strategy: str) -> list[float]:
    """Seconds of each trial that the same sweep trains stacked, those of a stack on average."""
    from dlrun.sweep.stack_runner import StackRunner
    from dlrun.sweep.stack_scheduler import StackScheduler

    calls: list[tuple[float, float]] = []
    rounds: list[tuple[float, float]] = []
    sizes: list[int] = []
    count = timed(StackRunner, "train", calls, note=lambda _, attempts: sizes.append(len(attempts)))
    with count, timed(StackScheduler, "run", rounds):
        search(trials, strategy, "on")
    ends = [rounds[0][0], *(end for _, end in calls)]
    periods = [after - before for before, after in itertools.pairwise(ends)]
    return [s / size for s, size in zip(periods, sizes, strict=True) for _ in range(size)]


def search(trials: int, strategy: str, stack: str) -> None:
    """Run the sweep; its lines go to a file, as those of a batch job do."""
    from dlrun import cli

    words = [f"sweep={strategy}", f"sweep.trials={trials}", f"sweep.stack={stack}"]
    with open("sweep.log", "w") as log, contextlib.redirect_stdout(log):
        code = cli.main(["train", *words, *SPACE, *RUN, *QUIET, f"hydra.sweep.dir={stack}"])
    assert code == 0


@contextlib.contextmanager
def timed(
    place: Any,
    name: str,
    calls: list[tuple[float, float]],
    note: Callable[..., None] = lambda *_: None,
) -> Iterator[None]:
    """While this is open, `calls` is told when each call of a function began and ended."""
    function = getattr(place, name)

    def noted(*given: Any, **more: Any) -> Any:
        note(*given)
        started = time.perf_counter()
        result = function(*given, **more)
        calls.append((started, time.perf_counter()))
        return result

    setattr(place, name, noted)
    try:
        yield
    finally:
        setattr(place, name, function)


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
