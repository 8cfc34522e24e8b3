"""`dlrun ensemble`: average the predictions of several runs, as one run.

A sweep stands for all of its completed trials, SWEEP/3 for the seeds of its trial 3. Averaged are the probabilities
of classes, the values of a regression in their own units, each quantile, and the probability of each next character.
Members may differ in model, settings and preprocessing: each prepares the raw inputs as it did in training. They must
predict the same targets and classes.

The ensemble has a copy of each member's weights, so that the runs and sweeps may be deleted. It is measured on the
rows that are in the test part of every member, since the others were trained or validated on by one of them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.commands import _text
from dlrun.commands._arguments import CommandParser, filled, whole
from dlrun.commands._ensemble_page import members_table
from dlrun.commands._sweep_rows import read_objective
from dlrun.config.metrics import rank
from dlrun.config.settings import check_name
from dlrun.errors import ConfigError, command, note
from dlrun.storage.index import find_runs
from dlrun.storage.run_directory import RunDirectory, is_ensemble
from dlrun.storage.run_summary import RunSummary, full_name, read_run
from dlrun.storage.sweep_directory import SweepDirectory

if TYPE_CHECKING:
    from dlrun.inference.ensemble import Predictor, Stored
    from dlrun.runner.ensemble import Result

_EPILOG = """\
examples
  dlrun ensemble digits_cnn digits_mlp         two runs
  dlrun ensemble SWEEP                         all completed trials, as of a sweep over seeds or folds
  dlrun ensemble SWEEP --best 5                those with the best objective
  dlrun ensemble SWEEP/3                       the seeds of one trial
  dlrun ensemble digits_cnn digits_mlp --weights 2,1
  dlrun eval ensemble dataset.test_path=new.csv
