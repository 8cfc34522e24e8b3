"""The weights of K runs in one tensor, of which each run's own model sees its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from dlrun.stacked.optim import Rule
from dlrun.training.loop import Engine


@dataclass
class Part:
    """Where one parameter lies among the P weights of a run."""

    name: str
    start: int
    stop: int
    shape: torch.Size

    def of(self, rows: Tensor) -> Tensor:
        """The parameter in (P,) or (K, P): (*shape) or (K, *shape), a view."""
        return rows[..., self.start : self.stop].view(*rows.shape[:-1], *self.shape)


class StackedWeights:
    """Parameters, gradients, buffers and optimizer memory of K runs.

    The runs' models and optimizers are made to look into it: whoever evaluates, saves or plots one run
    finds it up to date, without a copy.

    Attributes:
        values, gradients: (K, P).
        leaves: by name, each parameter (K, *shape), a view of `values` that asks for a gradient.
        others: by name, buffers and frozen parameters (K, *shape).
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        models = [engine.model for engine in engines]
        named = {n: p for n, p in models[0].named_parameters() if p.requires_grad}
        ends = list(accumulate(p.numel() for p in named.values()))
        self.parts = [
            Part(name, end - p.numel(), end, p.shape)
            for (name, p), end in zip(named.items(), ends, strict=True)
        ]
        self.values = torch.stack([_row(model, self.parts) for model in models])
        self.gradients = torch.zeros_like(self.values)
        states = [_others(model, set(named)) for model in models]
        self.others = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        self.rule = Rule([engine.descent.optimizer for engine in engines], self.values)
        self._take_memory(engines)
        self.show(engines)

    def collect(self, gradients: Sequence[Tensor], *, first: bool) -> None:
        """Add the gradients (K, *shape) of the leaves; `first` forgets those of the step before."""
        for rows, gradient in zip(self._places, gradients, strict=True):
            if first:
                rows.copy_(gradient)
            else:
                rows.add_(gradient)

    def is_matrix(self) -> Tensor:
        """(P,): 1 for weights that mix inputs, 0 for biases and the gains of norms."""
        return self._spread([float(len(part.shape) > 1) for part in self.parts])

    def rate_multipliers(self, engines: Sequence[Engine]) -> Tensor | None:
        """(K, P): what each weight's learning rate is multiplied by; None where all are 1."""
        rows = [engine.descent.multipliers(engine.model) for engine in engines]
        if not any(rows):
            return None
        return torch.stack([self._spread([row[part.name] for part in self.parts]) for row in rows])

    def _spread(self, numbers: Sequence[float]) -> Tensor:
        """(P,): the number of each part for all its weights."""
        sizes = [part.stop - part.start for part in self.parts]
        each = zip(sizes, numbers, strict=True)
        return torch.cat([self.values.new_full((size,), number) for size, number in each])

    def keep(self, rows: Tensor, engines: Sequence[Engine]) -> None:
        """Go on with `engines` only, which are in these rows."""
        self.values, self.gradients = self.values[rows], self.gradients[rows]
        self.others = {name: tensor[rows] for name, tensor in self.others.items()}
        self.rule.keep(rows)
        self.show(engines)

    def show(self, engines: Sequence[Engine]) -> None:
        """Let the models and optimizers of the runs look into the rows."""
        self.leaves = {part.name: part.of(self.values).requires_grad_() for part in self.parts}
        self._places = [part.of(self.gradients) for part in self.parts]  # not anew at each step
        for row, engine in enumerate(engines):
            parameters = dict(engine.model.named_parameters())
            # Not one count for all parameters: an optimizer alone would count it up for each of them.
            for part, count in zip(self.parts, self.rule.counts, strict=True):
                parameter = parameters[part.name]
                parameter.data = part.of(self.values[row])
                parameter.grad = part.of(self.gradients[row])
                memory = {name: part.of(s[row]) for name, s in self.rule.state.items()}
                engine.descent.optimizer.state[parameter] = memory | {"step": count}
            for name, tensor in self.others.items():
                _set(engine.model, name, tensor[row])

    def _take_memory(self, engines: Sequence[Engine]) -> None:
        """What the optimizers remember of earlier steps, or begin with."""
        for row, engine in enumerate(engines):
            parameters = dict(engine.model.named_parameters())
            for part in self.parts:
                memory = engine.descent.optimizer.state.get(parameters[part.name], {})
                for name, tensor in self.rule.state.items():
                    if isinstance(known := memory.get(name), Tensor):
                        part.of(tensor[row]).copy_(known)
                if "step" in memory:
                    self.rule.counts.fill_(memory["step"].item())


def _row(model: nn.Module, parts: Sequence[Part]) -> Tensor:
    parameters = dict(model.named_parameters())
    return torch.cat([parameters[part.name].detach().flatten() for part in parts])


def _others(model: nn.Module, trained: set[str]) -> dict[str, Tensor]:
    frozen = {n: p.detach() for n, p in model.named_parameters() if n not in trained}
    return frozen | dict(model.named_buffers())


def _set(model: nn.Module, name: str, value: Tensor) -> None:
    """Replace a buffer or a frozen parameter by a view."""
    path, _, last = name.rpartition(".")
    owner = model.get_submodule(path)
    if isinstance(before := getattr(owner, last), nn.Parameter):
        before.data = value
    else:
        setattr(owner, last, value)
