"""Trials side by side: what each launcher runs, and what part of the machine a trial may use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock
from scratch import JOBLIB, QUICK, Look, Result

from dlrun.commands import train
from dlrun.storage import shared_locks
from dlrun.sweep import data_cache, resources, trial
from dlrun.sweep import sweep as sweep_module
from dlrun.sweep.spec import SweepSpec
from dlrun.system import hardware, orphans
from dlrun.system.hardware import cores_each
from dlrun.training.device import DeviceLost

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

JOBLIB_TARGET = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"


# Places.


@pytest.mark.parametrize(
    ("launcher", "here", "local"),
    [
        ("hydra._internal.core_plugins.basic_launcher.BasicLauncher", True, False),
        (JOBLIB_TARGET, False, True),
        ("hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher", False, True),
        ("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", False, False),
    ],
)
def test_launchers_are_known_by_where_their_trials_run(
    launcher: str, here: bool, local: bool
) -> None:
    node = {"_target_": launcher}
    assert (resources.in_this_process(node), resources.is_local(node)) == (here, local)


@pytest.mark.parametrize(
    ("n_jobs", "gpus", "per_gpu", "count"),
    [
        (None, 0, 1, 6),  # a trial a core
        (-1, 0, 3, 6),
        (4, 0, 1, 4),
        (-1, 2, 1, 2),  # a trial a GPU
        (-1, 2, 3, 6),
        (3, 2, 1, 3),
    ],
)
def test_as_many_trials_run_at_a_time_as_there_are_gpus_or_else_cores(
    n_jobs: int | None, gpus: int, per_gpu: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "usable_cores", lambda: float(6))
    launcher = {"_target_": JOBLIB_TARGET} | ({} if n_jobs is None else {"n_jobs": n_jobs})
    assert resources.count_slots(launcher, gpus=gpus, trials_per_gpu=per_gpu) == count


@pytest.mark.parametrize(
    ("accelerator", "swept", "on_cpu"),
    [
        ("cpu", {"optimizer.lr"}, True),
        ("cpu", {"trainer.accelerator"}, False),
        ("auto", {"optimizer.lr"}, False),
    ],
)
def test_gpus_count_unless_every_trial_is_told_to_leave_them_alone(
    accelerator: str, swept: set[str], on_cpu: bool
) -> None:
    spec: Any = SimpleNamespace(
        space=SimpleNamespace(parameters=[SimpleNamespace(sets=swept)]),
        config={"trainer": {"accelerator": accelerator}},
    )
    assert SweepSpec.on_cpu.fget(spec) is on_cpu  # type: ignore[attr-defined]


@pytest.mark.parametrize(("cores", "count", "threads"), [(8, 2, 4), (8, 3, 2), (2, 4, 1)])
def test_trials_share_the_cores(
    cores: int, count: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "usable_cores", lambda: float(cores))
    plain = {"trainer": {"num_threads": None}}
    assert resources.thread_words(plain, count) == [f"trainer.num_threads={threads}"]
    assert resources.thread_words({"trainer": {"num_threads": 3}}, count) == []


def test_cores_are_those_that_the_process_may_use() -> None:
    ask = "from dlrun.system.hardware import cores_each; print(cores_each())"
    pinned = f"import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); {ask}"
    if not hasattr(sys.modules["os"], "sched_setaffinity"):
        pytest.skip("this system has no affinity")
    said = subprocess.run(
        [sys.executable, "-c", pinned], capture_output=True, text=True, check=True
    )
    assert said.stdout == "1\n"


TAKE = """
import sys, pathlib
from dlrun.sweep.resources import slot_among
with slot_among(pathlib.Path("places"), int(sys.argv[1])) as place:
    print(place, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def taker(tmp_path: Path) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Starts a process that takes one of so many places and keeps it to its end."""
    started: list[subprocess.Popen[str]] = []

    def start(count: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", TAKE, str(count)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_no_two_processes_have_the_same_place_and_a_killed_one_gives_its_place_back(
    taker: Callable[[int], subprocess.Popen[str]],
) -> None:
    def place(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()

    first, second = taker(2), taker(2)
    places_taken = [place(first), place(second)]
    assert sorted(places_taken) == ["0\n", "1\n"]
    third = taker(2)  # waits
    first.kill()
    first.wait()
    assert place(third) == places_taken[0]


def test_a_process_has_a_place_for_a_trial_but_stays_with_its_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_OWN", {})
    monkeypatch.delenv("DLRUN_GPU", raising=False)

    def place() -> int:
        with resources.slot_among(tmp_path / "places", 2) as number:
            return number

    assert place() == 0
    with FileLock(tmp_path / "places" / "0"):  # another process's
        assert place() == 1
    assert place() == 0
    with FileLock(tmp_path / "places" / "0"):
        assert place() == 1
    monkeypatch.setenv("DLRUN_GPU", "1")  # CUDA cannot change it any more
    assert place() == 1


@pytest.mark.parametrize(
    ("listed", "there", "seen"),
    [
        (None, 2, ["0", "1"]),
        ("", 0, []),
        ("-1", 0, []),
        ("2, 5", 2, ["2", "5"]),
        ("2,-1,5", 1, ["2"]),  # CUDA reads no further than to what there is not
        ("GPU-a,GPU-b,GPU-c", 3, ["GPU-a", "GPU-b", "GPU-c"]),
        ("MIG-a,MIG-b", 1, ["MIG-a", "MIG-b"]),  # of which CUDA shows a process one
    ],
)
def test_gpus_have_the_names_by_which_cuda_is_told_of_them(
    listed: str | None, there: int, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    monkeypatch.setattr(resources, "os", SimpleNamespace(environ=environment))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    assert resources.gpus_seen() == seen


@pytest.mark.parametrize(
    ("gpus", "slots", "expected", "share"),
    [
        (["0", "1"], 2, ["0", "1"], None),
        (["GPU-a", "GPU-b"], 4, ["GPU-a", "GPU-b", "GPU-a", "GPU-b"], 0.45),
        (["3"], 3, ["3", "3", "3"], 0.3),
    ],
)
def test_places_get_the_gpus_by_turns_and_share_the_memory_of_each(
    gpus: list[str],
    slots: int,
    expected: list[str],
    share: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, shares = [], set[float]()
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda part: shares.add(round(part, 6))
    )
    for place in range(slots):
        environment: dict[str, str] = {}
        monkeypatch.setattr(resources, "os", SimpleNamespace(environ=environment))
        resources.use_gpu(place, gpus, slots)
        # A second trial of the same process stays where the first has begun to use CUDA.
        resources.use_gpu(place, ["9"], 1)
        found.append(environment["CUDA_VISIBLE_DEVICES"])
    assert (found, shares) == (expected, set() if share is None else {share})


def test_without_gpus_nothing_is_said_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(resources, "os", SimpleNamespace(environ=environment))
    resources.use_gpu(0, [], 4)
    assert environment == {}


# Launchers.


@pytest.mark.slow
def test_workers_of_joblib_share_the_cores_and_find_what_one_process_would(
    sweep: Dlrun, look: Looks
) -> None:
    words = ("sweep=coarse_to_fine", "sweep.trials=4", "sweep.rounds=2", "model.width=4,8,16,32")
    assert sweep(*words, "trainer.num_threads=1", "hydra.sweep.dir=row").code == 0
    result = sweep(*words, *JOBLIB)
    assert (result.code, result.err) == (0, ""), result.err
    assert look().states == ["complete"] * 4
    assert look().swept == look("row").swept
    assert look().values == pytest.approx(look("row").values)
    threads = max(1, cores_each() // 2)
    for number in range(4):
        assert look().environment(number)["threads"] == threads
        assert look().config(number)["trainer"]["num_threads"] == threads
        assert look().starts(number) == [0]
    # A line for each that has ended; on a slow machine others say how far one has got.
    ended = [line for line in result.out.splitlines() if " of 4 done" in line]
    assert sum(line.startswith("trial ") for line in ended) == 4 and ended[-1] == "4 of 4 done"


@pytest.mark.cluster
def test_the_number_of_threads_may_be_said(sweep: Dlrun, look: Looks) -> None:
    assert sweep("model.width=4,8", "trainer.num_threads=1", *JOBLIB).code == 0
    assert [look().environment(number)["threads"] for number in (0, 1)] == [1, 1]


@pytest.mark.cluster
def test_joblib_left_to_itself_runs_a_trial_a_core(
    dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "usable_cores", lambda: float(2))
    words = ("model.width=4,8", "hydra/launcher=joblib", "hydra.sweep.dir=sweep")
    assert dlrun("train", "-m", *QUICK, *words).code == 0
    assert look().description["places"] == 2
    assert look().states == ["complete"] * 2


@pytest.mark.slow
def test_jobs_of_submitit_on_this_machine(away: Dlrun, look: Looks) -> None:
    words = ("model.width=4", "hydra/launcher=submitit_local", "hydra.sweep.dir=sweep")
    result = away("train", "-m", *QUICK, *words)
    assert (result.code, result.err) == (0, "")
    assert look().states == ["complete"]
    assert look().starts(0) == [0]
    assert look().description["places"] == cores_each()
    assert look().environment(0)["threads"] == 1


@pytest.mark.parametrize("word", ["trainer.cuda_graph=true", "trainer.precision=fp16"])
def test_what_only_a_gpu_can_do_is_not_refused_where_trials_run_elsewhere(
    word: str, sweep: Dlrun
) -> None:
    words = ("model.width=4,8", "trainer.accelerator=auto", word, "sweep.dry_run=true")
    assert sweep(*words, "hydra/launcher=submitit_slurm").code == 0


@pytest.mark.parametrize(("slots", "ended"), [(2, [1]), (None, [])])
def test_a_process_that_lost_its_gpu_is_given_no_other_trial(
    slots: int | None,
    ended: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lose(sweep: Any, number: int) -> bool:
        raise DeviceLost("the GPU of this process fails (an error)")

    codes: list[int] = []
    sweep = SimpleNamespace(slots=slots, directory=None)
    monkeypatch.setattr(sweep_module, "open_sweep", lambda path: sweep)
    monkeypatch.setattr(shared_locks, "at_work", lambda directory: nullcontext())
    monkeypatch.setattr(trial, "run_trial", lose)
    monkeypatch.setattr(orphans, "begin_as_helper", lambda: None)
    monkeypatch.setattr(train.os, "_exit", codes.append)
    train._trial(tmp_path / "7")  # of a queue each trial has a process of its own
    assert codes == ended
    said = "dlrun: error: the GPU of this process fails (an error): another process goes on\n"
    assert capsys.readouterr().err == (said if ended else "")


def test_a_driver_keeps_no_data_while_others_train(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[str] = []
    monkeypatch.setattr(data_cache, "_latest", ["data"])
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("card"))
    data_cache.forget_data()
    assert (data_cache._latest, freed) == ([], ["card"])


def test_a_launcher_that_can_start_nothing_is_named_by_its_reason(
    sweep: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result = sweep("model.width=4,8", "hydra/launcher=submitit_slurm")
    assert result.code == 1
    assert result.err.startswith("dlrun: error: the launcher started no trial: ")
    assert result.err.count("\n") == 1
    assert look().states == ["waiting"] * 2
