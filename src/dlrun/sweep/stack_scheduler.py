"""Which trials of a sweep are stacked: those that wait are collected into groups, and each group is trained as one.

What makes a group, one shape, is decided by the package `stacked`; whether stacking it pays is probed once, here.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from dlrun.config import settings
from dlrun.errors import ConfigError, first_line
from dlrun.stacked.cost_model import gain
from dlrun.stacked.grouping import no_rule, shape_of, why_alone
from dlrun.stacked.memory import memory_of, room, run_bytes, sample_bytes
from dlrun.stacked.probe import probe_stack
from dlrun.stacked.stack import Stack
from dlrun.sweep.data_cache import data_loader
from dlrun.sweep.launch import Watcher
from dlrun.sweep.quota import Quota
from dlrun.sweep.space.parameters import Interval, Parameter
from dlrun.sweep.stack_runner import Size, StackRunner
from dlrun.sweep.sweep import Sweep
from dlrun.sweep.trial import Attempt
from dlrun.tracking.numbers import bytes_text, number_text
from dlrun.training.build import assemble
from dlrun.training.device import require_device
from dlrun.training.device_errors import free_cache
from dlrun.training.loop import Engine

# What may be swept without giving trials another shape.
_NUMBERS = (
    "optimizer.",
    "schedule",
    *("loss.label_smoothing", "loss.delta", "loss.gamma", "loss.positive_weight"),
    *("seed", "init_from"),
)
_SUSPECT = 2  # times in a row that a trial was begun without getting further: it may kill others


@dataclass(frozen=True)
class Verdict:
    """Whether to stack, and why."""

    stack: bool
    reason: str


class Judgement:
    """Probes, on runs that nobody keeps, whether trials can be stacked and gain by it; remembers it by shape.

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
        """The verdict on trials of the `shape`, one of which has the config `plain`; `runs` are trained at a time."""
        if shape not in self.verdicts:
            if reason := why_alone(plain):
                verdict = Verdict(False, reason)
            else:
                verdict = self._probe(plain, runs)
                free_cache()  # for what is trained now
            if not verdict.stack:
                print(f"trials are trained in turn: {verdict.reason}", flush=True)
            self.verdicts[shape] = verdict
        return self.verdicts[shape]

    def _probe(self, plain: Mapping[str, Any], runs: int) -> Verdict:
        try:
            engine = _engine(plain)
            if reason := no_rule(engine):
                return Verdict(False, reason)
            each = run_bytes(engine, sample_bytes(engine))
            if room(memory_of(engine.device.torch_device), engine) < 2 * each:
                return Verdict(False, f"two of them need more memory, {bytes_text(2 * each)}")
            stack = Stack([_engine(plain) for _ in range(2)], eval_rows=2)
        except Exception as error:  # to be met, and recorded, by the trial itself
            return Verdict(False, first_line(error))
        reason = probe_stack(stack, engine)
        if reason:
            require_device()
            return Verdict(False, reason)
        if self.forced:
            return Verdict(True, "as sweep.stack=on asks")
        times = gain(engine, stack, runs)
        if times > 1:
            shown = number_text(times, digits=2 if times >= 1.1 else 3)
            return Verdict(True, f"a step is expected to be {shown} times as fast as in turn")
        reason = (
            f"a step of {runs} as one stack is expected to be {times:.2f} times as fast as in turn"
        )
        return Verdict(False, reason)


def _engine(plain: Mapping[str, Any]) -> Engine:
    return assemble(settings.parse(plain), load=data_loader).engine


