"""How long a step of dlrun takes as its user trains, and of other loops that take turns with it in the same process."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from omegaconf import OmegaConf

from _accelerator import now
from dlrun.config import compose, settings
from dlrun.sweep.data_cache import data_loader
from dlrun.system.signals import StopRequest
from dlrun.training.build import Experiment, assemble
from dlrun.training.loop import Engine

_LOGGED = 50  # steps from one logged point to the next; a multiple of it has as many in each turn


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        warm_up: steps that are not timed.
        block: steps of each loop in a turn.
    """

    warm_up: int
    block: int
    turns: int

    @staticmethod
    def on(kind: str, *, turns: int = 9) -> Size:
        """On a GPU, or for a rehearsal on the CPU."""
        if kind == "cuda":
            return Size(
                10 * _LOGGED, 8 * _LOGGED, turns
            )  # the warm-up is longer than an epoch of MNIST
        return Size(2, 4, 2)

    @property
    def steps(self) -> int:
        """Of dlrun, at most: a turn is longer where its end is amid steps that are one graph."""
        return self.warm_up + (self.block + _LOGGED) * self.turns


class Steps(Protocol):
    """Another loop."""

    def take(self, count: int) -> None:
        """Make so many steps."""


class Turns:
    """An observer of `Engine.fit` that times its steps, logged points included, and lets others train between them."""

    def __init__(
        self, engine: Engine, others: Mapping[str, Steps], size: Size, stop: StopRequest
    ) -> None:
        self.engine, self.others, self.size, self.stop = engine, others, size, stop
        self.kind = engine.device.torch_device.type
        self.begun = 0.0
        self.at = 0  # the step at which the turn began; 0 before the first one
        self.own: list[float] = []  # seconds of a step in each turn
        self.theirs: dict[str, list[float]] = {name: [] for name in others}

    def stepped(self, steps: int) -> None:
        """Steps were made: end a turn where it has all its own."""
        step = self.engine.step
        if self.at == 0:
            if step >= self.size.warm_up:
                self.at, self.begun = step, now(self.kind)
        elif step - self.at >= self.size.block:
            self.own.append((now(self.kind) - self.begun) / (step - self.at))
            names = list(self.others) if len(self.own) % 2 else list(self.others)[::-1]
            for name in names:
                self.theirs[name].append(self._timed(self.others[name]))
            if len(self.own) == self.size.turns:
                self.stop.signal = signal.SIGINT
            self.at, self.begun = step, now(self.kind)

    def logged(self, step: int, values: dict[str, float]) -> None:
        """A point is due."""

    def evaluated(self, values: dict[str, float]) -> None:
        """Never before the last turn is over."""

    def _timed(self, other: Steps) -> float:
        begun = now(self.kind)
        other.take(self.size.block)
        return (now(self.kind) - begun) / self.size.block


def built(words: str, *more: str) -> Experiment:
    """What the command line `words` would train; what stands after a | is one word."""
    first, *quoted = words.split("|")
    given = [*first.split(), *quoted, *more, "name=bench"]
    plain: Any = OmegaConf.to_container(compose.compose(given), resolve=True)
    del plain["sweep"]  # no setting of a run
    return assemble(settings.parse(plain), load=data_loader)


def of_length(size: Size) -> list[str]:
    """The settings of a run that is as long as `size` says and evaluates at its end alone."""
    length = [f"trainer.max_steps={size.steps}", f"trainer.eval_every_steps={size.steps}"]
    return [*length, "trainer.max_epochs=null", f"trainer.log_every_steps={_LOGGED}"]


def take_turns(engine: Engine, others: Mapping[str, Steps], size: Size) -> Turns:
    """Train `engine`, made with `of_length(size)`, and the others between its steps."""
    for other in others.values():
        other.take(size.block)
    with StopRequest() as stop:
        turns = Turns(engine, others, size, stop)
        engine.fit(save=lambda: None, observer=turns, stop=stop)
    return turns


def step_seconds(words: str, *more: str, size: Size) -> float:
    """Seconds of a step of what `words` would train, the median of the turns."""
    engine = built(words, *of_length(size), *more).engine
    return statistics.median(take_turns(engine, {}, size).own)
