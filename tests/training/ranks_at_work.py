"""What one of several processes does for test_several_ranks: scenes as one of 4 of them, then as one of 2.

    python ranks_at_work.py FOLDER PROCESS

FOLDER has configs.json, by the names of CONFIGS, and a text. What each process finds is written into it.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from side_by_side import PROCESSES
from torch import Tensor, nn

from dlrun.config.settings import parse
from dlrun.data.base import Spec
from dlrun.data.share import Share
from dlrun.runner.session import Pruned
from dlrun.storage.checkpoint import random_states, restore_random_states
from dlrun.system.signals import StopRequest
from dlrun.training.build import assemble
from dlrun.training.engine_state import engine_state, load_engine_state, random_states_for
from dlrun.training.loop import Engine
from dlrun.training.ranks import ALONE, Ranks
from dlrun.training.sharding import whole

_PATIENCE = timedelta(seconds=60)  # until a process that waits for another gives up

ALWAYS = (
    "name=run", "trainer.accelerator=cpu", "trainer.max_epochs=2", "trainer.batch_size=14", "trainer.num_threads=1",
    "trainer.log_every_steps=3", "tracking.tensorboard=false", "checkpoint.every_steps=4",
)  # fmt: skip
IRIS = ("dataset=iris", "model=mlp", "model.hidden=[9]")
DROPOUT = "model.dropout=0.2"
TEXT = (
    "dataset=char_lm", "dataset.path=text.txt", "dataset.window=30", "model=char_lstm", "model.hidden_size=8",
    "trainer.batch_size=6",
)  # fmt: skip
IMAGES = (
    "dataset=digits", "model=cnn", "model.filters=[3]", "model.dense=[8]", "model.batch_norm=true",
    "dataset.augment.shift=1", "dataset.augment.mixup=0.3", "trainer.batch_size=120", "trainer.max_epochs=1",
)  # fmt: skip
KINDS = {
    "a table": (
        *IRIS, DROPOUT, "trainer.ema_decay=0.9", "optimizer=momentum", "optimizer.clip_norm=1",
    ),
    "a table in parts": (*IRIS, DROPOUT, "trainer.accumulate=3", "model.freeze={0.*: 1}", "schedule=cosine"),
    "characters": (*TEXT, "model.dropout=0.1"),
    "images": IMAGES,
    "a table by a sharded model": (
        *IRIS, DROPOUT, "trainer.strategy=fsdp", "trainer.ema_decay=0.9", "optimizer=adamw", "optimizer.clip_norm=1",
        "trainer.accumulate=2", "model.freeze={0.*: 1}",
    ),
    "images with synchronised batch norm": (*IMAGES, "trainer.sync_batch_norm=true", "optimizer=momentum"),
}  # fmt: skip
SHARDED = (
    "trainer.precision=fp64",
    "trainer.strategy=fsdp",
    "optimizer=adamw",
    "optimizer.clip_norm=0.5",
)
EXACT = {
    "a table": (*IRIS, "trainer.precision=fp64"),
    "a table by a sharded model": (*IRIS, *SHARDED, "model.hidden=[9,9]", "trainer.ema_decay=0.9"),
    "images with synchronised batch norm": (
        "dataset=digits",
        "model=cnn",
        "model.filters=[3]",
        "model.dense=[8]",
        "model.batch_norm=true",
        "trainer.batch_size=120",
        "trainer.max_epochs=1",
        "trainer.sync_batch_norm=true",
        *SHARDED,
    ),
    "characters": (*TEXT, "trainer.precision=fp64", "model.dropout=0.0"),
}
CONFIGS = {
    **KINDS,
    **{f"exact {name}": words for name, words in EXACT.items()},
    "plain": IRIS,
    "two steps": (*IMAGES, "trainer.max_steps=2", "trainer.max_epochs=null"),
}


class Observer:
    """Keeps what an engine says, without the times; after some steps, and after an evaluation, it may do something."""

    def __init__(
        self,
        act: Callable[[], None] | None = None,
        after: int = 0,
        at_evaluation: Exception | None = None,
    ) -> None:
        self.points: list[dict[str, float]] = []
        self.act, self.after, self.at_evaluation, self.steps = act, after, at_evaluation, 0

    def stepped(self, steps: int) -> None:
        self.steps += steps
        if self.act and self.steps == self.after:
            self.act()

    def logged(self, step: int, values: Mapping[str, float]) -> None:
        self.points.append({name: v for name, v in values.items() if name != "samples_per_second"})

    def evaluated(self, values: Mapping[str, float]) -> None:
        self.logged(0, values)
        if self.at_evaluation:
            raise self.at_evaluation


def built(ranks: Ranks, name: str, **nodes: Any) -> Engine:
    config = json.loads(Path("configs.json").read_text())[name]
    return assemble(parse(config | nodes), ranks=ranks).engine


def weights(engine: Engine) -> Tensor:
    states = engine.model.state_dict(), engine.evaluated.state_dict()
    tensors = [whole(t.detach()) for state in states for t in state.values()]
    return torch.cat([t.flatten().double() for t in tensors])


def run(
    engine: Engine, observer: Observer | None = None, stop: StopRequest | None = None
) -> dict[str, Any]:
    """Train, keeping each checkpoint as it would be stored: what was said, the weights, the checkpoints."""
    saved: list[dict[str, Any]] = []
    observer = observer or Observer()

    def save() -> None:
        more = {"random": random_states(engine.generator), "points": len(observer.points)}
        saved.append(copied(engine_state(engine) | more))

    engine.fit(save=save, observer=observer, stop=stop or StopRequest())
    return {"points": observer.points, "weights": weights(engine), "saved": saved}


def copied(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def resumed(ranks: Ranks, state: dict[str, Any], name: str) -> dict[str, Any]:
    """What a run says and ends with that goes on from `state`."""
    engine, state = built(ranks, name), copied(state)
    load_engine_state(engine, state)
    if (drawn := random_states_for(ranks.share, state)) is not None:
        restore_random_states(drawn, engine.generator)
    return run(engine)


def goes_on(ranks: Ranks, folder: Path) -> dict[str, list[str]]:
    """What differs between runs of each kind that go on from a checkpoint, and the same that never stopped."""
    return {kind: _goes_on(ranks, kind) for kind in KINDS}


def _goes_on(ranks: Ranks, kind: str) -> list[str]:
    whole = run(built(ranks, kind))
    states = ranks.of_first(whole["saved"])
    state = states[len(states) // 2]
    again = resumed(ranks, state, kind)
    differ = [] if torch.equal(again["weights"], whole["weights"]) else ["weights"]
    if ranks.first:
        missed = whole["points"][state["points"] :]
        differ += [] if missed and again["points"] == missed else ["points"]
    return differ


def by_another_number(ranks: Ranks, folder: Path) -> dict[str, float]:
    """How far exact runs are from the same by one process that go on here, alone and together.

    They were saved by one process, and by the 4 that come first.
    """
    found = {}
    for kind in EXACT:
        name = f"exact {kind}"
        path = folder / f"{name}.pt"
        if ranks.size == PROCESSES:
            runs = [run(built(some, name)) for some in (ranks, ALONE)]
            if ranks.first:
                states = [one["saved"][len(one["saved"]) // 2] for one in runs]
                torch.save({"weights": runs[1]["weights"], "states": states}, path)
            ranks.of_all(None)  # until it is there
        kept = torch.load(path, weights_only=True)
        ends = [
            resumed(some, state, name)["weights"]
            for some in (ranks, ALONE)
            for state in kept["states"]
        ]
        found[kind] = max((end - kept["weights"]).abs().max().item() for end in ends)
    return found


def each_draws_its_own(ranks: Ranks, folder: Path) -> list[list[float]]:
    """What this rank draws first, of the run's generator and of torch's own, and what a run alone draws."""
    drawn = []
    for some in (ranks, ALONE):
        engine = built(some, "plain")
        drawn.append([torch.rand((), generator=engine.generator).item(), torch.rand(()).item()])
    return drawn


def buffers_of_the_first(ranks: Ranks, folder: Path) -> list[list[float]]:
    """Running means on this rank before an evaluation and after it."""
    engine = built(ranks, "two steps")
    name = next(name for name, _ in engine.model.named_buffers() if "running_mean" in name)
    seen = []
    run(engine, Observer(lambda: seen.append(engine.model.get_buffer(name).tolist()), after=2))
    return [*seen, engine.model.get_buffer(name).tolist()]


def ends_alike(ranks: Ranks, folder: Path) -> dict[str, list[Any]]:
    """What one rank alone meets: the steps that this one made, and how the run ended."""
    last = ranks.share.index == ranks.size - 1
    found: dict[str, list[Any]] = {}

    def ended(name: str, observer: Observer, *, broken: bool = False) -> None:
        engine, stop = built(ranks, "plain"), StopRequest()
        observer.act = lambda: setattr(stop, "signal", signal.SIGTERM) if observer.after else None
        if broken:
            engine.loss = not_finite(engine)  # type: ignore[method-assign]
        said = ""
        try:
            run(engine, observer, stop)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        found[name] = [engine.step, said, int(stop.signal or 0)]

    ended("pruned", Observer(at_evaluation=Pruned("no hope") if ranks.first else None))
    ended("failed", Observer(at_evaluation=CannotBeSent(1, 2) if ranks.first else None))
    ended("signalled", Observer(after=3 if last else 0))
    ended("diverged", Observer(), broken=last)
    return found


class CannotBeSent(Exception):
    """One that no other process can make from what it says."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("the disk is full")


