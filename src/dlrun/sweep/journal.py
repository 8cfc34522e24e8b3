"""A journal read although lines of it are damaged: what they held is in the summaries of the trials."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import (
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import TrialState

from dlrun.errors import ConfigError
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.run_summary import RunSummary
from dlrun.storage.sweep_directory import SweepDirectory, read_space
from dlrun.sweep.optuna_internals import JournalOperation
from dlrun.sweep.space.parameters import Parameter
from dlrun.sweep.space.parse import parse

Entry = dict[str, Any]

# Optuna's numbers of what an entry does, and of a trial's states.
_CREATE_STUDY = JournalOperation.CREATE_STUDY.value
_CREATE_TRIAL = JournalOperation.CREATE_TRIAL.value
_SET_PARAM = JournalOperation.SET_TRIAL_PARAM.value
_SET_STATE = JournalOperation.SET_TRIAL_STATE_VALUES.value
_SET_REPORTED = JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE.value
_SET_ATTRIBUTE = JournalOperation.SET_TRIAL_USER_ATTR.value
_SET_SYSTEM_ATTRIBUTE = JournalOperation.SET_TRIAL_SYSTEM_ATTR.value
_RUNNING, _WAITING = TrialState.RUNNING.value, TrialState.WAITING.value
_STATES = {state.value for state in TrialState}
_ENDS = {
    "completed": TrialState.COMPLETE.value,
    "pruned": TrialState.PRUNED.value,
    "failed": TrialState.FAIL.value,
}
_SEED = re.compile(r"seed\d+")
# What an entry has, by what it does; of the attributes of a trial, those that dlrun reads.
_FIELDS: dict[int, dict[str, Any]] = {
    _CREATE_STUDY: {"study_name": str, "directions": list},
    _CREATE_TRIAL: {"study_id": int},
    _SET_PARAM: {"param_name": str, "param_value_internal": int | float, "distribution": str},
    _SET_STATE: {"state": int, "values": list | None},
    _SET_REPORTED: {"step": int, "intermediate_value": int | float},
    _SET_ATTRIBUTE: {"user_attr": dict},
    _SET_SYSTEM_ATTRIBUTE: {"system_attr": dict},
}
_ATTRIBUTES: dict[str, Any] = {
    "seconds": int | float, "metrics": dict, "error": str, "attempts": int, "progress": list, "diverged": bool,
    "values": list, "each": list, "helped": int, "worked": list,
}  # fmt: skip


@dataclass(frozen=True)
class Journal:
    """The entries of a journal.

    Attributes:
        damaged: numbers of lines that were none; what they held is among the entries again, as far as the
            trials' summaries know it.
    """

    entries: list[Entry]
    damaged: list[int]

    def words(self, path: Path) -> str:
        """What is wrong with the journal at `path`, and what became of it."""
        lines = ", ".join(map(str, self.damaged[:10])) + (", …" if len(self.damaged) > 10 else "")
        what = f"line {lines} is" if len(self.damaged) == 1 else f"lines {lines} are"
        return f"{path}: {what} damaged; what the summaries of its trials say is taken instead"


def read_journal(sweep: SweepDirectory) -> Journal:
    """The journal of `sweep` as it is now, without a last entry that is just being written; nothing is locked."""
    try:
        *lines, _ = sweep.journal.read_bytes().split(b"\n")
    except FileNotFoundError:
        return Journal([], [])
    known = _parameters(sweep)
    found = [_entry(line, known) for line in lines]
    entries = [entry for entry in found if entry is not None]
    damaged = [number for number, entry in enumerate(found, 1) if entry is None]
    return Journal(_mended(entries, sweep) if damaged else entries, damaged)


def _parameters(sweep: SweepDirectory) -> dict[str, Parameter]:
    """The parameters of a sweep by their names in the journal; none where sweep.yaml cannot be read."""
    with suppress(ConfigError):
        return {one.name: one for one in parse((), read_space(sweep.path)).parameters}
    return {}


def _entry(line: bytes, known: Mapping[str, Parameter]) -> Entry | None:
    """What a line says; None where no sweep of these parameters writes that."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("worker_id"), str):
        return None
    operation: Any = entry.get("op_code")
    fields = _FIELDS.get(operation) if type(operation) is int else None
    if fields is None or not _holds(entry, fields):
        return None
    if operation > _CREATE_TRIAL and not _is_count(entry.get("trial_id")):
        return None
    is_sound = {
        _CREATE_STUDY: lambda: entry["directions"] in ([1], [2]),
        _CREATE_TRIAL: lambda: entry.get("state", _RUNNING) in _STATES and _is_begun(entry, known),
        _SET_PARAM: lambda: _is_sampled(entry, known),
        _SET_STATE: lambda: entry["state"] in _STATES and _are_numbers(entry["values"] or ()),
        _SET_ATTRIBUTE: lambda: _is_fact(entry["user_attr"]),
    }.get(operation, lambda: True)
    dates = (entry[name] for name in entry if name.startswith("datetime"))
    return entry if is_sound() and all(map(_is_date, dates)) else None


