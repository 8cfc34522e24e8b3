"""An ensemble written as a run: the directory that other commands read, with a copy of each member in it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun import __version__
from dlrun.config.settings import parse
from dlrun.inference.ensemble import Predictor, Stored
from dlrun.inference.ensemble_evaluation import MemberScores
from dlrun.inference.evaluate import Evaluation
from dlrun.inference.load import reported_weights
from dlrun.runner.baseline_check import find_shortfall
from dlrun.runner.metadata import environment, now
from dlrun.storage import checkpoint
from dlrun.storage.disk import writing
from dlrun.storage.ensemble_directory import Member, member_directory, write_members
from dlrun.storage.index import OUTPUTS, next_order
from dlrun.storage.run_directory import RunDirectory, write_whole
from dlrun.storage.run_summary import read_run
from dlrun.tracking.tracker import Tracker
from dlrun.training.losses.choice import loss_of
from dlrun.training.tasks import make_task

_KEPT = ("step", "epoch", "steps_per_epoch", "spec", "preprocessing", "origin", "metrics")


@dataclass(frozen=True)
class Result:
    """What an ensemble reaches, and each of its members.

    Attributes:
        whole: None where it could not be measured.
        members: on the same rows; of an ensemble that was not measured, on each member's own.
        seconds: that measuring took.
    """

    whole: Evaluation | None
    members: Sequence[MemberScores]
    seconds: float

    @property
    def metrics(self) -> Mapping[str, float]:
        """Those of the ensemble."""
        return self.whole.metrics if self.whole else {}

    @property
    def baselines(self) -> Mapping[str, Mapping[str, float]]:
        """What needs no model reaches on the same rows."""
        return self.whole.baselines if self.whole else {}


def write_ensemble(predictor: Predictor, result: Result, *, name: str) -> RunDirectory:
    """Make a directory in outputs/runs for the ensemble, whole or not at all; `name` ends its name.

    Raises:
        DiskFull: there is no room for the copies.
    """
    moment = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    place = OUTPUTS / "runs" / f"{moment}_{name}_{secrets.token_hex(3)}"
    hidden = RunDirectory(place.with_name(f".{place.name}"))  # which no command looks into
    try:
        with writing(place):
            _write(hidden, predictor, result, name)
            os.replace(hidden.path, place)
    except BaseException:
        shutil.rmtree(hidden.path, ignore_errors=True)
        raise
    return RunDirectory(place)


def _write(run: RunDirectory, predictor: Predictor, result: Result, name: str) -> None:
    run.path.mkdir(parents=True)
    members = []
    for number, stored in enumerate(predictor.stored):
        copied = _copy(stored, member_directory(run, number))
        members.append(Member(stored.name, stored.share, copied))
    write_members(run, members)
    write_whole(run.environment_file, json.dumps(environment(), indent=2) + "\n")
    summary = _summary(predictor, result, name)
    run.write_summary(summary)
    shown = any(one.plain["tracking"]["tensorboard"] for one in predictor.stored)
    tracker = Tracker(run.metrics_file, run.tensorboard, tensorboard=shown, start_step=0)
    with closing(tracker):
        if result.metrics:
            tracker.log(0, 0, result.metrics)
        tracker.hparams({"kind": "ensemble", "members": len(members), **summary["choices"]})


def _copy(stored: Stored, member: RunDirectory) -> Any:
    """Copy what predictions need of a run, without its optimizer; which weights these are."""
    which = stored.which or reported_weights(stored.run, stored.plain)
    state = checkpoint.load(stored.run.checkpoints / f"{which}.pt")
    weights = "averaged" if state.get("averaged") else "model"
    member.checkpoints.mkdir(parents=True)
    kept = {key: state[key] for key in (*_KEPT, weights) if key in state}
    checkpoint.save_all({member.checkpoints / f"{which}.pt": kept})
    for file in (stored.run.config_file, stored.run.summary_file):
        if file.is_file():
            shutil.copyfile(file, member.path / file.name)
    return which


def _summary(predictor: Predictor, result: Result, name: str) -> dict[str, Any]:
    """The contents of summary.json: the fields of a run's that an ensemble has, and its members."""
    settings, reference = parse(predictor.stored[0].plain), predictor.reference
    task = make_task(reference.spec, loss_of(settings.loss), reference.preprocessing)
    shortfall = find_shortfall(result.metrics, result.baselines)
    made = now()
    return {
        "name": name,
        "kind": "ensemble",
        "status": "completed",
        "created": made,
        "order": next_order(),
        "updated": made,
        "choices": _choices([one.run.path for one in predictor.stored]),
        "parameters": sum(
            weights.numel() for one in predictor.members for weights in one.model.parameters()
        ),
        "directions": task.declared.directions,
        "final": dict(result.metrics),
        "tested": "last",
        "baselines": {rule: dict(values) for rule, values in result.baselines.items()},
        "below_baseline": shortfall and dict(vars(shortfall)),
        "confusion": result.whole.confusion if result.whole else None,
        "members": [
            {"name": one.name, "share": one.share, "metrics": one.metrics} for one in result.members
        ],
        "seconds": round(result.seconds, 3),
        "device": "cpu",
        "version": __version__,
    }


_PLURALS = {"loss": "losses"}


def _choices(members: Sequence[Path]) -> dict[str, str]:
    """The option of each group; of several how many they are."""
    found: dict[str, dict[str, None]] = {}
    for path in members:
        for group, option in read_run(path).choices.items():
            found.setdefault(group, {})[option] = None
    return {
        group: next(iter(options))
        if len(options) == 1
        else f"{len(options)} {_PLURALS.get(group, f'{group}s')}"
        for group, options in found.items()
    }
