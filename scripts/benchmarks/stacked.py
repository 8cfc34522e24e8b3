"""Sweeps trained stacked, many trials as one program, against the same trials in turn.

A whole sweep over the learning rate is timed, files and pictures included: `sweep.stack` on, auto and
off take turns in one process, after a small sweep that warms it up. Printed are medians of the ratios
within a turn, and their range. The sweep in turn may be measured on fewer trials: a sweep of 2 trials
and one of m are timed in each turn, each further trial costs what those m - 2 cost on average, and so
N trials take T(2) + (N - 2) * (T(m) - T(2)) / (m - 2). What a sweep takes to start and to end, and what
its first trial costs more than others, is in T(2), and counts once. The stacked sweep is always whole.

`steps` is the ratio of the steps alone: one step of every run in turn against one step of the stack. What
lies between it and `on` is what files and pictures cost. `rule` is what sweep.stack=auto works out for it.

With --rule only steps are timed, of a grid of shapes, and printed beside what the rule says of them: that
is what the prices in dlrun/stacked/cost_model.py are fitted to.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

import _accelerator
from _pace import stack_step_seconds, step_seconds
from dlrun import cli
from dlrun.config import compose, settings
from dlrun.stacked.cost_model import gain
from dlrun.stacked.stack import Stack
from dlrun.sweep.data_cache import data_loader
from dlrun.training.build import assemble
from dlrun.training.loop import Engine

RANGE = (1e-4, 1e-1)  # of the learning rates
SPACE = "optimizer.lr=tag(log,interval({:g},{:g}))".format(*RANGE)
MODES = ("on", "auto", "off")
Sweeper = Callable[[int], float]  # seconds of a sweep of so many trials


@dataclass(frozen=True)
class Case:
    """A sweep: what its trials train, how many there are, and how often faster it is to be."""

    overrides: str
    trials: int = 64
    epochs: int = 20
    target: float | None = None

    def on(self, accelerator: str) -> Case:
        """The same, trained there."""
        return replace(self, overrides=f"{self.overrides} trainer.accelerator={accelerator}")


MOONS = "dataset=moons model=mlp model.hidden=[16]"
CASES = {
    "digits-mlp": Case("dataset=digits model=mlp model.hidden=[64]", target=8),
    "digits-logistic": Case("dataset=digits model=logistic", target=12),
    "moons-mlp": Case(MOONS, target=20),
    "moons-10000-mlp": Case(f"{MOONS} dataset.size=10000", target=20),
    "digits-cnn": Case("dataset=digits model=cnn", trials=16, epochs=5),
    "digits-lstm": Case("dataset=digits model=lstm", trials=16, epochs=3),
    "mnist-mlp": Case("dataset=mnist model=mlp model.hidden=[128]", trials=4, epochs=1),
}
_MLPS = {
    "logistic": "model=logistic",
    "mlp 32": "model=mlp model.hidden=[32]",
    "mlp 128-64": "model=mlp model.hidden=[128,64]",
    "mlp 512": "model=mlp model.hidden=[512]",
    "mlp 4 x 64, norm": "model=mlp model.hidden=[64,64,64,64] model.batch_norm=before",
    "mlp 4 x 256": "model=mlp model.hidden=[256,256,256,256]",
    "mlp 2 x 1024": "model=mlp model.hidden=[1024,1024]",
}
_IMAGES = {
    f"cnn {f}": f"model=cnn model.filters=[{f.replace('-', ',')}]"
    for f in ("4-8", "16-32", "32-64")
}
_SEQUENCES = {
    f"{cell} {size}": f"model={cell} model.hidden_size={size}"
    for cell in ("rnn", "lstm", "gru")
    for size in (8, 32, 128)
}
SHAPES = _MLPS | _IMAGES | _SEQUENCES  # of models for digits
BATCHES = (16, 128)
RUNS = (4, 16)
_PAIRS = 9  # of steps in turn and as one, for one row
PEER = "optuna-lightning"  # trains the first case
PEER_TARGET = 40
_PEER_MEASURED = 6  # of its trials


def main() -> None:
    """Run the cases named on the command line, or all whose data is there."""
    parser = _parser()
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.cases if name not in CASES]:
        parser.error(f"there is no case {unknown[0]}; choose from: {', '.join(CASES)}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if "DLRUN_DATA" in os.environ:  # sweeps are run in folders of their own
        os.environ["DLRUN_DATA"] = str(Path(os.environ["DLRUN_DATA"]).absolute())
    if arguments.rule:
        compare_with_rule(arguments.repeat, arguments.accelerator)
        return
    names = arguments.cases or [
        n for n in CASES if not n.startswith("mnist") or "DLRUN_DATA" in os.environ
    ]
    print(_accelerator.described(arguments.accelerator))
    print(
        f"{'case':<16} {'trials':>6}  {'in turn / on':<20} {'in turn / auto':<20} {'auto':<8}"
        f" {'steps':<20} {'rule':>5} {'seconds on':>10}  target"
    )
    for name in names:
        case = CASES[name].on(arguments.accelerator)
        compare(name, case, arguments.trials or case.trials, arguments.measured, arguments.repeat)
    if arguments.peer:
        name = next(iter(CASES))
        trials = arguments.trials or CASES[name].trials
        case = CASES[name].on(arguments.accelerator)
        compare_with_peer(name, case, trials, arguments.repeat)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scripts/bench stacked", description=__doc__)
    add = parser.add_argument
    add("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    add("--trials", type=int, help="of each sweep (default 64, or 16 for slow models)")
    add("--measured", type=int, default=16, help="trials timed in turn (default 16)")
    add("--repeat", type=int, default=3, help="turns (default 3)")
    add("--threads", type=int, help="of torch (default: its own choice)")
    add("--rule", action="store_true", help="steps of many shapes, beside what the rule says")
    add("--peer", choices=[PEER], help=f"time {next(iter(CASES))} by Optuna and Lightning, too")
    _accelerator.add_option(parser)
    return parser


def compare(name: str, case: Case, trials: int, measured: int, repeat: int) -> None:
    """Print one row."""
    sweep("on", case, 2)
    turns, steps, choices = [], [], set()
    for turn in range(repeat):
        seconds = {}
        # Whoever comes later finds the processor in another state: take turns at that too.
        for mode in (*MODES[turn % 3 :], *MODES[: turn % 3]):
            if mode == "off":
                seconds[mode] = whole(lambda n: sweep("off", case, n).seconds, trials, measured)
            else:
                swept = sweep(mode, case, trials)
                seconds[mode] = swept.seconds
                choices |= {swept.as_one} if mode == "auto" else set()
        turns.append(seconds)
        steps.append(step_ratio(case, trials))
    print(
        f"{name:<16} {trials:>6}  {spread([t['off'] / t['on'] for t in turns]):<20}"
        f" {spread([t['off'] / t['auto'] for t in turns]):<20}"
        f" {'/'.join('as one' if c else 'in turn' for c in sorted(choices)):<8}"
        f" {spread(steps):<20} {rule(plain_config(case), trials):>5.1f}"
        f" {statistics.median(t['on'] for t in turns):>10.2f}"
        f"  {case.target or '≥ 0.95 (auto)'}",
        flush=True,
    )


def compare_with_rule(repeat: int, accelerator: str) -> None:
    """Print a row for each shape, batch size and number of runs."""
    print(f"{_accelerator.described(accelerator)}, digits, Adam")
    print(f"{'model':<18} {'batch':>5} {'runs':>4}  {'in turn / as one':>16} {'rule':>6}  decision")
    for name, words in SHAPES.items():
        for batch in BATCHES:
            case = Case(f"dataset=digits {words} trainer.batch_size={batch}")
            plain = plain_config(case.on(accelerator))
            for runs in RUNS:
                measured = measured_gain(plain, runs, pairs=max(_PAIRS, repeat))
                ruled = rule(plain, runs)
                decision = "as one" if ruled > 1 else "in turn"
                print(
                    f"{name:<18} {batch:>5} {runs:>4}  {measured:>16.2f} {ruled:>6.2f}  {decision}",
                    flush=True,
                )


def measured_gain(plain: Any, runs: int, pairs: int) -> float:
    """The median time of a step in turn over that as one, measured by turns."""
    alone = make_engine(plain, 1e-3)
    stack = Stack([make_engine(plain, 1e-3) for _ in range(runs)], eval_rows=64)
    times = [(step_seconds(alone), stack_step_seconds(stack)) for _ in range(pairs)]
    single, together = (statistics.median(column) for column in zip(*times, strict=True))
    return runs * single / together


def rule(plain: Any, runs: int) -> float:
    """What sweep.stack=auto works out for the same."""
    two = Stack([make_engine(plain, 1e-3) for _ in range(2)], eval_rows=64)
    stack_step_seconds(two)  # for the optimizers' memory
    return gain(make_engine(plain, 1e-3), two, runs)


def compare_with_peer(name: str, case: Case, trials: int, repeat: int) -> None:
    """Print how many times as long Optuna and Lightning take for the sweep."""
    from peer_programs.optuna_lightning import search

    built = assemble(settings.parse(plain_config(case)))  # for its data only
    train, val = built.data.train, built.data.val
    tensors = (train.inputs, train.targets, val.inputs, val.targets)
    kind = train.inputs.device.type

    def peer(count: int) -> float:
        with elsewhere("peer.log"):
            started = time.perf_counter()
            search(tensors, trials=count, epochs=case.epochs, lr=RANGE, accelerator=kind)
            return time.perf_counter() - started

    sweep("on", case, 2), peer(1)
    pairs = [
        (sweep("auto", case, trials).seconds, whole(peer, trials, _PEER_MEASURED))
        for _ in range(repeat)
    ]
    ratios = [theirs / ours for ours, theirs in pairs]
    print(f"{name}: {PEER} / auto, {trials} trials: {spread(ratios)}, target {PEER_TARGET}")


def whole(sweeper: Sweeper, trials: int, measured: int) -> float:
    """Seconds of a sweep of `trials` in turn, from one of 2 and one of `measured` where that is less."""
    if trials <= measured:
        return sweeper(trials)
    two, some = sweeper(2), sweeper(measured)
    return two + (trials - 2) * (some - two) / (measured - 2)


@dataclass(frozen=True)
class Swept:
    """A sweep that was made.

    Attributes:
        as_one: whether trials were trained as one.
        losses: the best validation loss of each trial, in their order.
    """

    seconds: float
    as_one: bool
    losses: list[float]


def sweep(mode: str, case: Case, trials: int, *more: str) -> Swept:
    """A whole sweep in this process; `more` are settings of it."""
    words = [*case.overrides.split(), f"trainer.max_epochs={case.epochs}", SPACE, "sweep=random"]
    words += [f"sweep.trials={trials}", f"sweep.stack={mode}", "hydra.sweep.dir=sweep", *more]
    with elsewhere("sweep.log") as folder:
        started = time.perf_counter()
        code = cli.main(["train", *words])
        seconds = time.perf_counter() - started
        sys.stdout.flush()
        if code:  # dlrun has said why
            raise SystemExit(code)
        with (folder / "sweep" / "leaderboard.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["status"] == "completed"]
        as_one = "runs as one" in (folder / "sweep.log").read_text()
    if len(rows) < trials:  # those that fail early would be quick, and the ratio worth nothing
        raise SystemExit(f"only {len(rows)} of {trials} trials were completed: {' '.join(words)}")
    rows.sort(key=lambda row: int(row["trial"]))
    return Swept(seconds, as_one, [float(row["val/loss"]) for row in rows])


@contextlib.contextmanager
def elsewhere(log: str) -> Iterator[Path]:
    """An empty folder to work in; what is printed goes to a file there, as that of a batch job does."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with open(log, "w") as file, contextlib.redirect_stdout(file):
                yield Path(folder)
        finally:
            os.chdir(before)


