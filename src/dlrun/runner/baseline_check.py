"""A result that is no better than what needs no model: found, and said in a line. No torch here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.config.metrics import COMPARABLE, direction
from dlrun.storage.run_summary import RunSummary
from dlrun.tracking.numbers import number_text

Baselines = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Shortfall:
    """A metric that a baseline reaches as well, or better."""

    metric: str  # as it is logged, with its part
    value: float
    baseline: str
    reference: float  # what the baseline has of the same metric

    def __str__(self) -> str:
        verb = "no better" if self.value == self.reference else "worse"
        return (
            f"{self.metric} {number_text(self.value)} is {verb} than {self.baseline} "
            f"({number_text(self.reference)}), which needs no model"
        )


def find_shortfall(metrics: Mapping[str, float], baselines: Baselines) -> Shortfall | None:
    """Where the comparable metric of the test part does not surpass the best baseline; None where it does.

    Of a run without a test part the validation part counts, of which the baselines then are.
    """
    part = "test" if any(name.startswith("test/") for name in metrics) else "val"
    for name in COMPARABLE:
        known = {rule: values[name] for rule, values in baselines.items() if name in values}
        value = metrics.get(f"{part}/{name}")
        if not known or value is None:
            continue
        sign = 1 if direction(name) == "max" else -1
        best = max(known, key=lambda rule: sign * known[rule])
        surpasses = sign * value > sign * known[best]  # not a number surpasses nothing
        return None if surpasses else Shortfall(f"{part}/{name}", value, best, known[best])
    return None


def shortfall_of(runs: Sequence[RunSummary]) -> Shortfall | None:
    """The same of the mean over the completed runs of one setting, as their summaries have it."""
    completed = [run for run in runs if run.status == "completed"]
    if not completed:
        return None
    metrics = _mean([run.metrics for run in completed])
    rules = set.intersection(*(set(run.mapping("baselines")) for run in completed))
    every = {rule: [run.mapping("baselines")[rule] for run in completed] for rule in sorted(rules)}
    return find_shortfall(metrics, {rule: _mean(values) for rule, values in every.items()})


def _mean(every: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    shared = set.intersection(*(set(values) for values in every))
    return {name: statistics.fmean(values[name] for values in every) for name in sorted(shared)}