def _holds(entry: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    return all(isinstance(entry.get(name), kind) for name, kind in fields.items())


def _is_count(number: Any) -> bool:
    return type(number) is int and number >= 0


def _is_date(text: Any) -> bool:
    with suppress(ValueError, TypeError):
        return text is None or bool(datetime.fromisoformat(text))
    return False


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _is_begun(entry: Entry, known: Mapping[str, Parameter]) -> bool:
    """Whether a new trial is one that a sweep may add, with all that it may bring at once."""
    names = ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values")
    params, laws, facts, _, reported = (entry.get(name) or {} for name in names)
    if not all(isinstance(entry.get(name) or {}, dict) for name in names):
        return False
    if params.keys() != laws.keys():
        return False
    samples = (
        {"param_name": name, "param_value_internal": value, "distribution": laws[name]}
        for name, value in params.items()
    )
    return (
        all(_is_sampled(one, known) for one in samples)
        and _is_fact(facts)
        and _are_numbers(reported.values())
    )


def _is_fact(facts: Mapping[str, Any]) -> bool:
    kinds = {name: kind for name, kind in _ATTRIBUTES.items() if name in facts}
    if not _holds(facts, kinds):
        return False
    each = [facts.get("metrics", {}), *facts.get("each", ())]
    are_metrics = all(isinstance(one, dict) and _are_numbers(one.values()) for one in each)
    spans = facts.get("worked", ())
    are_spans = all(isinstance(s, list) and len(s) == 2 and _are_numbers(s) for s in spans)
    return are_metrics and are_spans and _are_numbers(facts.get("values", ()))


def _is_sampled(entry: Entry, known: Mapping[str, Parameter]) -> bool:
    """Whether the value is one that a sweep may sample for that parameter."""
    if (parameter := known.get(entry["param_name"])) is None:
        return not known
    try:
        found = json_to_distribution(entry["distribution"])
        check_distribution_compatibility(parameter.distribution(), found)
        value = found.to_external_repr(entry["param_value_internal"])
        parameter.text(value)
    except Exception:  # which Optuna and JSON have many of
        return False
    return math.isfinite(value) if isinstance(value, float) else True


@dataclass
class _Trial:
    params: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    state: int = _WAITING


def _mended(entries: list[Entry], sweep: SweepDirectory) -> list[Entry]:
    description = sweep.read()
    whole = [*_with_trials(entries, description, sweep)]
    trials: dict[int, _Trial] = {}
    for entry in whole:
        if entry["op_code"] == _CREATE_TRIAL:
            trials[len(trials)] = _Trial()
        elif entry["op_code"] == _SET_PARAM:
            trials[entry["trial_id"]].params.add(entry["param_name"])
        elif entry["op_code"] == _SET_ATTRIBUTE:
            trials[entry["trial_id"]].attributes |= {*entry["user_attr"]}
        elif entry["op_code"] == _SET_STATE:
            trials[entry["trial_id"]].state = entry["state"]
    parameters = parse((), description.get("space") or {}).parameters
    lost = {
        number: [*_lost(number, trial, parameters, description, sweep)]
        for number, trial in trials.items()
        if trial.state != _WAITING or sweep.trial(number).is_dir()
    }
    mended: list[Entry] = []
    for entry in whole:  # a trial that has ended takes nothing more
        if entry["op_code"] == _SET_STATE and entry["state"] in _ENDS.values():
            mended += lost.pop(entry["trial_id"], [])
        mended.append(entry)
    return [*mended, *(entry for more in lost.values() for entry in more)]


def _with_trials(
    entries: list[Entry], description: Mapping[str, Any], sweep: SweepDirectory
) -> Iterator[Entry]:
    """The entries, and before each the trials that it takes for granted: all begin alike."""
    yield _made(
        _CREATE_STUDY,
        study_name="sweep",
        directions=[2 if description.get("direction") == "maximize" else 1],
    )
    count = 0
    for entry in entries:
        if entry["op_code"] == _CREATE_STUDY:
            continue
        while entry["op_code"] > _CREATE_TRIAL and count <= entry["trial_id"]:
            yield _made(_CREATE_TRIAL, study_id=0, datetime_start=None, state=_WAITING)
            count += 1
        count += entry["op_code"] == _CREATE_TRIAL
        yield entry
    numbers = [int(folder.name) for folder in sweep.path.iterdir() if folder.name.isdigit()]
    for _ in range(count, max(numbers, default=-1) + 1):
        yield _made(_CREATE_TRIAL, study_id=0, datetime_start=None, state=_WAITING)


def _lost(
    number: int,
    trial: _Trial,
    parameters: tuple[Parameter, ...],
    description: Mapping[str, Any],
    sweep: SweepDirectory,
) -> Iterator[Entry]:
    """What the summaries of a trial know and its entries do not; the end comes last."""
    summaries = _summaries(sweep.trial(number))
    if not summaries:
        return
    for parameter in parameters:
        label = summaries[0].swept.get(parameter.bare_key)
        if parameter.name in trial.params or label is None:
            continue
        if (value := _value(parameter, label)) is None:
            continue
        distribution = parameter.distribution()
        yield _made(
            _SET_PARAM,
            trial_id=number,
            param_name=parameter.name,
            param_value_internal=distribution.to_internal_repr(value),
            distribution=distribution_to_json(distribution),
        )
    statuses = {summary.status for summary in summaries}
    seeds = int((description.get("settings") or {}).get("seeds", 1))
    ended = [s for s in summaries if s.status in ("completed", "pruned")]
    failed = [summary for summary in summaries if summary.status == "failed"]
    errors = [str(summary.mapping("error").get("message", "failed")) for summary in failed]
    for name, fact in (facts_of(ended) | ({"error": errors[-1]} if errors else {})).items():
        if name not in trial.attributes:
            yield _made(_SET_ATTRIBUTE, trial_id=number, user_attr={name: fact})
    if trial.state not in (_WAITING, _RUNNING):
        return
    worst = next((status for status in ("failed", "pruned") if status in statuses), "completed")
    if worst == "completed" and (statuses != {"completed"} or len(summaries) < seeds):
        return
    values = [s.metrics.get(str(description.get("objective"))) for s in ended]
    numbers = [value for value in values if value is not None]
    if worst == "completed" and len(numbers) < len(summaries):
        return
    when = summaries[0].text("created"), summaries[-1].text("updated")
    start, end = (word or summaries[0].text("created") for word in when)
    if trial.state == _WAITING:
        yield _made(_SET_STATE, trial_id=number, state=_RUNNING, values=None, datetime_start=start)
    mean = [statistics.fmean(numbers)] if worst == "completed" else None
    yield _made(_SET_STATE, trial_id=number, state=_ENDS[worst], values=mean, datetime_complete=end)


def facts_of(ended: Sequence[RunSummary]) -> dict[str, Any]:
    """What a study keeps of the runs of a trial that have ended: their time and the means of their metrics."""
    if not ended:
        return {}
    shared = set.intersection(*(set(summary.metrics) for summary in ended))
    peaks = [peak for summary in ended if (peak := summary.number("peak_memory"))]
    return {
        **({"peak_memory": max(peaks)} if peaks else {}),
        "seconds": round(sum(summary.number("seconds") or 0.0 for summary in ended), 3),
        "metrics": {
            name: statistics.fmean(summary.metrics[name] for summary in ended)
            for name in sorted(shared)
        },
    }


def _summaries(folder: Path) -> list[RunSummary]:
    """Those of the trial's runs, one a seed."""
    seeds = sorted(f for f in folder.glob("seed*") if _SEED.fullmatch(f.name))
    found = [(path, RunDirectory(path).read_summary()) for path in seeds or [folder]]
    return [RunSummary(path, str(data.get("status")), data) for path, data in found if data]


def _value(parameter: Parameter, label: str) -> Any:
    """The value that is typed as `label`; None where there is none."""
    candidates: list[Any] = []
    with suppress(ConfigError):
        candidates += parameter.grid()
    with suppress(ValueError):
        candidates += [int(label)]
    with suppress(ValueError):
        candidates += [float(label), 1 - float(label)]
    for candidate in candidates:
        with suppress(ValueError, TypeError):
            if parameter.text(candidate) == label:
                return candidate
    return None


def _made(operation: int, **more: Any) -> Entry:
    return {"op_code": operation, "worker_id": "mended", **more}
