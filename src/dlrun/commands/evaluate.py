"""`dlrun eval`: evaluate a run's model on a part of its data set, or on new data."""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands._arguments import (
    add_views,
    check_output_folder,
    path,
    run_parser,
    whole,
    writing_output,
)
from dlrun.commands._text import pairs
from dlrun.errors import ConfigError
from dlrun.runner.baseline_check import find_shortfall
from dlrun.storage.index import find_run
from dlrun.storage.run_directory import finite, is_ensemble
from dlrun.storage.run_summary import full_name
from dlrun.tracking.class_table import class_table, facts, means
from dlrun.tracking.numbers import column_texts, number_text

if TYPE_CHECKING:
    from dlrun.inference.ensemble import Stored
    from dlrun.inference.evaluate import Evaluation
    from dlrun.storage.run_directory import RunDirectory

_EPILOG = """\
Without checkpoint=, the weights are those of the run's own test metrics: the best ones, or the last where
trainer.early_stopping.restore_best is false. The data must be those of the run; they are split and encoded as
they were in training.

--backtest cuts the forecasts of the part into N folds, in the order of time. The model at the origin of a fold
makes all of its forecasts, each from the rows before it: the run's own model, which has seen none of the test part,
or with --refit one that is trained on all rows before the origin, the last val_fraction of them to validate, with
scaling of their own (rolling origins with an expanding window).

dataset.test_path names new data with their targets, in the form of the training data: a table, texts, a folder
with a folder for each class, a series, or one long text. All of it is the test part.

examples
  dlrun eval last                  the test part
  dlrun eval digits_cnn split=val
  dlrun eval last checkpoint=last --json
  dlrun eval last dataset.test_path=new.csv
  dlrun eval last dataset.test_path=new.csv dataset.drop_missing_target=true
  dlrun eval last dataset.path=/elsewhere/data.csv    where the run's own data have moved
  dlrun eval last --threshold f1         choose the threshold of two classes on the validation part
  dlrun eval last --tta 8                images: the mean of the predictions for eight views
  dlrun eval last --backtest 5           a series: forecasts from five successive origins
  dlrun eval last --backtest 5 --refit   each by a model that is trained on the rows before it
"""
_OPTIONS = {"split": ("test", "val", "train"), "checkpoint": ("best", "last")}
_CLASSES = 20  # in a table; --json has all
_NO_NAME = re.compile(r"[^\w-]+")  # what names of files do without
_NEW_IMAGES = "dataset.image_root"  # also says where the images of new rows are
_DROP = "dataset.drop_missing_target"  # of new rows as well
_OF_NEW = {_NEW_IMAGES, _DROP}
_PLACES = ("dataset.test_path", "dataset.path", "dataset.root", *sorted(_OF_NEW))


def main(argv: list[str]) -> int:
    """Print the metrics of RUN on one split, or on new rows."""
    arguments = _parser().parse_intermixed_args(argv)
    choices, places = _choices(arguments.choices)

    from dlrun.config.overrides import refuse_unreadable
    from dlrun.inference.ensemble import read_stored

    refuse_unreadable(arguments.choices)
    run = find_run(arguments.run)
    which = choices.get("checkpoint")
    stored, new = _placed_all(read_stored(run, allowed=arguments.allow, which=which), places)
    stored = [replace(one, views=arguments.tta) for one in stored]
    split = choices.get("split", "test")
    _check_backtest(arguments, choices, new)
    if new is not None and split != "test":
        raise ConfigError(
            f"split is {split}, but the rows of dataset.test_path are all a test; leave out one of the two"
        )

    from dlrun.data.files import settings_read_back

    if arguments.backtest is not None:
        if is_ensemble(run.path):
            raise ConfigError(
                f"--backtest is for a run, and {run.path} is an ensemble of runs: leave it out"
            )
        return _backtest(run, stored[0].plain, arguments, choices)
    with settings_read_back():
        if arguments.threshold is not None:
            _choose_threshold(run, stored, arguments.threshold)
        found = _evaluated(run, stored, split=split, new=new)
    if arguments.json:
        of = {"run": str(run.path), "split": split, "file": new}
        facts = {**of, **_models(found, stored), **_facts(found)}
        print(json.dumps(finite(facts)))
        return 0
    measured = f"the {split} part" if new is None else _listed(new)
    weights = f"{found.which} weights (epoch {found.epoch})"
    who = f"{len(stored)} members" if len(stored) > 1 else weights
    who += f", {arguments.tta} views of each image," if arguments.tta > 1 else ""
    print(f"{full_name(run.path)}: {who} on {measured}, {found.rows:,} {found.unit}")
    _print_metrics(found)
    return 0


