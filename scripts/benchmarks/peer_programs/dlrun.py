"""dlrun as its user runs it: the command line, with everything on that is on by default."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlrun import cli
from dlrun.training.loop import Engine
from peer_programs import job

MODELS = {
    "logistic": ["model=logistic"],
    "mlp": ["model=mlp", "model.hidden=[128]"],
    "cnn": ["model=cnn"],
    "lstm": ["model=lstm", "model.hidden_size=64"],
}


def main() -> None:
    """Train and test."""
    work, watch = job.read()
    observe(watch)
    code = cli.main(["train", *words(work), "hydra.run.dir=run"])
    if code:
        sys.exit(code)
    watch.report(
        json.loads(Path("run/summary.json").read_text())["best"]["metrics"]["test/accuracy"]
    )


def words(work: job.Job) -> list[str]:
    """The overrides that describe `work`."""
    return [
        "dataset=mnist",
        *MODELS[work.case],
        "optimizer=adam",
        f"optimizer.lr={job.LEARNING_RATE}",
        f"trainer.batch_size={job.BATCH_SIZE}",
        f"trainer.max_epochs={work.epochs}",
        f"trainer.accelerator={work.accelerator}",
        f"seed={work.seed}",
        *work.words,
    ]


def observe(watch: job.Watch) -> None:
    """Have `watch` told of the beginning, the first step and the end."""
    fit = Engine.fit

    def timed_fit(engine: Engine, *, observer: Any, **arguments: Any) -> None:
        after_first_step(observer, watch.stepped)
        watch.begin()
        fit(engine, observer=observer, **arguments)
        watch.end()

    Engine.fit = timed_fit  # type: ignore[method-assign]


def after_first_step(observer: Any, call: Callable[[], None]) -> None:
    """Have `call` called once the loop has told `observer` of its first step."""

    def first(*steps: int) -> None:
        del observer.stepped  # the class's own from now on
        observer.stepped(*steps)
        call()

    observer.stepped = first


if __name__ == "__main__":
    main()
