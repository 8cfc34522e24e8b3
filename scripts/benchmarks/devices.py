"""One run by two processes: against one process with as many threads, and against a bare loop of two.

Two processes of one thread train the CNN on MNIST by DistributedDataParallel, in dlrun and in a bare loop with the same
model, data and sizes of batches; then one process with two threads trains it while the other waits. They take turns,
in changing order; printed are medians over the turns of samples a second, and of the ratios of each turn. Timed are
steps as dlrun makes them: with the batches read, points logged and what the processes tell each other.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dlrun.config import compose, settings
from dlrun.data.share import Share
from dlrun.system.signals import StopRequest
from dlrun.training.build import Experiment, assemble
from dlrun.training.ranks import ALONE, Ranks

_BATCH = 128
WORDS = f"dataset=mnist model=cnn trainer.batch_size={_BATCH} trainer.accelerator=cpu name=bench".split()
_WARM_UP = 10  # steps that are not timed


def main() -> int:
    """Measure, and print both comparisons."""
    parser = argparse.ArgumentParser("scripts/bench devices", description=__doc__)
    parser.add_argument("--repeat", type=int, default=7, help="turns (default 7)")
    parser.add_argument("--steps", type=int, default=60, help="timed in a turn (default 60)")
    arguments = parser.parse_args()
    if "DLRUN_DATA" not in os.environ:
        print("scripts/bench devices: set DLRUN_DATA to a folder with MNIST", file=sys.stderr)
        return 2
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(measure, (folder, arguments.repeat, arguments.steps), 2)
    return 0


def measure(rank: int, folder: str, repeat: int, steps: int) -> None:
    """Take part as one of two ranks; the first prints."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    two = Ranks(Share(rank, 2))
    plain: Any = OmegaConf.to_container(compose.compose(WORDS), resolve=True)
    del plain["sweep"]  # no setting of a run
    config = settings.parse(plain)
    trainer = replace(config.trainer, max_epochs=None, max_steps=_WARM_UP + steps)
    config = replace(config, trainer=trainer)
    data = assemble(config).data
    ways: dict[str, Callable[[Experiment], float]] = {
        "dlrun, 2 processes of 1 thread": train,
        "bare DDP loop, 2 processes of 1 thread": train_bare,
        "dlrun, 1 process of 2 threads": train_alone,
    }

    def built(ranks: Ranks) -> Experiment:
        return assemble(config, load=lambda *_: data, ranks=ranks)

    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeat + 1):
        for name in reversed(ways) if turn % 2 else ways:
            alone = ways[name] is train_alone
            dist.barrier()
            if two.first or not alone:
                rate = _BATCH * steps / ways[name](built(ALONE if alone else two))
                found[name] += [rate] if turn else []  # the first turn warms caches up
    if two.first:
        show(found)
    dist.destroy_process_group()


def train(experiment: Experiment) -> float:
    """Seconds of the timed steps by dlrun's loop."""
    clock = _Clock()
    with StopRequest() as stop:
        experiment.engine.fit(save=lambda: None, observer=clock, stop=stop)
    return clock.seconds


def train_alone(experiment: Experiment) -> float:
    """As `train`, with two threads."""
    torch.set_num_threads(2)
    seconds = train(experiment)
    torch.set_num_threads(1)
    return seconds


def train_bare(experiment: Experiment) -> float:
    """Seconds of as many steps by the loop that one would write by hand."""
    engine, clock = experiment.engine, _Clock()
    model = DistributedDataParallel(copy.deepcopy(engine.model))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001, fused=True)
    part, loss_function = engine.data.train, nn.CrossEntropyLoss()
    for rows in islice(_rows(len(part), engine.ranks.share), engine.total_steps):
        optimizer.zero_grad()
        loss_function(model(part.inputs[rows]), part.targets[rows]).backward()
        optimizer.step()
        clock.stepped(1)
    return clock.seconds


def show(found: dict[str, list[float]]) -> None:
    """Print samples a second of each way, and how dlrun compares with the two others."""
    print(f"MNIST, two-block CNN, batches of {_BATCH}, {len(next(iter(found.values())))} turns")
    for name, rates in found.items():
        print(f"{name:<40} {statistics.median(rates):>8,.0f} samples/s")
    ours, bare, alone = found.values()
    print(f"2 processes / 1 process, samples/s   {_ratios(ours, alone)}")
    print(f"dlrun / bare DDP loop, time of a step {_ratios(bare, ours)}")


class _Clock:
    """An observer that sees nothing but the time."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def stepped(self, steps: int) -> None:
        self.times.append(time.perf_counter())

    def logged(self, step: int, values: dict[str, float]) -> None:
        pass

    def evaluated(self, values: dict[str, float]) -> None:
        pass

    @property
    def seconds(self) -> float:
        """From the end of the warm-up to that of the last step."""
        return self.times[-1] - self.times[_WARM_UP - 1]


def _rows(samples: int, share: Share) -> Iterator[torch.Tensor]:
    """A rank's rows of each batch, epoch after epoch, in an order that all ranks draw alike."""
    generator = torch.Generator().manual_seed(0)
    own = share.of(_BATCH)
    while True:
        for batch in torch.randperm(samples, generator=generator).split(_BATCH):
            yield batch[own.start : own.stop]


def _ratios(over: list[float], under: list[float]) -> str:
    """The median of the ratios of each turn, and their range."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"


if __name__ == "__main__":
    sys.exit(main())