def _evaluated(run: RunDirectory, stored: Sequence[Stored], *, split: str, new: Any) -> Evaluation:
    """What the run reaches, or the ensemble of several."""
    if len(stored) == 1:
        from dlrun.inference.evaluate import evaluate

        (only,) = stored
        return evaluate(run, only.plain, split=split, which=only.which, new=new, views=only.views)
    from dlrun.inference.ensemble import Predictor
    from dlrun.inference.ensemble_evaluation import evaluate_ensemble

    return evaluate_ensemble(Predictor.load(stored, run), split=split, new=new)


def _choose_threshold(run: RunDirectory, stored: Sequence[Stored], rule: str) -> None:
    """Choose a threshold of the run, or of the ensemble of several, or remove it."""
    from dlrun.inference.evaluate import choose_threshold

    if len(stored) == 1 or rule == "none":
        choose_threshold(run, stored[0].plain, rule, which=stored[0].which)
        return
    from dlrun.inference.ensemble import Predictor
    from dlrun.inference.ensemble_evaluation import choose_ensemble_threshold

    choose_ensemble_threshold(Predictor.load(stored), run, rule)


def _parser() -> argparse.ArgumentParser:
    parser = run_parser("eval", __doc__, _EPILOG)
    parser.add_argument(
        "choices",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="split=test, val or train (default: test); checkpoint=best or last; dataset.test_path=FILE for new "
        "rows; dataset.path or dataset.root where the data have moved",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object instead of a table"
    )
    parser.add_argument(
        "--threshold",
        metavar="RULE",
        help="choose from which probability on a sample is of the second class, or a target is yes, on the validation "
        "part: f1, youden, accuracy, cost=5, or a number; of a reconstruction, what is an anomaly: quantile=0.99; kept "
        "for eval, predict and export; none removes it",
    )
    add_views(parser)
    parser.add_argument(
        "--backtest",
        metavar="N",
        type=whole(1, 1000),
        help="of a series, the forecasts of the part from N successive origins: each up to the next, by step",
    )
    parser.add_argument(
        "--refit",
        action="store_true",
        help="with --backtest: train a new model at each origin, as the run was, on the rows before it alone",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=path,
        help="with --backtest: where its pictures go (default: the folder backtest of the run)",
    )
    return parser


