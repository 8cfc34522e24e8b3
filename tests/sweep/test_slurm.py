"""Jobs of Slurm: what becomes of a run or a trial whose job is ended and begun again. No Slurm is needed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scratch import QUICK, Look, Result

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

WORDS = [word.replace("max_epochs=2", "max_epochs=5") for word in QUICK]  # 15 steps
WORDS += ["trainer.num_threads=1"]

pytestmark = pytest.mark.cluster


def test_jobs_that_submitit_requeues_or_launches_again_end_as_undisturbed_ones(
    dlrun: Dlrun, away: Dlrun, look: Looks
) -> None:
    assert dlrun("train", "-m", *WORDS, "model.width=4,13", "hydra.sweep.dir=whole").code == 0
    result = away(
        "train", "-m", *WORDS, "model.width=4,13", "hydra/launcher=submitit_local",
        "hydra.sweep.dir=sweep", AT_STEP="6", SIGUSR2="13", SIGTERM="4",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert look().states == ["complete"] * 2
    for number in (0, 1):
        assert look().starts(number) == [0, 6, 12]
        assert look().points(number) == look("whole").points(number)
    logs = [file.read_text() for file in look().path.glob(".submitit/*/*_log.out")]
    # By itself submitit only notes SIGTERM: that trial's job has ended, and the sweep launched two more.
    assert sorted(log.count("Requeued job") for log in logs) == [0, 0, 0, 2]
