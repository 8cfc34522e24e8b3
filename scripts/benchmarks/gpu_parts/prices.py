"""The prices of a card for the rule of sweep.stack=auto: seconds of a call, a flop and a byte, fitted to steps.

Steps alone and as one, by CUDA graphs and launched one by one, are timed and counted as the rule counts them. The
prices are those, none negative, whose sums are nearest to the measured times, each error by its time.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from scipy.optimize import nnls

from _pace import stack_step_seconds, step_seconds
from dlrun.stacked.cost_model import Prices, Work, counted, gain
from dlrun.stacked.stack import Stack
from gpu_parts.figures import note, tell
from stacked import SHAPES, Case, make_engine, plain_config

_SHAPES = ("mlp 32", "mlp 512", "mlp 2 x 1024", "cnn 16-32", "cnn 32-64", "lstm 32", "gru 32")
_RUNS = (4, 32)
_NAMES = [price.name for price in fields(Prices)]


def measure(kind: str) -> None:
    """Tell the prices of replayed steps, and of launched ones."""
    shapes = _SHAPES if kind == "cuda" else _SHAPES[:1]
    for name, graphs in {"replayed": "auto", "launched": "false"}.items():
        rows: list[tuple[list[float], float]] = []
        for shape in shapes:
            words = (
                f"dataset=digits {SHAPES[shape]} trainer.batch_size=128 trainer.cuda_graph={graphs}"
            )
            plain = plain_config(Case(words, epochs=1000).on(kind))
            for runs in _RUNS if kind == "cuda" else (2,):
                rows += _rows(f"{name} {shape}, {runs} runs", plain, runs)
        _fit(name, rows)


def _rows(label: str, plain: object, runs: int) -> list[tuple[list[float], float]]:
    """What a step alone and one of the stack do, by the fields of Prices, and the seconds that they take."""
    alone = make_engine(plain, 1e-3)
    two = Stack([make_engine(plain, 1e-3) for _ in range(2)], eval_rows=64)
    stack = Stack([make_engine(plain, 1e-3) for _ in range(runs)], eval_rows=64)
    ours, together = step_seconds(make_engine(plain, 1e-3)), stack_step_seconds(stack)
    single, double = counted(alone, two)
    ruled = gain(make_engine(plain, 1e-3), two, runs)
    note(f"{label}: in turn / as one {runs * ours / together:.2f}, by the rule {ruled:.2f}")
    return [(_amounts(single, 1.0), ours), (_amounts(double, runs / 2), together)]


def _amounts(work: Work, share: float) -> list[float]:
    names = {"call": "calls", "view": "views", "layer_call": "layer_calls"}
    return [
        getattr(work, names[name]) if name in names
        else share * getattr(work, {"byte": "bytes"}.get(name, f"{name}s"))
        for name in _NAMES
    ]  # fmt: skip


def _fit(name: str, rows: list[tuple[list[float], float]]) -> None:
    amounts, seconds = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    scale = np.maximum(np.abs(amounts).max(0), 1.0)
    found, _ = nnls(amounts / scale / seconds[:, None], np.ones(len(rows)))
    prices = found / scale
    for price, value in zip(_NAMES, prices, strict=True):
        unit = "ps" if price in ("flop", "layer_flop", "grouped_flop", "byte") else "µs"
        tell(f"price {name} {price}", value * (1e12 if unit == "ps" else 1e6), unit)
    errors = np.abs(np.log(np.maximum(amounts @ prices, 1e-9) / seconds))
    tell(f"price {name}, error of a time", float(np.median(errors)), "in its logarithm")
