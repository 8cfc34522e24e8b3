"""MNIST MLPs stacked, against the same in turn: whole sweeps with their files, and steps alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from gpu_parts.figures import note, tell
from gpu_parts.steps import MNIST
from peer_programs.dlrun import MODELS
from stacked import Case, step_ratio, sweep, whole

_CASE = Case(" ".join([MNIST, *MODELS["mlp"]]), epochs=5)
_SMALL = Case("dataset=digits model=mlp", epochs=1)  # for a rehearsal
_MEASURED = (
    6  # trials in turn, from which the others are extrapolated: scripts/bench stacked says how
)


def measure(kind: str) -> None:
    """Sweeps over the learning rate, of 64 trials and of 256."""
    case, counts, turns = (_CASE, (64, 256), 2) if kind == "cuda" else (_SMALL, (4,), 1)
    case = case.on(kind)
    sweep("on", case, 2), sweep("off", case, 2)
    found: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(turns):
        in_turn = _in_turn(case)
        for count in counts:
            swept = sweep("on", case, count, f"sweep.max_stack={count}")
            if not swept.as_one:
                note(f"FAILED: {count} trials were not trained as one")
            alone = whole(in_turn, count, _MEASURED)
            found[count].append(alone / swept.seconds)
            note(f"{count} trials: stacked {swept.seconds:.2f} s, in turn {alone:.2f} s")
    for count, ratios in found.items():
        tell(f"{count} in turn / stacked", ratios)
    for count in counts:
        tell(f"{count} steps in turn / stacked", step_ratio(case, count))


def _in_turn(case: Case) -> Callable[[int], float]:
    """Seconds of a sweep of so many trials, measured once for all that ask."""
    return cache(lambda trials: sweep("off", case, trials).seconds)
