"""Warnings that a queue sends before it ends a job, and handlers of the program that dlrun runs in."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrun.cli import main
from dlrun.storage.run_directory import RunDirectory, is_locked
from dlrun.system.signals import (
    StopRequest,
    ended_by_signals,
    ending_signals,
    hand_on,
    warning_signals,
)
from dlrun.training.loop import Engine

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2
TRAIN = (
    "train", "dataset=iris", "model=logistic", "optimizer=sgd", "trainer.max_epochs=2",
    "trainer.accelerator=cpu", "trainer.num_threads=1", "tracking.tensorboard=false",
    "hydra.run.dir=run",
)  # fmt: skip


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No job, and the handlers of before at the end."""
    for name in ("SLURM_JOB_ID", "SUBMITIT_EXECUTOR", "SUBMITIT_PREEMPT_SIGNAL"):
        monkeypatch.delenv(name, raising=False)
    before = {number: signal.getsignal(number) for number in (USR1, USR2, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def in_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[signal.Signals], int]:
    """Trains a run of 6 steps to which the signal comes in step 4; its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(number: signal.Signals) -> int:
        train_step = Engine.train_step

        def step_and_signal(self: Engine, *batch: torch.Tensor) -> None:
            if self.step == 3:
                signal.raise_signal(number)
            train_step(self, *batch)

        with monkeypatch.context() as patch:
            patch.setattr(Engine, "train_step", step_and_signal)
            return main([*TRAIN])

    return run


def status() -> tuple[str, int]:
    summary: Any = RunDirectory(Path("run")).read_summary()
    return summary["status"], summary["step"]


def test_warnings_are_heeded_in_a_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert warning_signals() == []
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    assert warning_signals() == [USR1, USR2]
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "TERM")
    assert warning_signals() == [USR1, USR2, signal.SIGTERM]
    assert len(set(ending_signals())) == len(ending_signals())
    signal.signal(USR1, signal.SIG_IGN)
    assert USR1 not in ending_signals()


@pytest.mark.parametrize("number", [USR1, USR2])
def test_a_warning_ends_a_run_of_a_job_saved_and_a_resume_completes_it(
    number: signal.Signals,
    in_slurm: None,
    signalled: Callable[[signal.Signals], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert signalled(number) == 128 + number
    said = capsys.readouterr().err
    assert (
        f"stopped by {number.name} at step 4 of 6, saved; continue with `dlrun resume run`" in said
    )
    assert status() == ("stopped", 4)
    assert signal.getsignal(number) is signal.SIG_DFL
    assert main(["resume", "run"]) == 0
    assert status() == ("completed", 6)


def test_the_handler_of_the_program_answers_a_warning_once_the_run_is_closed(
    in_slurm: None, signalled: Callable[[signal.Signals], int]
) -> None:
    found = []
    signal.signal(
        USR2, lambda number, frame: found.append((number, status(), is_locked(Path("run"))))
    )
    assert signalled(USR2) == 128 + USR2
    assert found == [(USR2, ("stopped", 4), False)]


def test_outside_of_a_job_the_handler_of_the_program_answers_at_once_and_the_run_goes_on(
    signalled: Callable[[signal.Signals], int],
) -> None:
    found = []
    signal.signal(USR1, lambda number, frame: found.append(status()[0]))
    assert signalled(USR1) == 0
    assert found == ["running"]
    assert status() == ("completed", 6)


def test_a_warning_beside_another_signal_does_not_end_at_once(in_slurm: None) -> None:
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(USR1)
        signal.raise_signal(USR1)
    assert (stop.signal, stop.exit_code) == (USR1, 138)


def test_before_the_training_a_warning_ends_a_job_as_sigterm_does(in_slurm: None) -> None:
    with pytest.raises(SystemExit) as end, ended_by_signals():
        signal.raise_signal(USR1)
    assert end.value.code == 138


@pytest.mark.parametrize("code", [0, 1, 2, 130, 143, 255])
def test_without_a_handler_of_the_program_there_is_nothing_to_hand_on(code: int) -> None:
    hand_on(code)
