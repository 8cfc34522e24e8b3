"""The campaign of kills: that its comparison finds what differs, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

CAMPAIGN = Path(__file__).resolve().parents[1] / "scripts" / "torture_campaign"


@pytest.fixture
def differences(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(CAMPAIGN)
    import differences

    return differences


def make_run(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Path:
    """A run directory whose checkpoint and point `change` has been at."""
    state = {"model": {"weight": torch.zeros(3)}, "step": 2, "seconds": 1.0}
    point = {"step": 2, "val/loss": 0.1, "samples_per_second": 7.0}
    change(state, point)
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("last.pt", "best.pt"):
        torch.save(state, folder / "checkpoints" / name)
    (folder / "metrics.jsonl").write_text(json.dumps(point) + "\n")
    return folder


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda state, point: None, []),
        (lambda state, point: (state.update(seconds=9.0), point.update(samples_per_second=9.0)), []),
        (
            lambda state, point: state["model"]["weight"][1].copy_(torch.tensor(-0.0)),
            [f"{name} model weight: other numbers" for name in ("last.pt", "best.pt")],
        ),
        (
            lambda state, point: point.update({"val/loss": 0.10000000000000002}),
            ["metrics.jsonl [0] val/loss: 0.1 and 0.10000000000000002"],
        ),
        (lambda state, point: point.pop("step"), ["metrics.jsonl [0] step: only in the first"]),
    ],
)  # fmt: skip
def test_a_single_bit_is_a_difference_and_the_clock_is_none(
    change: Callable[..., object], found: list[str], differences: ModuleType, tmp_path: Path
) -> None:
    one = make_run(tmp_path / "one", lambda state, point: None)
    other = make_run(tmp_path / "other", change)
    assert list(differences.runs_differ(one, other)) == found
    if found:
        assert not list(differences.runs_differ(one, other, tolerance=1e-6)) or "step" in found[0]