def _check_backtest(arguments: argparse.Namespace, choices: dict[str, str], new: Any) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigError: naming the words.
    """
    if arguments.tta > 1 and (arguments.threshold or arguments.backtest):
        other = "--threshold" if arguments.threshold else "--backtest"
        raise ConfigError(f"--tta and {other} are given, which do not go together: leave out one")
    if arguments.backtest is None:
        for name in ("refit", "output"):
            if getattr(arguments, name):
                raise ConfigError(
                    f"--{name} belongs to --backtest: add --backtest 5, or leave it out"
                )
        return
    if arguments.threshold is not None:
        raise ConfigError("--threshold is for classes, and --backtest for series: leave out one")
    if new is not None:
        raise ConfigError("--backtest takes the run's own series: leave out dataset.test_path")
    if choices.get("split") == "train":
        raise ConfigError(
            "split is train, but --backtest measures forecasts of rows that the model has not learned: "
            "choose test or val"
        )
    if arguments.refit and "checkpoint" in choices:
        raise ConfigError(
            f"checkpoint is {choices['checkpoint']}, but --refit trains new models: leave out one of the two"
        )
    check_output_folder(arguments.output)


def _backtest(
    run: RunDirectory, plain: dict[str, Any], arguments: argparse.Namespace, choices: dict[str, str]
) -> int:
    """Print the tables of a backtest and draw its pictures."""
    from dlrun.commands import _backtest_page
    from dlrun.data.files import settings_read_back
    from dlrun.diagnostics.forecast_figure import backtest_pictures
    from dlrun.inference.backtest import backtest

    split = choices.get("split", "test")
    with settings_read_back():
        found = backtest(
            run,
            plain,
            count=arguments.backtest,
            split=split,
            which=choices.get("checkpoint"),
            refit=arguments.refit,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
    folder: Path = arguments.output or run.path / "backtest"
    drawn = []
    with writing_output(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in backtest_pictures(found):
            drawn.append(folder / f"{_NO_NAME.sub('_', name)}.png")
            drawn[-1].write_bytes(picture.png)
    if arguments.json:
        facts = {"run": str(run.path), "split": split, **_backtest_page.facts(found)}
        print(json.dumps(finite({**facts, "pictures": [str(file) for file in drawn]})))
        return 0
    weights = f"{found.which} weights (epoch {found.epoch})"
    who = "a model trained anew at each" if arguments.refit else f"{weights} at each"
    print(f"{full_name(run.path)}: {arguments.backtest} origins in the {split} part, {who}\n")
    print(_backtest_page.page(found))
    print(pairs([("picture", str(file)) for file in drawn], indent=""))
    return 0


def _print_metrics(found: Evaluation) -> None:
    """What was measured, what the baselines reach, and the confusion matrix of few classes."""
    rows = dict(zip(found.metrics, column_texts([*found.metrics.values()]), strict=True))
    for name, value in found.undecided.items():
        rows[name] += f"  ({number_text(value)} at the threshold 0.5)"
    for name, values in found.baselines.items():
        over_all = {metric: value for metric, value in values.items() if "/" not in metric}
        reached = ", ".join(f"{metric} {number_text(value)}" for metric, value in over_all.items())
        rows[name] = f"{reached} (baseline)"
    print(pairs(rows.items()))
    if shortfall := find_shortfall(found.metrics, found.baselines):
        print(f"  warning: {shortfall}")
    if found.classes:
        print(f"\n{textwrap.indent(class_table(found.classes, most=_CLASSES), '  ')}")
    if found.confusion and len(found.class_names) <= _CLASSES:
        print(_confusion_table(found.confusion, found.class_names))


def _choices(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """What is chosen, and the words that say where data are."""
    choices: dict[str, str] = {}
    places: list[str] = []
    for word in words:
        key, _, value = word.partition("=")
        if key in _PLACES:
            places.append(word)
            continue
        if key not in _OPTIONS:
            raise ConfigError(
                f"{word}: dlrun eval takes split=… and checkpoint=…, dataset.test_path=… for new rows and "
                "dataset.path=… where the data have moved; to change settings, use dlrun resume"
            )
        if value not in _OPTIONS[key]:
            raise ConfigError(
                f"{key} is {value or 'empty'}, but must be one of {', '.join(_OPTIONS[key])}"
            )
        if key in choices:
            raise ConfigError(f"{key} is given twice, as {choices[key]} and {value}; leave one out")
        choices[key] = value
    return choices, places


def _placed_all(stored: Sequence[Stored], words: list[str]) -> tuple[list[Stored], Any]:
    """`_placed` for the run, or for each member of an ensemble."""
    placed = [_placed(one.plain, words) for one in stored]
    each = zip(stored, placed, strict=True)
    return [replace(one, plain=plain) for one, (plain, _) in each], placed[0][1]


def _placed(plain: dict[str, Any], words: list[str]) -> tuple[dict[str, Any], Any]:
    """The config with the places of the run's own data, and that of new rows; None where there are none."""
    if not words:
        return plain, None
    from dlrun.inference.load import override

    keys = {word.partition("=")[0] for word in words}
    had = plain["dataset"].get("test_path")
    of_new = {"test_path": None, "drop_missing_target": False}
    placed = override({**plain, "dataset": {**of_new, **plain["dataset"]}}, words)
    new = placed["dataset"]["test_path"]
    if "dataset.test_path" not in keys or (had is not None and len(keys - {_DROP}) > 1):
        # All that was given is where the run's own data are.
        if _DROP in keys:
            raise ConfigError(
                f"{_DROP} is for the new rows of dataset.test_path, but the run's own data are read as in training: "
                "leave it out"
            )
        own = {
            key: value
            for key, value in placed["dataset"].items()
            if key not in of_new or key in plain["dataset"]
        }
        return {**placed, "dataset": own}, None
    if others := keys - {"dataset.test_path", *_OF_NEW}:
        raise ConfigError(
            f"dataset.test_path is {new}, whose rows are measured without the run's own data: leave out "
            f"{' and '.join(sorted(others))}"
        )
    if new is None:
        raise ConfigError("dataset.test_path is null, but must name new rows; or leave it out")
    return (placed if _OF_NEW & keys else plain), new


def _listed(new: str | list[str]) -> str:
    return new if isinstance(new, str) else ", ".join(new)


def _models(found: Evaluation, stored: Sequence[Stored]) -> dict[str, Any]:
    """Which weights were measured, or whose."""
    if len(stored) > 1:
        return {"members": [one.name for one in stored]}
    return {"checkpoint": found.which, "epoch": found.epoch, "step": found.step}


def _facts(found: Evaluation) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "metrics": found.metrics,
        "baselines": found.baselines,
        "confusion": found.confusion,
        "per_class": facts(found.classes) if found.classes else None,
        "class_means": facts(means(found.classes)) if found.classes else None,
        "thresholds": found.thresholds and asdict(found.thresholds),
        "at_0.5": dict(found.undecided),
    }


def _confusion_table(confusion: list[list[int]], class_names: tuple[str, ...]) -> str:
    """Rows are true classes, columns predicted ones."""
    cell = max(len(str(max(map(max, confusion)))), *(min(len(name), 6) for name in class_names))
    label = max(map(len, class_names))
    head = " ".join(f"{name[:6]:>{cell}}" for name in class_names)
    rows = [
        f"  {name:>{label}}  " + " ".join(f"{count or '·':>{cell}}" for count in row)
        for name, row in zip(class_names, confusion, strict=True)
    ]
    return "\n".join(["", f"  {'true':>{label}}  {head}  (predicted)", *rows])
