"""Several processes in one sweep, joining and dying as it goes on: every trial once, and the results of one process."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from scratch import JOBLIB, QUICK, Look, Result, kill_group, wait_for

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]
Start = Callable[..., BaseProcess]

pytestmark = pytest.mark.cluster

TRAIN = ("train", "-m", *QUICK, "trainer.num_threads=1", "checkpoint.every_steps=2")
SLOW = {"PAUSE": "0.03"}  # a step
SWEEPS = {
    "grid": ("optimizer.lr=0.1,0.2,0.3", "model.width=4,8,12"),
    "random": ("sweep=random", "sweep.trials=9", "optimizer.lr=interval(0.1,1)"),
    "coarse_to_fine": ("sweep=coarse_to_fine", "sweep.trials=9", "sweep.rounds=3",
                       "optimizer.lr=interval(0.1,1)"),
}  # fmt: skip
KILLS = 4
_SECONDS = 100  # that a sweep may take


class Crew:
    """Workers of the sweep `sweep`, a few at a time."""

    def __init__(self, start: Start, project: Path) -> None:
        self.begin, self.project = start, project
        self.alive: list[tuple[str, BaseProcess]] = []
        self.begun = 0

    def join(self, *words: str, **variables: str) -> BaseProcess:
        name = f"w{self.begun}_"
        self.begun += 1
        given = words or ("work", "sweep")
        process = self.begin(*given, SAYS=name, **{**SLOW, **variables})
        self.alive.append((name, process))
        return process

    def kill_one_of(self, draw: random.Random) -> None:
        """kill -9, and another joins."""
        living = [(name, p) for name, p in self.alive if p.is_alive() and name != "w0_"]
        if living:
            victim = draw.choice(living)
            kill_group(victim[1])
            self.alive.remove(victim)
            self.join()

    def end(self) -> list[Result]:
        """How all ended that were not killed, in the order in which they began."""
        until = time.monotonic() + _SECONDS
        for _, process in self.alive:
            process.join(max(0.0, until - time.monotonic()))
        return [
            Result(-99 if p.exitcode is None else p.exitcode, *map(self._said, (f"{n}out.txt", f"{n}err.txt")))
            for n, p in self.alive
        ]  # fmt: skip

    def _said(self, name: str) -> str:
        return (self.project / name).read_text()


@pytest.fixture
def crew(start: Start, project: Path) -> Crew:
    return Crew(start, project)


@pytest.mark.parametrize("driven", [False, True], ids=["alone", "driven"])
@pytest.mark.parametrize("name", SWEEPS)
def test_workers_that_join_and_die_find_what_one_process_finds(
    name: str, driven: bool, crew: Crew, dlrun: Dlrun, look: Looks
) -> None:
    words = (*TRAIN, *SWEEPS[name])
    assert dlrun(*words, "hydra.sweep.dir=whole").code == 0
    if driven:
        crew.join(*words, "hydra.sweep.dir=sweep")
        wait_for((look().path / "sweep.yaml").exists)
    else:
        assert dlrun(*words, "hydra.sweep.dir=sweep", "--no-driver").code == 0
        crew.join()
    for _ in range(3):
        crew.join()
    draw = random.Random(name)
    for _ in range(KILLS):
        time.sleep(draw.uniform(0.2, 1.2))
        crew.kill_one_of(draw)
    results = crew.end()
    assert [(result.code, result.err) for result in results] == [(0, "")] * 4
    tables = [result.out.count("\nbest: trial") for result in results]
    assert tables == [1, 0, 0, 0] if driven else sum(tables) == 1
    if driven:  # it tells of all trials, whoever trained them
        assert set(re.findall(r"^trial (\d+): .* done", results[0].out, re.M)) == set("012345678")
    assert_same_sweeps(look(), look("whole"))
    assert (look().path / "best.yaml").exists()


def test_workers_share_stacks(crew: Crew, dlrun: Dlrun, look: Looks) -> None:
    space = ("sweep=random", "sweep.trials=24", "optimizer.lr=tag(log,interval(0.01,1))")
    words = (
        "train", "dataset=iris", "model=mlp", "model.hidden=[8]", "trainer.max_epochs=60", "trainer.num_threads=1",
        "trainer.precision=fp64", "trainer.accelerator=cpu", "tracking.tensorboard=false", "sweep.stack=on", *space,
    )  # fmt: skip
    assert dlrun(*words, "hydra.sweep.dir=whole").code == 0
    assert dlrun(*words, "hydra.sweep.dir=sweep", "--no-driver").code == 0
    for _ in range(3):
        crew.join()
    results = crew.end()
    assert [(result.code, result.err) for result in results] == [(0, "")] * 3
    assert look().states == ["complete"] * 24
    assert look().values == pytest.approx(look("whole").values, rel=1e-7)
    ended = [result.out.count("\ntrial ") - result.out.count("\ntrial  ") for result in results]
    assert max(ended) < 24
    assert any("runs as one" in result.out for result in results)


def test_a_worker_waits_for_trials_to_be_added_until_a_signal(
    crew: Crew, dlrun: Dlrun, look: Looks
) -> None:
    space = ("sweep=random", "sweep.trials=2", "optimizer.lr=interval(0.1,1)")
    assert dlrun(*TRAIN, *space, "hydra.sweep.dir=sweep", "--no-driver").code == 0
    process = crew.join("work", "sweep", "--forever", PAUSE="0")
    wait_for((look().path / ".end.json").exists)
    assert dlrun("resume", "sweep", "sweep.trials=4", "--no-driver").code == 0
    wait_for(lambda: look().states == ["complete"] * 4 and (look().path / ".end.json").exists())
    assert process.is_alive()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    (result,) = crew.end()
    assert result.code == 143
    assert "stopped with 4 of 4 done; continue with `dlrun work sweep`" in result.err


def test_the_death_of_a_worker_is_not_held_against_a_trial_that_a_launcher_has_too(
    crew: Crew, look: Looks
) -> None:
    words = (*TRAIN, "optimizer.lr=0.1,0.2,0.3,0.4", *JOBLIB, "hydra.sweep.dir=sweep")
    crew.join(*words, PAUSE="0.4")
    wait_for((look().path / "sweep.yaml").exists)
    worker = crew.join(PAUSE="5")
    wait_for(lambda: any(trial_helped(look())))
    kill_group(worker)
    crew.alive.pop()
    (result,) = crew.end()
    assert (result.code, result.err) == (0, "")
    assert look().states == ["complete"] * 4


def trial_helped(look: Look) -> Sequence[int]:
    return [trial.user_attrs.get("helped", 0) for trial in look.trials]


def assert_same_sweeps(look: Look, whole: Look) -> None:
    assert look.states == whole.states
    assert look.values == whole.values
    assert look.swept == whole.swept
    assert without_seconds(look) == without_seconds(whole)
    for number in whole.runs:
        assert look.points(number) == whole.points(number)
        assert look.log(number).count(" INFO completed\n") == 1


def without_seconds(look: Look) -> list[dict[str, str]]:
    return [{key: cell for key, cell in row.items() if key != "seconds"} for row in look.rows]