def step_ratio(case: Case, trials: int) -> float:
    """How many times as long as one step of a stack the same steps take in turn, measured."""
    stack = stack_of(case, trials)
    plain = plain_config(case)
    pairs = [
        (trials * step_seconds(make_engine(plain, RANGE[0])), stack_step_seconds(stack))
        for _ in range(5)
    ]
    return statistics.median(alone / together for alone, together in pairs)


def stack_of(case: Case, trials: int) -> Stack:
    """Trials of different learning rates as one."""
    plain = plain_config(case)
    rates = torch.logspace(math.log10(RANGE[0]), math.log10(RANGE[1]), trials).tolist()
    return Stack([make_engine(plain, lr) for lr in rates], eval_rows=1024)


def make_engine(plain: Any, lr: float) -> Engine:
    """The engine of one trial."""
    plain = copy.deepcopy(plain)
    plain["optimizer"]["lr"] = lr
    return assemble(settings.parse(plain), load=data_loader).engine


def plain_config(case: Case) -> Any:
    """The settings that all trials share."""
    words = [*case.overrides.split(), f"trainer.max_epochs={case.epochs}", "name=bench"]
    plain: Any = OmegaConf.to_container(compose.compose(words), resolve=True)
    del plain["sweep"]  # no setting of a run
    return plain


def spread(ratios: Sequence[float]) -> str:
    """The median and the range."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


if __name__ == "__main__":
    main()
