"""The summary that a run leaves for programs, and the closing table that it prints for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from dlrun import __version__
from dlrun.errors import command
from dlrun.runner.baseline_check import Shortfall, find_shortfall
from dlrun.runner.metadata import now
from dlrun.storage.run_directory import RunDirectory
from dlrun.tracking.class_table import ClassRow, class_table
from dlrun.tracking.numbers import column_texts, number_text
from dlrun.training.build import Experiment
from dlrun.training.device import peak_memory
from dlrun.training.loop import Engine

_CLASSES = 5  # in the table at the end
_SUMMARY_SECONDS = 2.0  # between two summaries of a run under way


@dataclass(frozen=True)
class Training:
    """How a run was trained: by itself, as one of many in a stack, or in one part so and in another so.

    Attributes:
        stack_size: runs in the stack, itself included, the largest of them; None where there was none.
    """

    trained: Literal["alone", "stacked", "both"] = "alone"
    stack_size: int | None = None

    def after(self, earlier: Training | None) -> Training:
        """Likewise, with what was `earlier`."""
        if earlier is None:
            return self
        sizes = [size for size in (self.stack_size, earlier.stack_size) if size]
        same = self.trained == earlier.trained
        return Training(self.trained if same else "both", max(sizes, default=None))


@dataclass(frozen=True)
class Identity:
    """What a run carries from its first process to its last."""

    plain: Mapping[str, Any]  # the composed config
    choices: Mapping[str, str]
    overrides: list[str]  # all that the command line ever changed
    created: str
    swept: Mapping[str, str]  # of a trial: what its sweep varies, and the values here
    earlier: Training | None = None  # how earlier processes trained it, where they did
    order: float | None = None  # of a run that is no trial: its rank among runs and sweeps


class SummaryWriter:
    """Keeps summary.json up to date."""

    def __init__(self, experiment: Experiment, run: RunDirectory, identity: Identity) -> None:
        self.experiment, self.run, self.identity = experiment, run, identity
        self.status, self.written = "", 0.0
        self.training = Training()  # in this process

    def write(self, status: str, **more: Any) -> None:
        training = self.training.after(self.identity.earlier)
        summary = summarise(self.experiment, self.identity, training, status=status, **more)
        self.run.write_summary(summary)
        self.status = status
        self.written = time.monotonic()

    def write_running(self) -> None:
        """After an evaluation: now and then is enough."""
        if time.monotonic() - self.written >= _SUMMARY_SECONDS:
            self.write("running")


def summarise(
    experiment: Experiment,
    identity: Identity,
    training: Training,
    *,
    status: str,
    error: Mapping[str, Any] | None = None,
    confusion: list[list[int]] | None = None,
    per_class: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The contents of summary.json."""
    engine, config = experiment.engine, experiment.config
    best = engine.best
    # The test part is measured with the best weights, unless the last were asked for.
    restored = engine.reported == "best"
    tested = _tested(engine)
    shortfall = _shortfall(experiment) if status == "completed" else None
    return {
        "name": config.name,
        "status": status,
        "created": identity.created,
        "order": identity.order,
        "updated": now(),
        "choices": dict(identity.choices),
        "swept": dict(identity.swept),
        "seed": config.seed,
        "parameters": sum(p.numel() for p in engine.model.parameters()),
        "init_from": config.init_from,
        "frozen_parameters": engine.freezing.frozen_weights,
        "step": engine.step,
        "epoch": engine.epoch,
        "max_epochs": -(-engine.total_steps // engine.steps_per_epoch),
        "stopped_early": engine.stopped_early,
        "monitor": config.trainer.monitor,
        "mode": "min" if engine.minimize else "max",
        "directions": experiment.task.declared.directions,
        "best": {
            "epoch": best.epoch,
            "step": best.step,
            "metrics": metrics_only(best.metrics) | (tested if restored else {}),
        },
        "final": metrics_only(engine.latest),
        "tested": engine.reported,
        "tested_epoch": best.epoch if restored else engine.epoch,
        "baselines": {name: dict(values) for name, values in experiment.data.baselines.items()},
        "below_baseline": shortfall and {**vars(shortfall), "advice": _advice(experiment)},
        "confusion": confusion,
        "per_class": per_class,
        "seconds": round(engine.seconds, 3),
        "device": str(experiment.device.torch_device),
        "devices": engine.ranks.size,
        "peak_memory": peak_memory(experiment.device.torch_device),
        "precision": config.trainer.precision,
        "trained": training.trained,
        "stack_size": training.stack_size,
        "error": error,
        "version": __version__,
    }


def closing_table(
    experiment: Experiment, run: RunDirectory, classes: Sequence[ClassRow] = ()
) -> str:
    """The classes, test metrics, best epoch, time, and where to look next."""
    engine = experiment.engine
    tested = _tested(engine)
    rows = list(zip(tested, column_texts([*tested.values()]), strict=True))
    rows += [
        ("baseline", f"{_listed(values)} ({name})")
        for name, values in experiment.data.baselines.items()
    ]
    if shortfall := _shortfall(experiment):
        rows.append(("warning", f"{shortfall}: {_advice(experiment)}"))
    if engine.best.value is not None:
        monitored = f"{engine.settings.monitor} {number_text(engine.best.value)}"
        rows.append(("best epoch", f"{engine.best.epoch} of {engine.epoch} ({monitored})"))
    if engine.reported == "last":
        rows.append(("weights", f"the last, of epoch {engine.epoch}"))
    if engine.stopped_early:
        rows.append(("stopped early", f"no improvement in {engine.waited} evaluations"))
    rows += [
        (
            "time",
            f"{_duration(engine.seconds)}, {engine.step:,} steps on {experiment.device.torch_device}",
        ),
        ("run", str(run.path)),
    ]
    if experiment.config.tracking.tensorboard:
        rows.append(("TensorBoard", command("tensorboard", run.path)))
    width = max(len(name) for name, _ in rows)
    lines = "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
    if not classes:
        return lines
    part = experiment.data.tested
    where = "" if part == "test" else f"on the {part} part\n"  # of which no metrics stand below
    return f"{where}{class_table(classes, most=_CLASSES)}\n\n{lines}"


def _shortfall(experiment: Experiment) -> Shortfall | None:
    """Where the tested weights are no better than what needs no model."""
    engine = experiment.engine
    best = engine.best.metrics if engine.reported == "best" else {}
    measured = engine.latest | best | _tested(engine)
    return find_shortfall(measured, experiment.data.baselines)


def _tested(engine: Engine) -> dict[str, float]:
    return {name: value for name, value in engine.latest.items() if name.startswith("test/")}


def _advice(experiment: Experiment) -> str:
    """What to try then, in a few words."""
    engine, dataset = experiment.engine, experiment.config.dataset
    if dataset.get("difference") == 0 and dataset.get("seasonal_difference") is None:
        return "try dataset.difference=1, which learns changes, or more trainer.max_epochs"
    if engine.best.epoch == engine.epoch:
        return "it was still improving, so try more trainer.max_epochs or a higher optimizer.lr"
    return "try another optimizer.lr, another model or more data"


def _listed(values: Mapping[str, float]) -> str:
    """The metrics over all targets."""
    over_all = ((name, value) for name, value in values.items() if "/" not in name)
    return ", ".join(f"{name} {number_text(value)}" for name, value in over_all)


def metrics_only(values: Mapping[str, float]) -> dict[str, float]:
    """What was learned, without what describes the learning (lr, rate)."""
    return {name: value for name, value in values.items() if "/" in name}


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
