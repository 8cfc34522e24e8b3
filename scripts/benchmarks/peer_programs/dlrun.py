"""dlrun as its user runs it: the command line, with everything on that is on by default."""

from __future__ import annotations

import json
import sys
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
        f"seed={work.seed}",
        *work.words,
    ]


def observe(watch: job.Watch) -> None:
    """Have `watch` told of the beginning, the first step and the end."""
    fit, step = Engine.fit, Engine.train_step

    def timed_fit(engine: Engine, **arguments: Any) -> None:
        watch.begin()
        fit(engine, **arguments)
        watch.end()

    def first_step(engine: Engine, *batch: Any) -> None:
        Engine.train_step = step  # type: ignore[method-assign]
        step(engine, *batch)
        watch.stepped()

    Engine.fit, Engine.train_step = timed_fit, first_step  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
