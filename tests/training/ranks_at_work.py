"""What one of several processes does for test_several_ranks, in one group of 4 processes and then in groups of 2.

    python ranks_at_work.py FOLDER PROCESS

What each process finds is written into FOLDER.
"""

from __future__ import annotations

import copy
import io
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from torch import Tensor, nn

from dlrun.config.compose import compose
from dlrun.config.settings import parse
from dlrun.data.share import Share
from dlrun.runner.session import Pruned
from dlrun.storage.checkpoint import random_states, restore_random_states
from dlrun.system.signals import StopRequest
from dlrun.training.build import assemble
from dlrun.training.divergence import Diverged
from dlrun.training.engine_state import engine_state, load_engine_state, random_states_for
from dlrun.training.loop import Engine
from dlrun.training.ranks import ALONE, Ranks

PROCESSES = 4
_PATIENCE = timedelta(seconds=60)  # until a process that waits for another gives up

ALWAYS = (
    "name=run", "trainer.accelerator=cpu", "trainer.max_epochs=2", "trainer.batch_size=14", "trainer.num_threads=1",
    "trainer.log_every_steps=3", "tracking.tensorboard=false", "checkpoint.every_steps=4",
)  # fmt: skip
IRIS = ("dataset=iris", "model=mlp", "model.hidden=[9]", "model.dropout=0.2")
TEXT = (
    "dataset=char_lm", "dataset.path=text.txt", "dataset.window=30", "model=char_lstm",
    "model.hidden_size=8", "model.dropout=0.1", "trainer.batch_size=6",
)  # fmt: skip
KINDS = {
    "a table": (*IRIS, "trainer.ema_decay=0.9", "optimizer=momentum", "optimizer.clip_norm=1"),
    "in parts": (*IRIS, "trainer.accumulate=3", "model.freeze={0.*: 1}", "schedule=cosine"),
    "characters": TEXT,
    "images": (
        "dataset=digits", "model=cnn", "model.filters=[3]", "model.dense=[8]", "model.batch_norm=true",
        "dataset.augment.shift=1", "dataset.augment.mixup=0.3", "trainer.batch_size=200", "trainer.max_epochs=1",
    ),
}  # fmt: skip


class Observer:
    """Keeps what an engine says, without the times, and may interrupt it after so many steps."""

    def __init__(self, interrupt: Callable[[], None] | None = None, after: int = 0) -> None:
        self.points: list[dict[str, float]] = []
        self.interrupt, self.after, self.steps = interrupt, after, 0

    def stepped(self) -> None:
        self.steps += 1
        if self.interrupt and self.steps == self.after:
            self.interrupt()

    def logged(self, values: Mapping[str, float]) -> None:
        self.points.append({name: v for name, v in values.items() if name != "samples_per_second"})

    evaluated = logged


def built(ranks: Ranks, *words: str) -> Engine:
    plain: Any = OmegaConf.to_container(compose([*ALWAYS, *words]), resolve=True)
    del plain["sweep"]  # no part of a run
    return assemble(parse(plain), ranks=ranks).engine


def weights(engine: Engine) -> Tensor:
    states = engine.model.state_dict(), engine.evaluated.state_dict()
    return torch.cat([t.detach().flatten().double() for state in states for t in state.values()])


def run(engine: Engine, **more: Any) -> dict[str, Any]:
    """Train, keeping every checkpoint: what was said, the weights, the checkpoints as they would be stored."""
    saved: list[dict[str, Any]] = []
    observer = more.pop("observer", None) or Observer()

    def save() -> None:
        random = {"random": random_states(engine.generator)}
        saved.append(copied(engine_state(engine) | random | {"points": len(observer.points)}))

    engine.fit(save=save, observer=observer, stop=more.pop("stop", None) or StopRequest())
    return {"points": observer.points, "weights": weights(engine), "saved": saved}


