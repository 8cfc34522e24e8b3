"""The figures that docs/performance.md has of GPUs, each with its goal, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_parts.figures import Figure

NOT_MEASURED = "not yet measured"
HEAD = ["| work | to reach | measured | reached |", "|---|---|---|---|"]


@dataclass(frozen=True)
class Row:
    """A figure of the table.

    Attributes:
        name: that of the figure.
        most, least: what it is to be; of a row with neither only the figure is of interest.
    """

    name: str
    work: str
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def goal(self) -> str:
        """In words."""
        if self.most is not None:
            return f"at most {self.most:g} {self.unit}".rstrip()
        return f"at least {self.least:g} {self.unit}".rstrip() if self.least is not None else "–"

    def reached(self, value: float) -> bool:
        """Whether `value` is what it is to be."""
        return (self.most is None or value <= self.most) and (
            self.least is None or value >= self.least
        )

    def line(self, figure: Figure | None) -> str:
        """Of the table."""
        if figure is None:
            return f"| {self.work} | {self.goal} | {NOT_MEASURED} | |"
        judged = self.most is not None or self.least is not None
        answer = ("yes" if self.reached(figure.value) else "no") if judged else ""
        return f"| {self.work} | {self.goal} | {figure} | {answer} |".replace("|  |", "| |")


_MLP, _STEP = "MNIST MLP 784-128-10, batch 128", "a step"
ROWS = [
    Row("mlp / graphed", f"{_MLP}: {_STEP} / one by hand, one step a CUDA graph", most=1.2),
    Row("mlp / many graphed", f"{_MLP}: {_STEP} / one by hand, 50 steps a CUDA graph", most=1.2),
    Row("mlp / eager", f"{_MLP}: {_STEP} of an eager bare loop / one of dlrun", least=5),
    Row("cnn / eager", f"MNIST CNN: {_STEP} of an eager bare loop / one of dlrun", least=2),
    Row("cnn / lightning", "MNIST CNN: an epoch of Lightning / one of dlrun", least=10),
    Row("lstm / eager", f"LSTM(64): {_STEP} of an eager bare loop / one of dlrun", least=2),
    Row("64 in turn / stacked", "64 MNIST MLPs, whole sweeps: in turn / stacked", least=20),
    Row("256 in turn / stacked", "256 MNIST MLPs, whole sweeps: in turn / stacked", least=50),
    Row("64 steps in turn / stacked", "64 MNIST MLPs, steps alone: in turn / stacked"),
    Row("256 steps in turn / stacked", "256 MNIST MLPs, steps alone: in turn / stacked"),
    Row("first step", "from `import torch` and CUDA's context to the first step", most=1, unit="s"),
    Row("mlp accuracy", "test accuracy of the MLP, 3 seeds: GPU – CPU, as large", most=0.3, unit="points"),
    Row("cnn accuracy", "test accuracy of the CNN, 3 seeds: GPU – CPU, as large", most=0.3, unit="points"),
    Row("resume", "`kill -9` and resume, `trainer.deterministic=true`: values that differ", most=0),
    Row("cifar10_fast accuracy", "`experiment=cifar10_fast`, `eval --tta 6`: test accuracy", least=94, unit="%"),
    Row("cifar10_fast seconds", "`experiment=cifar10_fast`: seconds of training"),
]  # fmt: skip


def table(figures: Mapping[str, Figure]) -> str:
    """All rows, with what was measured of them."""
    return "\n".join([*HEAD, *(row.line(figures.get(row.name)) for row in ROWS)])