"""


def main(argv: list[str]) -> int:
    """Make an ensemble of the runs, measure it and print what it reaches."""
    arguments = _parser().parse_args(argv)
    runs = _members(arguments.runs, arguments.best)
    shares = _shares(arguments.weights, len(runs))
    if arguments.name is not None:
        check_name(arguments.name)

    from dlrun.inference.ensemble import Predictor, read_stored
    from dlrun.inference.load import reported_weights
    from dlrun.runner.ensemble import write_ensemble

    stored = []
    for run, share in zip(runs, shares, strict=True):
        (one,) = read_stored(RunDirectory(run.path), allowed=arguments.allow)
        stored.append(replace(one, share=share, which=reported_weights(one.run, one.plain)))
    predictor = Predictor.load(stored)
    result = _untested(predictor) if arguments.no_test else _tested(predictor)
    made = write_ensemble(predictor, result, name=arguments.name or _name(stored))
    print(_page(result, made, writes=predictor.spec.carries_state))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("ensemble", __doc__, _EPILOG)
    add = parser.add_argument
    help_runs = "a run, a sweep (its completed trials) or a trial with several seeds: a directory, part of a name"
    add("runs", metavar="RUN", nargs="+", type=filled, help=help_runs)
    help_best = "of each sweep only the N completed runs with the best objective"
    add("--best", metavar="N", type=whole(1, 10**6), help=help_best)
    help_weights = "a weight for each member, as in 2,1,1 (default: all alike)"
    add("--weights", metavar="W,W,…", type=filled, help=help_weights)
    help_name = "how the name of its directory ends (default: ensemble, after the name that all members share)"
    add("--name", metavar="NAME", type=filled, help=help_name)
    add("--no-test", action="store_true", help="do not read the data and measure the ensemble")
    help_allow = (
        "call this _target_ of a member's config, although no config here offers it (repeatable)"
    )
    add("--allow", metavar="TARGET", action="append", type=filled, default=[], help=help_allow)
    return parser


def _members(words: Sequence[str], best: int | None) -> list[RunSummary]:
    """The completed runs that the words mean, each once.

    Raises:
        ConfigError: a run that is not completed or is named twice, fewer than two runs.
    """
    found: dict[Path, RunSummary] = {}
    for word in words:
        paths, sweep = find_runs(word)
        if best is not None and sweep is None:
            raise ConfigError(
                f"--best chooses among the trials of a sweep, and {word} is none: leave it out"
            )
        runs = [read_run(path) for path in paths]
        completed = [run for run in runs if run.status == "completed"]
        if sweep is not None and len(completed) < len(runs):
            note(
                f"{word}: {len(completed)} of {_text.plural(len(runs), 'run')} are completed, and members"
            )
        elif sweep is None and len(completed) < len(runs):
            _refuse_unfinished(next(run for run in runs if run.status != "completed"))
        for run in completed if sweep is None or best is None else _best(sweep, completed, best):
            if (place := run.path.resolve()) in found:
                raise ConfigError(
                    f"{full_name(run.path)} is given twice, but can be a member once: leave one out"
                )
            found[place] = run
    for run in found.values():
        if is_ensemble(run.path):
            raise ConfigError(
                f"{full_name(run.path)} is an ensemble itself: give the runs that it was made of"
            )
    if len(found) < 2:
        raise ConfigError(
            f"{' '.join(words)} means {_text.plural(len(found), 'completed run')}, but an ensemble needs at least 2"
        )
    return list(found.values())


def _refuse_unfinished(run: RunSummary) -> None:
    raise ConfigError(
        f"{full_name(run.path)} is {run.status}, but members must be completed: "
        f"`{command('resume', run.path)}` trains it to its end"
    )


def _best(sweep: Path, completed: Sequence[RunSummary], count: int) -> list[RunSummary]:
    """The best by the sweep's objective.

    Raises:
        ConfigError: its runs cannot be compared, or are fewer.
    """
    objective = read_objective(SweepDirectory(sweep))
    if not objective.comparable:
        raise ConfigError(
            f"--best is {count}, but the trials of {sweep} have different data or targets, and none is the best: "
            "name the runs"
        )
    if len(completed) < count:
        raise ConfigError(
            f"--best is {count}, but {sweep} has only {len(completed)} completed: ask for fewer"
        )

    def merit(run: RunSummary) -> tuple[bool, float]:
        return rank(run.metrics.get(objective.metric), minimize=objective.minimize)

    return sorted(completed, key=merit)[:count]


def _shares(text: str | None, count: int) -> list[float]:
    """Of each member its share of the mean, 1 together.

    Raises:
        ConfigError: weights that are not positive, or not as many as members.
    """
    if text is None:
        return [1 / count] * count
    try:
        weights = [float(word) for word in text.split(",")]
    except ValueError:
        weights = []
    if not weights or not all(0 < weight < math.inf for weight in weights):
        raise ConfigError(f"--weights is {text}, but must be positive numbers, as in 2,1,1")
    if len(weights) != count:
        raise ConfigError(
            f"--weights has {_text.plural(len(weights), 'number')}, but there are {count} members: give one for each"
        )
    return [weight / math.fsum(weights) for weight in weights]


def _name(stored: Sequence[Stored]) -> str:
    """The name that all members share, if they do, and what they have become."""
    names = {str(one.plain.get("name")) for one in stored}
    return f"{names.pop()}_ensemble" if len(names) == 1 else "ensemble"


def _tested(predictor: Predictor) -> Result:
    """What the ensemble reaches on the part that its members are tested on."""
    from dlrun.data.files import settings_read_back
    from dlrun.inference.ensemble_evaluation import MemberScores, NoCommonRows, evaluate_ensemble
    from dlrun.runner.ensemble import Result

    began, members = time.monotonic(), list[MemberScores]()
    kept = predictor.reference.kept
    has_test = kept is None or kept.origin is None or kept.origin.content["test"][0] > 0
    part = "test" if has_test else "val"
    try:
        with settings_read_back():
            whole = evaluate_ensemble(predictor, split=part, each=members.append)
    except NoCommonRows as reason:
        note(f"the ensemble is not measured: {reason}")
        return _untested(predictor)
    if (
        len({one.loss_unit for one in members}) > 1
    ):  # losses of scaled targets say nothing side by side
        for one in members:
            del one.metrics[f"{part}/loss"]
        del whole.metrics[f"{part}/loss"]
    return Result(whole, members, time.monotonic() - began)


def _untested(predictor: Predictor) -> Result:
    """The members with what each reached on its own test part."""
    from dlrun.inference.ensemble_evaluation import MemberScores
    from dlrun.runner.ensemble import Result

    members = []
    for one in predictor.stored:
        metrics = read_run(one.run.path).metrics
        own = {name: value for name, value in metrics.items() if name.startswith("test/")}
        members.append(MemberScores(one.name, one.share, own, ()))
    return Result(None, members, 0.0)


def _page(result: Result, made: RunDirectory, *, writes: bool) -> str:
    """Each member, their mean, the ensemble and the baselines, and what to do next: `writes` texts, or predicts."""
    summary = read_run(made.path)
    use = ("generate", "--prompt TEXT") if writes else ("predict", "FILE")
    rows = [("run", str(made.path)), (use[0], f"{command(use[0], made.path)} {use[1]}")]
    if result.whole is not None:
        rows.insert(0, ("measured on", f"{result.whole.rows:,} {result.whole.unit}"))
    return f"{members_table(summary)}\n\n{_text.pairs(rows, indent='')}"