class StackScheduler:
    """Trains trials in stacks of one shape each, and in turn what does not fit into any.

    Args:
        forced: stack whatever can be stacked, without asking whether it pays.
        quota: how many of them this process may take.
    """

    def __init__(self, sweep: Sweep, watcher: Watcher, *, forced: bool, quota: Quota) -> None:
        self.sweep, self.watcher, self.quota = sweep, watcher, quota
        self.seeds = sweep.strategy.settings.seeds
        self.max_stack = sweep.strategy.settings.max_stack
        self.judgement = Judgement(forced=forced)
        self.at_a_time = self._expected()
        self.seen: set[str] = set()  # shapes that one trial had
        self.runs: Counter[str] = Counter()  # to be stacked, by shape
        self.sizes: defaultdict[str, Size] = defaultdict(Size)  # of stacks, by shape

    def run(self, numbers: Sequence[int]) -> list[int]:
        """Train the trials that can be sampled now and that no other process is at work on; those that are left.

        Raises:
            Interrupted: a signal came.
        """
        waiting = deque(self._sampled_alike(numbers))
        if len(waiting) * self.seeds < 2 or self.max_stack < 2:
            return list(numbers)
        whole = len(waiting) * self.seeds if self._are_alike() and not self.quota.limits else 0
        while waiting and (share := self.quota.share(len(numbers))):
            with ExitStack() as claims:
                groups = self._gather(waiting, claims, min(share, self.max_stack))
                if (
                    not waiting and self.quota.limits is None
                ):  # with others, who has the same is not known
                    self._report_alone()
                for shape, attempts in groups.items():
                    reason = self.judgement.verdicts[shape].reason
                    size = self.sizes[shape]
                    StackRunner(self.sweep, self.watcher, reason, size, whole).train(attempts)
        return self.sweep.left(numbers)

    def _sampled_alike(self, numbers: Sequence[int]) -> list[int]:
        """The trials whose values are sampled the same whatever the results of the others."""
        if self.sweep.strategy.plan.round_size:  # the rounds before are over
            return list(numbers)
        return [n for n in numbers if n < self.sweep.samplers.without_results]

    def _expected(self) -> int:
        """How many runs of one shape are to be trained at a time, by what the sweep asks alone.

        Not by what is left of it, or by the memory that is free: its trials are to be trained in one way.
        """
        plan = self.sweep.strategy.plan
        trials = plan.round_size or min(plan.total, max(2, self.sweep.samplers.without_results))
        shapes = math.prod(map(_shapes, self.sweep.space.parameters))
        return max(2, min(self.max_stack, trials * self.seeds // shapes))

    def _gather(
        self, waiting: deque[int], claims: ExitStack, most: int
    ) -> dict[str, list[Attempt]]:
        """Trials to train together, `most` at most, by shape; a trial that is better trained alone is trained here."""
        groups: dict[str, list[Attempt]] = defaultdict(list)
        while waiting and most > 0 and self.quota.is_open:
            # One at a time, unless all are to wait for others: what was begun should be trained.
            count = min(most, len(waiting)) if self.judgement.all_stack else 1
            for attempt in self._begin([waiting.popleft() for _ in range(count)], claims):
                shape = self._shape(attempt)
                if shape is None:
                    attempt.run()
                    self.watcher.look([self.sweep.ledger.trial(attempt.number)])
                else:
                    groups[shape].append(attempt)
                    self.runs[shape] += self.seeds
                    most -= 1
        return groups

    def _report_alone(self) -> None:
        """How many runs are to be stacked, but have nothing to be stacked with."""
        alone = sum(count == 1 for count in self.runs.values())
        if alone:
            print(
                f"{alone} of {self.runs.total()} trials are trained in turn: no other has the same shape "
                "(model, widths, batch size, optimizer)",
                flush=True,
            )
        self.runs.clear()

    def _begin(self, numbers: Sequence[int], claims: ExitStack) -> list[Attempt]:
        """An attempt at each trial, unless another process is at it or it is over."""
        ledger, attempts = self.sweep.ledger, []
        ledger.plan(max(numbers) + 1)
        free = [number for number in numbers if not self.sweep.is_claimed(number)]
        mine = [number for number in free if claims.enter_context(self.sweep.claim(number))]
        with ledger.together():
            for number in filter(self.sweep.may_train, mine):
                self.watcher.here.add(number)
                attempts.append(Attempt(self.sweep, number, observe=self.watcher.evaluated))
        return attempts

    def _shape(self, attempt: Attempt) -> str | None:
        """What the trial has in common with those that it is stacked with, or None where it is trained alone."""
        try:
            plain = attempt.config(0).plain
        except ConfigError:
            return None  # to be met, and recorded, as it is trained
        if attempt.deaths >= _SUSPECT:
            return None
        shape = shape_of(plain)
        if not self._comes_again(shape):
            self.seen.add(shape)
            return None
        return shape if self.judgement.of(shape, plain, self.at_a_time).stack else None

    def _are_alike(self) -> bool:
        """Whether all trials have one shape."""
        return all(map(_is_number, self.sweep.space.parameters))

    def _comes_again(self, shape: str) -> bool:
        """Whether more than one run has this shape: else there is nothing to probe."""
        return self._are_alike() or self.seeds > 1 or self.judgement.forced or shape in self.seen


def _is_number(parameter: Parameter) -> bool:
    """Whether trials that differ in this one alone have the same shape."""
    return parameter.bare_key.startswith(_NUMBERS)


def _shapes(parameter: Parameter) -> int:
    """How many values with a shape of their own there are; those of a continuous range are numbers."""
    if _is_number(parameter):
        return 1
    if parameter.lists_its_values:
        return len(parameter.grid())
    if isinstance(parameter, Interval) and parameter.integer:
        return int(parameter.high - parameter.low) + 1
    return 1
