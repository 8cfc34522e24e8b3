"""Whether trials of one shape are trained as one: tried and worked out once, before any of them is begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlrun import config
from dlrun.assemble import assemble
from dlrun.engine import Engine
from dlrun.errors import first_line
from dlrun.numbers import number_text
from dlrun.stacked.cost import gain
from dlrun.stacked.grouping import why_alone
from dlrun.stacked.memory import room, run_bytes, sample_bytes
from dlrun.stacked.stack import Stack
from dlrun.stacked.trying import no_rule, why_not
from dlrun.sweep.shared_data import data_loader


@dataclass(frozen=True)
class Verdict:
    """Whether to stack, and why."""

    stack: bool
    reason: str


class Judgement:
    """Finds out on runs that nobody keeps, and remembers by shape.

    Args:
        forced: stack whatever can be stacked.
    """

    def __init__(self, *, forced: bool) -> None:
        self.forced = forced
        self.verdicts: dict[str, Verdict] = {}

    @property
    def all_stack(self) -> bool:
        """Whether something is known, and none of it speaks for a trial in turn."""
        return bool(self.verdicts) and all(v.stack for v in self.verdicts.values())

    def of(self, shape: str, plain: Mapping[str, Any], runs: int) -> Verdict:
        """On trials of the `shape`, one with the config `plain`; `runs` of them are to be trained at a time."""
        if shape not in self.verdicts:
            if reason := why_alone(plain):
                verdict = Verdict(False, reason)
            else:
                verdict = self._find_out(plain, runs)
            if not verdict.stack:
                print(f"trials are trained in turn: {verdict.reason}", flush=True)
            self.verdicts[shape] = verdict
        return self.verdicts[shape]

    def _find_out(self, plain: Mapping[str, Any], runs: int) -> Verdict:
        try:
            engine = _engine(plain)
            if reason := no_rule(engine):
                return Verdict(False, reason)
            each = run_bytes(engine, sample_bytes(engine))
            if room(engine.device.torch_device) < 2 * each:
                return Verdict(False, f"two of them need more memory, {2 * each / 2**20:.0f} MB")
            stack = Stack([_engine(plain) for _ in range(2)], eval_rows=2)
        except Exception as error:  # to be met, and recorded, by the trial itself
            return Verdict(False, first_line(error))
        if reason := why_not(stack):
            return Verdict(False, reason)
        if self.forced:
            return Verdict(True, "as sweep.stack=on asks")
        times = gain(engine, stack, runs)
        if times > 1:
            shown = number_text(times, digits=2 if times >= 1.1 else 3)
            return Verdict(True, f"by its shapes, a step is {shown} times as fast as in turn")
        reason = f"by its shapes, a step of {runs} as one is {times:.2f} times as fast as in turn"
        return Verdict(False, reason)


def _engine(plain: Mapping[str, Any]) -> Engine:
    return assemble(config.parse(plain), load=data_loader).engine
