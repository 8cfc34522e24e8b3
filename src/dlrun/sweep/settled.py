"""A look at a sweep with each setting as one trial, which its repetitions make up: what figures compare."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from dlrun.sweep.leaderboard import Row, by_setting, make_row
from dlrun.sweep.snapshot import Snapshot
from dlrun.sweep.space import Space

TRIALS = "trials"  # a fact of such a trial: the numbers of those that it is made of


def settled(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the trials of a setting as one, under the number of the first: their mean is its value.

    Trials that are not over stay away. Where no trial repeats another, the snapshot itself.
    """
    repetitions = snapshot.repetitions
    if not repetitions.across_trials:
        return snapshot
    by_number = {trial.number: trial for trial in snapshot.judged}
    rows = [make_row(t, snapshot.space, snapshot.objective) for t in by_number.values()]
    found = by_setting(
        rows,
        repetitions,
        snapshot.objective,
        minimize=snapshot.minimize,
        comparable=snapshot.comparable,
    )
    kept = [p for p in snapshot.space.parameters if p.bare_key not in repetitions.keys]
    names = {parameter.name for parameter in kept}
    # As in the answer, a mean of those that survived does not lead where another setting is whole.
    is_first_whole = snapshot.comparable and bool(found) and not found[0][0].missing
    trials = [
        _as_one(by_number[s.number], s, of, names, whole=not (is_first_whole and s.missing))
        for s, of in found
    ]
    trials.sort(key=lambda trial: trial.number)
    space = Space(snapshot.space.fixed, tuple(kept))
    return replace(snapshot, space=space, trials=tuple(trials))


def _as_one(
    first: FrozenTrial, setting: Row, trials: Sequence[Row], names: set[str], *, whole: bool
) -> FrozenTrial:
    made = copy.copy(first)
    if setting.status == "completed" and setting.value is not None and whole:
        made.state, made.value = TrialState.COMPLETE, setting.value
    elif made.state is TrialState.COMPLETE:
        made.state = TrialState.PRUNED
    made.params = {name: value for name, value in first.params.items() if name in names}
    made.distributions = {n: kind for n, kind in first.distributions.items() if n in names}
    made.user_attrs = {
        "values": [trial.value for trial in trials if trial.value is not None],
        "metrics": dict(setting.metrics),
        "seconds": setting.seconds,
        TRIALS: [trial.number for trial in trials],
    }
    return made
