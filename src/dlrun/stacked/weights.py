"""The weights of K runs in one tensor, of which each run's own model sees its row."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from dlrun.stacked.kinds import kind_of_each, kinds_of
from dlrun.stacked.rules import Part, Rule
from dlrun.training.loop import Engine


class StackedWeights:
    """Parameters, gradients, buffers and optimizer memory of K runs.

    The runs' models and optimizers are made to look into it: whoever evaluates, saves or plots one run
    finds it up to date, without a copy.

    Attributes:
        values, gradients: (K, P).
        leaves: by name, each parameter (K, *shape), a view of `values` that asks for a gradient.
        others: by name, buffers and frozen parameters (K, *shape).
        rules: of the optimizer, each for parameters that lie side by side.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        models = [engine.model for engine in engines]
        optimizers = [engine.descent.optimizer for engine in engines]
        kinds, kind_of = kinds_of(optimizers[0]), kind_of_each(optimizers[0])
        trained = {n: p for n, p in models[0].named_parameters() if p.requires_grad}
        order = sorted(trained, key=lambda name: kinds.index(kind_of[id(trained[name])]))
        named = {name: trained[name] for name in order}
        ends = list(accumulate(p.numel() for p in named.values()))
        self.parts = [
            Part(name, end - p.numel(), end, p.shape)
            for (name, p), end in zip(named.items(), ends, strict=True)
        ]
        self.values = torch.stack([_row(model, self.parts) for model in models])
        self.gradients = torch.zeros_like(self.values)
        states = [_others(model, set(named)) for model in models]
        self.others = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        own = {
            kind: [p for p in self.parts if kind_of[id(named[p.name])] is kind] for kind in kinds
        }
        self.rules = [Rule(optimizers, self.values, own[kind], kind) for kind in kinds]
        self._take_memory(engines)
        if any(isinstance(module, nn.RNNBase) for module in models[0].modules()):
            # Each row is in the order of the optimizers' rules; a run's own model reads it but now and then.
            warnings.filterwarnings("ignore", "RNN module weights are not part of single contig")
        self.show(engines)

    def collect(self, gradients: Sequence[Tensor], *, first: bool) -> None:
        """Add the gradients (K, *shape) of the leaves; `first` forgets those of the step before."""
        for rows, gradient in zip(self._places, gradients, strict=True):
            if first:
                rows.copy_(gradient)
            else:
                rows.add_(gradient)

    def judged(self) -> dict[str, Tensor]:
        """By name, the parameters (K, *shape) to evaluate: of an optimizer that averages them, the averages."""
        values = torch.cat([rule.judged(self.values) for rule in self.rules], 1)
        return {part.name: part.of(values) for part in self.parts}

    def keep(self, rows: Sequence[int], engines: Sequence[Engine]) -> None:
        """Go on with `engines` only, which are in these rows."""
        self.values, self.gradients = self.values[rows], self.gradients[rows]
        self.others = {name: tensor[rows] for name, tensor in self.others.items()}
        for rule in self.rules:
            rule.keep(rows)
        self.show(engines)

    def show(self, engines: Sequence[Engine]) -> None:
        """Let the models and optimizers of the runs look into the rows."""
        self.leaves = {part.name: part.of(self.values).requires_grad_() for part in self.parts}
        self._places = [part.of(self.gradients) for part in self.parts]  # not anew at each step
        for row, engine in enumerate(engines):
            parameters = dict(engine.model.named_parameters())
            for part in self.parts:
                parameter = parameters[part.name]
                parameter.data = part.of(self.values[row])
                parameter.grad = part.of(self.gradients[row])
            for rule in self.rules:
                # Not one count for all parameters: an optimizer alone would count it up for each of them.
                for part, count in zip(rule.parts, rule.counts, strict=True):
                    memory = rule.memory(part, row) | {"step": count}
                    engine.descent.optimizer.state[parameters[part.name]] = memory
            for name, tensor in self.others.items():
                _set(engine.model, name, tensor[row])

    def _take_memory(self, engines: Sequence[Engine]) -> None:
        """What the optimizers remember of earlier steps, or begin with."""
        for row, engine in enumerate(engines):
            parameters = dict(engine.model.named_parameters())
            for rule in self.rules:
                for part in rule.parts:
                    memory = engine.descent.optimizer.state.get(parameters[part.name], {})
                    for name, place in rule.memory(part, row).items():
                        if isinstance(known := memory.get(name), Tensor):
                            place.copy_(known)
                    if "step" in memory:
                        rule.counts.fill_(memory["step"].item())


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
