"""Sweeps by metrics that are chosen: one of dlrun's, one of the user's own, in stacks, when resumed, in the tables."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scratch import Look, Result

Sweep = Callable[..., Result]
Looks = Callable[..., Look]

OWN = """
def cost(predictions, targets):
    if predictions[:, 0].isnan().any():
        raise ValueError("nan")
    return (predictions.argmax(1) != targets).double().mean()
"""
RATES = ("model=mlp", "optimizer=momentum", "optimizer.lr=0.001,0.1,0.01")
METRICS = "metrics=[mcc,{_target_:mymetrics.cost,direction:min}]"


@pytest.fixture
def own(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (project / "mymetrics.py").write_text(OWN)
    monkeypatch.delitem(sys.modules, "mymetrics", raising=False)
    return project


def test_the_objective_may_be_a_metric_of_the_users_own(
    own: Path, sweep: Sweep, dlrun: Sweep, look: Looks
) -> None:
    words = (*RATES, METRICS, "sweep.objective=val/cost", "sweep.columns=[test/mcc]")
    assert sweep(*words).code == 0
    found = look()
    assert found.description["direction"] == "minimize"
    assert {found.summary(number)["trained"] for number in range(3)} == {"stacked"}
    values = [found.summary(number)["best"]["metrics"]["val/cost"] for number in range(3)]
    assert found.values == values
    assert float(found.rows[0]["val/cost"]) == min(values) < max(values)
    assert "test/mcc" in found.rows[0]
    listed = dlrun("runs", "sweep", "--sort", "val/cost", "--csv").out.splitlines()
    assert f"/{values.index(min(values))}," in listed[1]


def test_such_a_sweep_is_resumed_where_its_code_may_be_called(
    own: Path, sweep: Sweep, dlrun: Sweep, look: Looks
) -> None:
    assert sweep(*RATES, METRICS, "sweep.objective=val/cost").code == 0
    Path("sweep/1/summary.json").unlink()
    refused = dlrun("resume", "sweep")
    assert refused.code == 2 and "metrics[1]._target_ is mymetrics.cost" in refused.err
    assert dlrun("resume", "sweep", "--allow", "mymetrics.cost").code == 0


def test_what_is_measured_is_not_swept(own: Path, sweep: Sweep) -> None:
    found = sweep("model=mlp", "metrics=[mcc],[macro_f1]")
    assert found.code == 2
    assert "name all metrics in one list, as in metrics=[macro_f1,mcc]" in found.err


@pytest.mark.parametrize("key", ["sweep.objective=val/mcc", "sweep.columns=[val/mcc]"])
def test_an_objective_or_column_that_is_not_measured_says_what_to_add(
    own: Path, sweep: Sweep, key: str
) -> None:
    found = sweep(*RATES, key)
    assert found.code == 2 and "add it to metrics, as in metrics=[mcc]" in found.err
