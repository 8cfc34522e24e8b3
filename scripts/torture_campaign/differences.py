"""What differs between two runs, or two sweeps, that should have ended alike: one line each.

Times, speeds and what counts the bytes of their digits are left out, and so are an optimizer's param_groups, which
are as the config says until the next step sets them. All else is compared bit for bit, stacked sweeps with a
tolerance: a stack that goes on with fewer runs may round otherwise.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

LEFT_OUT = {"seconds", "samples_per_second", "metrics_size", "param_groups"}
CHECKPOINTS = ("last.pt", "best.pt")


def runs_differ(one: Path, other: Path, *, tolerance: float = 0.0) -> Iterator[str]:
    """Compare checkpoints and metrics.jsonl of two run directories."""
    for name in CHECKPOINTS:
        states = []
        for run in (one, other):
            file = run / "checkpoints" / name
            state = torch.load(file, weights_only=True) if file.exists() else {"file": "missing"}
            # What a stack holds beside the weights is compared by what comes of it.
            states.append({"model": state.get("model")} if tolerance else state)
        yield from _values_differ(name, states[0], states[1], tolerance)
    points = [_points(run / "metrics.jsonl") for run in (one, other)]
    yield from _values_differ("metrics.jsonl", points[0], points[1], tolerance)


def sweeps_differ(one: Path, other: Path, *, tolerance: float = 0.0) -> Iterator[str]:
    """Compare the leaderboard, the best setting and each trial's run of two sweep directories."""
    rows = [_leaderboard(sweep) for sweep in (one, other)]
    yield from _values_differ("leaderboard.csv", rows[0], rows[1], tolerance)
    best = [yaml.safe_load((sweep / "best.yaml").read_text()) for sweep in (one, other)]
    yield from _values_differ("best.yaml", best[0], best[1], tolerance)
    runs = [
        {str(file.parent.relative_to(sweep)) for file in sweep.glob("*/**/config.yaml")}
        for sweep in (one, other)
    ]
    yield from _values_differ("runs", sorted(runs[0]), sorted(runs[1]), tolerance)
    for run in sorted(runs[0] & runs[1]):
        for line in runs_differ(one / run, other / run, tolerance=tolerance):
            yield f"trial {run}: {line}"


def _points(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _leaderboard(sweep: Path) -> dict[str, dict[str, Any]]:
    """The rows by trial, numbers as numbers."""
    with (sweep / "leaderboard.csv").open(newline="") as file:
        return {
            row["trial"]: {key: _number(cell) for key, cell in row.items() if key != "rank"}
            for row in csv.DictReader(file)
        }


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _values_differ(place: str, one: Any, other: Any, tolerance: float) -> Iterator[str]:
    """The innermost places at which two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys(), key=str):
            if key in LEFT_OUT:
                continue
            if key in one and key in other:
                yield from _values_differ(f"{place} {key}", one[key], other[key], tolerance)
            else:
                yield f"{place} {key}: only in the {'first' if key in one else 'second'}"
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            yield f"{place}: {len(one)} and {len(other)} long"
        for number, (left, right) in enumerate(zip(one, other, strict=False)):
            yield from _values_differ(f"{place} [{number}]", left, right, tolerance)
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if not _tensors_agree(one, other, tolerance):
            yield f"{place}: other numbers"
    elif not (one is other or one == other or _numbers_agree(one, other, tolerance)):
        yield f"{place}: {str(one)[:40]} and {str(other)[:40]}"


def _tensors_agree(one: torch.Tensor, other: torch.Tensor, tolerance: float) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if tolerance and one.is_floating_point():
        return torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)
    # As bytes: equal() takes 0 for -0, and a NaN for no number's equal.
    return one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()


def _numbers_agree(one: Any, other: Any, tolerance: float) -> bool:
    if not (isinstance(one, float) and isinstance(other, float)):
        return False
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