def copied(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def resumed(ranks: Ranks, state: dict[str, Any], *words: str) -> dict[str, Any]:
    """What a run says and ends with that goes on from `state`."""
    engine = built(ranks, *words)
    state = copied(state)
    load_engine_state(engine, state)
    if (drawn := random_states_for(ranks.share, state)) is not None:
        restore_random_states(drawn, engine.generator)
    return run(engine)


def goes_on(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """Runs of each kind that are interrupted at one of their checkpoints, and the same without: what differs."""
    return {kind: _goes_on(ranks, folder, kind) for kind in KINDS}


def _goes_on(ranks: Ranks, folder: Path, kind: str) -> list[str]:
    whole = run(built(ranks, *KINDS[kind]))
    states = ranks.of_first(whole["saved"])
    state = states[len(states) // 2]
    found = resumed(ranks, state, *KINDS[kind])
    differ = [] if torch.equal(found["weights"], whole["weights"]) else ["weights"]
    if ranks.first:
        torch.save(whole | {"at": state}, folder / f"{kind}-{ranks.size}.pt")
        missed = whole["points"][state["points"] :]
        differ += [] if found["points"] == missed and missed else ["points"]
    return differ


def by_another_number(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """Exact runs that were saved by 4, or by one, resumed by these: how far their weights are from the same in one."""
    found = {}
    for kind, words in EXACT.items():
        path = folder / f"exact {kind}.pt"
        if not path.exists():  # these are the 4
            whole, alone = run(built(ranks, *words)), run(built(ALONE, *words))
            saved = [ranks.of_first(one["saved"]) for one in (whole, alone)]
            states = [states[len(states) // 2] for states in saved]
            ranks.of_all(None)
            if ranks.first:
                torch.save({"weights": alone["weights"], "states": states}, path)
        kept = torch.load(path, weights_only=True) if ranks.size < PROCESSES else None
        if kept is None:
            ranks.of_all(None)
            kept = torch.load(path, weights_only=True)
        ends = [
            resumed(some, state, *words)["weights"]
            for some in (ranks, ALONE)
            for state in kept["states"]
        ]
        found[kind] = max((end - kept["weights"]).abs().max().item() for end in ends)
    return found


def each_draws_its_own(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """The numbers that each rank draws first, of the run's generator and of torch's own; and those of a run alone."""
    drawn = []
    for some in (ranks, ALONE):
        engine = built(some, *IRIS)
        own = torch.rand((), generator=engine.generator).item(), torch.rand(()).item()
        drawn.append(own)
    return {"ranks": ranks.of_all(drawn[0]), "alone": drawn[1]}


def buffers_are_the_firsts(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """Running statistics before an evaluation and after it, on each rank."""
    engine = built(ranks, *KINDS["images"], "trainer.max_steps=2", "trainer.max_epochs=null")
    seen = []

    def look() -> None:
        seen.append(statistics(engine))

    run(engine, observer=Observer(look, after=2))
    seen.append(statistics(engine))
    return {"before": ranks.of_all(seen[0]), "after": ranks.of_all(seen[1])}


def statistics(engine: Engine) -> list[float]:
    return next(b for name, b in engine.model.named_buffers() if "running_mean" in name).tolist()


def ends_alike(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """What one rank alone meets: how the run ends on this one, and at which step."""
    last = ranks.share.index == ranks.size - 1
    found = {}

    def ended(name: str, observer: Observer | None = None, **more: Any) -> None:
        engine = built(ranks, *IRIS)
        if "loss" in more:
            engine.loss = more.pop("loss")(engine)  # type: ignore[method-assign]
        error = None
        try:
            run(engine, observer=observer, **more)
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"
        found[name] = [engine.step, error]

    class Pruning(Observer):
        def evaluated(self, values: Mapping[str, float]) -> None:
            raise Pruned("no hope")

    class Failing(Observer):
        def evaluated(self, values: Mapping[str, float]) -> None:
            raise UnicodeDecodeErrorLike(1, 2)

    ended("pruned", Pruning())
    ended("failed", Failing())
    stop = StopRequest()
    asked = Observer(lambda: setattr(stop, "signal", signal.SIGTERM), after=3) if last else None
    ended("signalled", asked, stop=stop)
    found["signalled"].append(stop.signal)
    ended("diverged", loss=not_finite if last else lambda engine: engine.loss)
    return found


class UnicodeDecodeErrorLike(Exception):
    """One that cannot be read by another process."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("cannot be sent")


def not_finite(engine: Engine) -> Any:
    """Its loss, which is not a number in the fifth step."""
    compute = engine.loss

    def loss(*part: Any) -> tuple[Tensor, Tensor]:
        value, kept = compute(*part)
        return value * (float("nan") if engine.step == 4 else 1), kept

    return loss


class Fickle(nn.Module):
    """A model of a user's own, which uses its second layer at random, and its third one never."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 3)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](x)
        return self.layers[1](x) if torch.rand(()) < 0.5 else x


SCENES = (goes_on, by_another_number, each_draws_its_own, buffers_are_the_firsts, ends_alike)


def main(folder: Path, process: int) -> None:
    torch.set_num_threads(1)
    for size in (4, 2):
        group, index = divmod(process, size)
        store = dist.FileStore(str(folder / f"store-{size}-{group}"), size)
        dist.init_process_group("gloo", store=store, rank=index, world_size=size, timeout=_PATIENCE)
        ranks, own = Ranks(Share(index, size), index), folder / f"group-{size}-{group}"
        for scene in SCENES:
            torch.save(scene(ranks, folder), folder / f"{scene.__name__}-{size}-{process}.pt")
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
