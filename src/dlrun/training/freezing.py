"""Parameters that are not trained, for some epochs or for good."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from torch import nn

from dlrun.errors import ConfigError
from dlrun.training.parameter_names import chosen

log = logging.getLogger(__name__)

Freeze = Sequence[str] | Mapping[str, int | None] | None
_STATISTICS = ".running_mean"  # by which a norm's running statistics are chosen


class Freezing:
    """What of a model is frozen, by patterns of names, for how many epochs.

    A frozen parameter asks for no gradient: optimizer, weight decay, penalties, clipping and the norm of the gradient
    leave it out. Patterns choose running statistics too, as `features.1.running_mean`: a norm whose statistics are
    frozen normalises by them in training as well, and leaves them as they are.

    Args:
        freeze: patterns, or for each its number of epochs, None for good.

    Attributes:
        model: the model, of which the parameters that are frozen for good ask for no gradient from now on.
        stage: how often what is frozen has changed.

    Raises:
        ConfigError: a pattern chooses nothing, or nothing is left to train.
    """

    def __init__(self, model: nn.Module, freeze: Freeze) -> None:
        self.model, self.stage = model, 0
        epochs = freeze if isinstance(freeze, Mapping) else dict.fromkeys(freeze or ())
        self._patterns = {str(pattern): count for pattern, count in epochs.items()}
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        norms = [
            f"{name}{_STATISTICS}"
            for name, module in model.named_modules()
            if getattr(module, "running_mean", None) is not None
        ]
        names = [*self._parameters, *norms]
        self._chosen = chosen("model.freeze", self._patterns, names) if self._patterns else {}
        self.frozen = frozenset[str]()
        if self._patterns and self._parameters.keys() <= self._chosen.keys():
            raise ConfigError(
                f"model.freeze has {', '.join(self._patterns)}, which leaves nothing to train in the first epoch: "
                "leave the layers before the output out of it"
            )
        for name in self._chosen:
            if self._until(name) is None and name in self._parameters:
                self._parameters[name].requires_grad_(False)

    def enter(self, epoch: int) -> None:
        """Freeze and unfreeze what is to be in `epoch`, counted from 0."""
        frozen = frozenset(
            name for name in self._chosen if (until := self._until(name)) is None or epoch < until
        )
        if frozen == self.frozen:
            return
        if released := {self._chosen[name] for name in self.frozen - frozen}:
            log.info("epoch %s: no longer frozen is %s", epoch + 1, ", ".join(sorted(released)))
        self.frozen, self.stage = frozen, self.stage + 1
        for name in self._chosen.keys() & self._parameters.keys():
            self._parameters[name].requires_grad_(name not in frozen)
        self.train(self.model)

    def train(self, model: nn.Module) -> None:
        """Put `model`, the run's own or a copy of it, into training mode, but for norms with frozen statistics."""
        model.train()
        for name in self.frozen:
            if name.endswith(_STATISTICS) and name not in self._parameters:
                model.get_submodule(name.removesuffix(_STATISTICS)).eval()

    @property
    def begins(self) -> dict[str, int]:
        """Of each parameter that is frozen at first but not for good, the epoch that trains it first, from 0."""
        untils = {name: self._until(name) for name in self._chosen if name in self._parameters}
        return {name: until for name, until in untils.items() if until is not None}

    @property
    def frozen_weights(self) -> int:
        """How many numbers are frozen now."""
        return sum(p.numel() for name, p in self._parameters.items() if name in self.frozen)

    def describe(self) -> str | None:
        """What is frozen at first, in a line; None where nothing is."""
        if not self._patterns:
            return None
        whole = sum(p.numel() for p in self.model.parameters())
        said = (
            pattern if count is None else f"{pattern} for {count} epoch{'s' * (count > 1)}"
            for pattern, count in self._patterns.items()
        )
        return f"frozen: {', '.join(said)}: {self.frozen_weights:,} of {whole:,} weights"

    def _until(self, name: str) -> int | None:
        """The epoch, counted from 0, in which it is trained first; None for never."""
        return self._patterns[self._chosen[name]]