def not_finite(engine: Engine) -> Callable[..., tuple[Tensor, Tensor]]:
    """Its loss, which is no number in the fifth step."""
    compute = engine.loss

    def loss(*part: Any) -> tuple[Tensor, Tensor]:
        value, kept = compute(*part)
        return value * (float("nan") if engine.step == 4 else 1), kept

    return loss


class Fickle(nn.Module):
    """A model of a user's own: its second layer is used at random, its third one never; it counts its batches."""

    count: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 3)])
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](x)
        self.count += self.training and len(x)
        return self.layers[1](x) if torch.rand(()) < 0.5 else x


def layers_left_out(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """How far the weights of a model are from those of rank 0 that uses its layers at random; whether they moved."""
    node = {"_target_": "ranks_at_work.Fickle", "freeze": None}
    engine = built(ranks, "plain", model=node)
    before = [p.detach().clone() for p in engine.model.parameters()]
    run(engine)
    moved = [not torch.equal(p, b) for p, b in zip(engine.model.parameters(), before, strict=True)]
    each = ranks.each(weights(engine))
    return {"apart": (each - each[0]).abs().max().item(), "moved": moved}


SCENES = (
    goes_on,
    by_another_number,
    each_draws_its_own,
    buffers_of_the_first,
    ends_alike,
    layers_left_out,
)


def main(folder: Path, process: int) -> None:
    torch.set_num_threads(1)
    for size in (PROCESSES, 2):
        if process >= size:
            return
        store = dist.FileStore(str(folder / f"store-{size}"), size)
        dist.init_process_group(
            "gloo", store=store, rank=process, world_size=size, timeout=_PATIENCE
        )
        ranks = Ranks(Share(process, size), process)
        found = {scene.__name__: scene(ranks, folder) for scene in SCENES}
        (folder / f"found-{size}-{process}.json").write_text(json.dumps(found))
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
