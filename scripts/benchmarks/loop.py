"""dlrun's training loop against a bare one written by hand, doing the same steps on the same tensors.

Both train the same architecture with the same fused Adam, batch size and number of epochs, and
validate once an epoch. dlrun does so as always: metrics, TensorBoard, checkpoints, progress lines.
The two take turns; printed is the median of the ratios of each pair, and their range.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

import _accelerator
from _accelerator import now
from dlrun.config import compose, settings
from dlrun.runner import start
from dlrun.storage.run_directory import RunDirectory
from dlrun.training.build import assemble
from dlrun.training.loop import Engine
from peer_programs import by_hand
from peer_programs.by_hand import MODELS, cnn, mlp


@dataclass(frozen=True)
class Case:
    """A dlrun command line, and the same model by hand."""

    overrides: str
    model: Callable[[], nn.Module]
    epochs: int


MNIST = "dataset=mnist trainer.batch_size=128"
CASES = {
    "digits-logistic": Case("model=logistic", lambda: mlp(64, 10), 40),
    "digits-mlp": Case("model=mlp model.hidden=[64]", lambda: mlp(64, 64, 10), 40),
    "digits-cnn": Case("model=cnn", lambda: cnn(8), 20),
    "mnist-logistic": Case(f"{MNIST} model=logistic", MODELS["logistic"], 5),
    "mnist-mlp": Case(f"{MNIST} model=mlp model.hidden=[128]", MODELS["mlp"], 5),
    "mnist-cnn": Case(f"{MNIST} model=cnn", MODELS["cnn"], 1),
    "mnist-lstm": Case(f"{MNIST} model=lstm model.hidden_size=64", MODELS["lstm"], 1),
}


def main() -> None:
    """Run the cases named on the command line, or all whose data is there."""
    parser = argparse.ArgumentParser("scripts/bench loop", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--repeat", type=int, default=7, help="pairs of each case (default 7)")
    _accelerator.add_option(parser)
    arguments = parser.parse_args()
    names = arguments.cases or [
        n for n in CASES if not n.startswith("mnist") or "DLRUN_DATA" in os.environ
    ]
    print(_accelerator.described(arguments.accelerator))
    print(f"{'case':<16} {'dlrun / bare':>12}   range          accuracy: dlrun, bare")
    for name in names:
        compare(name, CASES[name], arguments.repeat, arguments.accelerator)


def compare(name: str, case: Case, repeat: int, accelerator: str) -> None:
    """Print one row."""
    words = [*case.overrides.split(), f"trainer.max_epochs={case.epochs}", "name=bench"]
    words.append(f"trainer.accelerator={accelerator}")
    plain: Any = OmegaConf.to_container(compose.compose(words), resolve=True)
    del plain["sweep"]  # no setting of a run
    ours, bare = run_dlrun, run_bare
    ours(plain), bare(plain, case)  # the first pass warms caches and allocators up
    pairs = []
    for turn in range(repeat):
        # Whoever goes second finds the processor in another state: take turns at that too.
        first, second = (ours, bare) if turn % 2 == 0 else (bare, ours)
        results = {f: f(plain) if f is ours else f(plain, case) for f in (first, second)}
        pairs.append((results[ours], results[bare]))
    ratios = [a[0] / b[0] for a, b in pairs]
    accuracies = [statistics.mean(pair[i][1] for pair in pairs) for i in (0, 1)]
    print(
        f"{name:<16} {statistics.median(ratios):>12.3f}   {min(ratios):.3f}–{max(ratios):.3f}"
        f"   {accuracies[0]:.4f}, {accuracies[1]:.4f}",
        flush=True,
    )


def run_dlrun(plain: Any) -> tuple[float, float]:
    """(seconds in `Engine.fit`, last validation accuracy) of a normal run."""
    seconds, accuracies = [], []
    fit = Engine.fit

    def timed(engine: Engine, **arguments: Any) -> None:
        kind = engine.device.torch_device.type
        started = now(kind)
        fit(engine, **arguments)
        seconds.append(now(kind) - started)
        accuracies.append(engine.latest["val/accuracy"])

    Engine.fit = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            run = RunDirectory(Path(folder))
            start.train(plain, run, overrides=[], choices={})
    finally:
        Engine.fit = fit  # type: ignore[method-assign]
    return seconds[0], accuracies[0]


def run_bare(plain: Any, case: Case) -> tuple[float, float]:
    """(seconds, last validation accuracy) of the loop that one would write by hand."""
    built = assemble(settings.parse(plain))  # for its data only
    train, val, batch = built.data.train, built.data.val, plain["trainer"]["batch_size"]
    torch.manual_seed(plain["seed"])
    device = train.inputs.device
    model = case.model().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=plain["optimizer"]["lr"], fused=True)
    started = now(device.type)
    accuracy = by_hand.train(
        model,
        optimizer,
        (train.inputs, train.targets),
        (val.inputs, val.targets),
        epochs=case.epochs,
        batch_size=batch,
    )
    return now(device.type) - started, accuracy


if __name__ == "__main__":
    main()
