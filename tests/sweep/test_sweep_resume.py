"""Sweeps that are killed and gone on with: each trial is completed once, and as if nothing had happened."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import yaml
from scratch import (
    JOBLIB,
    QUICK,
    Look,
    Result,
    be_dlrun,
    ended,
    kill_group,
    make_project,
    wait_for,
)

from dlrun.cli import main
from dlrun.sweep.resume import CHANGEABLE, _is_harmless

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]
Start = Callable[..., BaseProcess]

# Checkpoints within the six steps of a trial, of which one fails.
TRAIN = (
    "train", *QUICK, "sweep=random", "sweep.trials=3", "optimizer.lr=tag(log,interval(1e-3,1))",
    "model.width=int(interval(4,12))", "checkpoint.every_steps=2", "hydra.sweep.dir=sweep",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep that nothing happened to."""
    project = tmp_path_factory.mktemp("whole")
    make_project(project)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setattr(sys, "path", [*sys.path])
        patch.delitem(sys.modules, "faulty", raising=False)
        assert main([*TRAIN]) == 0
    return project / "sweep"


@pytest.fixture
def whole(whole_once: Path, look: Looks) -> Look:
    """A copy of it in the project."""
    shutil.copytree(whole_once, look("whole").path)
    return look("whole")


def assert_ended_alike(look: Look, whole: Look) -> None:
    assert look.states == whole.states
    assert look.values == whole.values
    assert [trial.params for trial in look.trials] == [trial.params for trial in whole.trials]
    assert [without_times(row) for row in look.rows] == [without_times(row) for row in whole.rows]
    assert look.runs == whole.runs
    for run in whole.runs:
        assert look.points(run) == whole.points(run)
        assert len(re.findall(r" (INFO completed$|INFO pruned: |ERROR )", look.log(run), re.M)) == 1
        for field in ("status", "step", "best", "final", "choices", "swept"):
            assert look.summary(run).get(field) == whole.summary(run).get(field), field
        assert set(look.environment(run)) == set(whole.environment(run))


def without_times(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if key != "seconds"}


def finished(look: Look) -> dict[str, int]:
    """The runs whose summaries say that they are over, and when each was written."""
    over = ("completed", "pruned", "failed")
    summaries = {name: look.run(name).read_summary() or {} for name in look.runs}
    return {
        name: look.run(name).summary_file.stat().st_mtime_ns
        for name, summary in summaries.items()
        if summary.get("status") in over
    }


def go_on(away: Dlrun, train: Sequence[str] = TRAIN, **variables: str) -> Result:
    """Resumes, or begins anew where the sweep was killed before it had said what it is."""
    began = Path("sweep/sweep.yaml").exists()
    return away(*(("resume", "sweep") if began else train), **variables)


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_ends_as_if_nothing_had_happened(
    away: Dlrun, look: Looks, whole: Look
) -> None:
    assert killed_again_and_again(away, look) > 5
    assert_ended_alike(look(), whole)


def killed_again_and_again(
    away: Dlrun,
    look: Looks,
    train: Sequence[str] = TRAIN,
    *,
    first: int = 6,
    **variables: str,
) -> int:
    """How often the sweep was killed until it came to its end."""
    before: dict[str, int] = {}
    for kills in range(60):
        # Later goes get further, so that all kinds of moments are somebody's last.
        result = go_on(away, train, KILL_AT=str(first + 2 * kills), **variables)
        after = finished(look())
        assert before.items() <= after.items(), "a run that was over was written again"
        before = after
        if result.code in (0, 1):
            return kills
        assert result.code == -signal.SIGKILL, result.err
    raise AssertionError("it gets nowhere")


OTHERS = {
    "seeds": ("-m", "sweep.seeds=2", "model.width=4,8"),
    "tpe": ("sweep=tpe", "sweep.trials=5", "sweep.n_startup_trials=2", "model.width=4,8,16"),
    "rounds": ("sweep=coarse_to_fine", "sweep.trials=6", "sweep.rounds=3", "model.width=4,8,16"),
    "pruned": ("-m", "sweep.pruner=median", "trainer.max_epochs=4",
               "optimizer.lr=0.5,0.4,0.3,0.2,0.25,1e-6,0.45,1e-5,0.6"),
    "hyperband": ("sweep=tpe", "sweep.trials=6", "sweep.n_startup_trials=2", "sweep.pruner=hyperband",
                  "trainer.max_epochs=4", "optimizer.lr=tag(log,interval(1e-5,1))"),
    "failed": ("-m", "model.width=4,13,8", "optimizer.lr=0.1,1e30"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("words", OTHERS.values(), ids=list(OTHERS))
def test_any_sweep_killed_again_and_again_ends_as_if_nothing_had_happened(
    words: tuple[str, ...], away: Dlrun, look: Looks
) -> None:
    # In turn: whether auto stacks is a matter of time (tests of stacks have kills of their own).
    train = ("train", *QUICK, "checkpoint.every_steps=2", "sweep.stack=off", *words)
    assert away(*train, "hydra.sweep.dir=whole", RAISE="13").code in (0, 1)
    train = (*train, "hydra.sweep.dir=sweep")
    # Late enough for a process to end the trial that it goes on with: one begun twice is put last, and
    # what is drawn or pruned after that is compared with other trials.
    assert killed_again_and_again(away, look, train, first=45, RAISE="13") > 1
    assert_ended_alike(look(), look("whole"))


@pytest.mark.slow
@pytest.mark.parametrize("write", range(1, 91))
def test_a_sweep_killed_at_any_write_ends_as_if_nothing_had_happened(
    write: int, away: Dlrun, look: Looks, whole: Look
) -> None:
    result = away(*TRAIN, KILL_AT=str(write))
    before = finished(look())
    if result.code == 0:  # the last write was an earlier one
        pytest.skip(f"there are fewer than {write} writes")
    assert result.code == -signal.SIGKILL
    result = go_on(away)
    assert (result.code, result.err) == (0, "")
    assert before.items() <= finished(look()).items()
    assert_ended_alike(look(), whole)


@pytest.mark.slow
def test_a_sweep_killed_at_any_time_ends_as_if_nothing_had_happened(
    start: Start, away: Dlrun, look: Looks, whole: Look
) -> None:
    times = random.Random(0)
    for _ in range(40):
        process = start(*(("resume", "sweep") if look().path.exists() else TRAIN), PAUSE="0.01")
        process.join(times.uniform(0.2, 1.5))
        if process.exitcode == 0:
            break
        kill_group(process)
        if look().path.exists() and not (look().path / "sweep.yaml").exists():
            (look().path / ".lock").unlink(missing_ok=True)
            look().path.rmdir()
    assert away("resume", "sweep").code == 0
    assert_ended_alike(look(), whole)


# Several processes.


def some_evaluated(look: Look) -> bool:
    return look.path.exists() and any(
        file.stat().st_size for file in look.path.glob("*/metrics.jsonl")
    )


@pytest.mark.cluster
def test_a_sweep_whose_processes_are_all_killed_is_completed(
    start: Start, away: Dlrun, look: Looks, whole: Look
) -> None:
    process = start(*TRAIN, *JOBLIB, PAUSE="0.1")
    wait_for(lambda: some_evaluated(look()))
    kill_group(process)
    before = finished(look())
    assert len(before) < 3
    result = away("resume", "sweep", "hydra/launcher=basic")
    assert (result.code, result.err) == (0, "")
    assert before.items() <= finished(look()).items()
    assert_ended_alike(look(), whole)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [("hydra/launcher=basic",), ()])
def test_workers_that_outlive_their_sweep_are_waited_for(
    launcher: tuple[str, ...], start: Start, away: Dlrun, look: Looks, whole: Look
) -> None:
    process = start(*TRAIN, *JOBLIB, PAUSE="0.3")
    wait_for(lambda: some_evaluated(look()))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)  # alone
    process.join()
    began = time.monotonic()
    result = away("resume", "sweep", *launcher)
    assert (result.code, result.err) == (0, "")
    assert time.monotonic() - began < 60  # idle workers live on, but hold nothing
    assert_ended_alike(look(), whole)


@pytest.mark.slow
def test_a_sweep_of_several_processes_may_be_killed_again_and_again(
    start: Start, away: Dlrun, look: Looks, whole: Look
) -> None:
    for _ in range(3):  # no trial has failed for having been under way each time
        words = ("resume", "sweep") if look().path.exists() else (*TRAIN, *JOBLIB)
        process = start(*words, PAUSE="0.5")
        had = len(list(look().path.glob("*/train.log")))
        wait_for(lambda had=had: len(list(look().path.glob("*/train.log"))) > min(had, 1))
        time.sleep(3)
        kill_group(process)
    assert away("resume", "sweep").code == 0
    assert_ended_alike(look(), whole)


def test_two_may_not_go_on_with_a_sweep_at_once(start: Start, dlrun: Dlrun, look: Looks) -> None:
    process = start(*TRAIN, PAUSE="0.2")
    wait_for(lambda: some_evaluated(look()))
    result = dlrun("resume", "sweep")
    assert result.code == 2
    assert "sweep is being trained by another process" in result.err
    kill_group(process)


def test_of_two_sweeps_begun_together_in_one_folder_one_trains_and_the_other_is_refused(
    processes: Any, project: Path, look: Looks
) -> None:
    both = []
    for name in ("one", "other"):
        (project / name).mkdir()
        make_project(project / name)  # their own words, the same sweep
        train = (*TRAIN[:-1], f"hydra.sweep.dir={project / 'sweep'}")
        both.append(
            processes.Process(
                target=be_dlrun, args=([*train], str(project / name), {"PAUSE": "0.1"})
            )
        )
    for process in both:
        process.start()
    try:
        results = [
            ended(process, project / name)
            for process, name in zip(both, ("one", "other"), strict=True)
        ]
    finally:
        for process in both:
            kill_group(process)
    trained, refused = sorted(results, key=lambda result: result.code)
    assert (trained.code, trained.err) == (0, "")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "another process" in refused.err
    assert look().states == ["complete"] * 3


# Going further.


@pytest.mark.parametrize(
    ("strategy", "fewer", "more"),
    [
        pytest.param(("sweep=random",), 2, 5, id="random", marks=pytest.mark.slow),
        pytest.param(("sweep=tpe", "sweep.n_startup_trials=2"), 3, 5, id="tpe"),
        pytest.param(("sweep=grid", "sweep.points=2"), 3, 4, id="grid", marks=pytest.mark.slow),
        pytest.param(("sweep=coarse_to_fine", "sweep.trials_per_round=2"), 4, 6, id="rounds"),
    ],
)
def test_more_trials_are_those_that_a_longer_sweep_would_have_had(
    strategy: tuple[str, ...], fewer: int, more: int, dlrun: Dlrun, look: Looks
) -> None:
    space = ("optimizer.lr=tag(log,interval(1e-3,1))", "model.width=int(interval(4,12))")
    train = ("train", *QUICK, *strategy, *space)
    assert dlrun(*train, f"sweep.trials={more}", "hydra.sweep.dir=long").code == 0
    assert dlrun(*train, f"sweep.trials={fewer}", "hydra.sweep.dir=sweep").code == 0
    before = finished(look())
    result = dlrun("resume", "sweep", f"sweep.trials={more}")
    assert (result.code, result.err) == (0, "")
    assert before.items() <= finished(look()).items()
    assert look().swept == look("long").swept
    assert look().values == look("long").values
    assert look().description["settings"]["trials"] == more
    # What was said last holds from then on.
    assert "nothing was left to train" in dlrun("resume", "sweep").out
    assert len(look().trials) == more


def test_the_rounds_of_a_search_keep_their_size_as_it_grows(dlrun: Dlrun, look: Looks) -> None:
    words = ("sweep=coarse_to_fine", "sweep.trials=6", "sweep.rounds=2", "model.width=4,8,16,32")
    assert dlrun("train", *QUICK, *words, "hydra.sweep.dir=sweep").code == 0
    result = dlrun("resume", "sweep", "sweep.trials=9")
    assert "9 trials, in rounds of 3" in result.out
    assert look().states == ["complete"] * 9


def test_a_complete_sweep_has_nothing_left(dlrun: Dlrun, whole: Look) -> None:
    files = {file: file.stat().st_mtime_ns for file in whole.path.glob("*/*") if file.is_file()}
    result = dlrun("resume", "whole")
    assert result.code == 0
    assert "`dlrun resume whole sweep.trials=6` adds trials" in result.out
    assert {file: file.stat().st_mtime_ns for file in files} == files
    assert not (whole.path / "3").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("optimizer.lr=0.1",), "optimizer.lr=0.1: a resumed sweep keeps its search"),
        (("sweep=tpe",), "what may change is sweep.trials"),
        (("sweep.seed=1",), "sweep.seed=1: a resumed sweep keeps"),
        (("hydra.sweep.dir=other",), "hydra.sweep.dir=other: a resumed sweep keeps"),
        (("sweep.trials=0",), "sweep.trials is 0, but must be a whole number of at least 1"),
        (("sweep.trials=2",), "sweep.trials is 2, but 3 trials of whole were begun"),
        (("hydra/launcher=jobli",), "did you mean joblib?"),
    ],
)
def test_a_resume_may_not_change_what_a_sweep_asks(
    words: tuple[str, ...], message: str, dlrun: Dlrun, whole: Look
) -> None:
    before = (whole.path / "sweep.yaml").read_text()
    result = dlrun("resume", "whole", *words)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert (whole.path / "sweep.yaml").read_text() == before


def test_a_sweep_is_found_by_name(dlrun: Dlrun, whole: Look, look: Looks) -> None:
    place = look("outputs/sweeps/mine").path
    place.parent.mkdir(parents=True)
    whole.path.rename(place)
    for name in ("last", "min"):
        assert "nothing was left to train" in dlrun("resume", name).out


@pytest.mark.parametrize("launcher", [(), pytest.param(JOBLIB, marks=pytest.mark.slow)])
def test_a_sweep_may_lie_in_a_folder_of_any_name(
    launcher: tuple[str, ...], dlrun: Dlrun, look: Looks
) -> None:
    name = "my sweeps, all (2)/it's a=b"
    quoted = "'" + name.replace("'", "\\'") + "'"
    words = ("model.width=4,8", f"hydra.sweep.dir={quoted}", *launcher)
    assert dlrun("train", "-m", *QUICK, *words).code == 0
    assert look(name).states == ["complete"] * 2
    assert "nothing was left" in dlrun("resume", name).out


# Sweeps of strangers.


# Importable here, as much is, but no config offers it.
EVIL = """
from pathlib import Path
import optuna, faulty

class Net(faulty.Net):
    def __init__(self, spec, *, width: int, bias: bool):
        super().__init__(spec, width=width, bias=bias)
        Path("called").touch()

class Sampler(optuna.samplers.RandomSampler):
    def __init__(self, *, seed: int):
        super().__init__(seed)
        Path("called").touch()
"""


@pytest.mark.parametrize(
    ("words", "named"),
    [
        pytest.param(
            ["model._target_=evil.Net", "model.width=4,8"],
            "model._target_ is evil.Net",
            marks=pytest.mark.slow,
        ),
        (["model._target_=faulty.Net,evil.Net"], "model._target_ is evil.Net"),
        (["model._target_='${name}'", "name=faulty.Net,evil.Net"], "model._target_ is ${name}"),
        (["sweep._target_=evil.Sampler", "model.width=4,8"], "sweep._target_ is evil.Sampler"),
    ],
)
def test_a_strangers_sweep_calls_no_target_that_is_not_offered_here(
    words: list[str], named: str, dlrun: Dlrun, look: Looks, project: Path
) -> None:
    (project / "evil.py").write_text(EVIL)
    train = ("train", *QUICK, "sweep=random", "sweep.trials=1", "hydra.sweep.dir=sweep")
    assert dlrun(*train, *words).code == 0
    (project / "called").unlink()
    refused = dlrun("resume", "sweep", "sweep.trials=2")
    assert refused.code == 2
    assert named in refused.err
    assert "--allow" in refused.err
    assert refused.err.count("\n") == 1
    assert not (project / "called").exists()
    if "$" not in named:
        allow = named.rpartition(" ")[2]
        assert dlrun("resume", "sweep", "sweep.trials=2", "--allow", allow).code == 0
        assert (project / "called").exists()


CALLS = "subprocess.Popen"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["sweep._target_=optuna.samplers._base.os.system"], "optuna.samplers._base.os.system"),
        ([f"+hydra.callbacks.x._target_={CALLS}", "+hydra.callbacks.x.args=[touch,called]"], CALLS),
        ([f"hydra.launcher._target_={CALLS}"], CALLS),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.setup=[touch called]"], "setup"),
        (["hydra.searchpath=[evil]"], "hydra.searchpath=[evil]"),
        (["--config-dir=evil", "model=evil"], "add --allow evil"),
        (["--config-dir", "evil", "model=evil"], "add --allow evil"),
        (["--config-path", "evil"], "--config-path"),
        (["experiment=../../evil/x"], "experiment=../../evil/x"),
    ],
)
def test_a_strangers_command_is_not_typed_where_it_could_call_something(
    more: list[str], named: str, dlrun: Dlrun, whole: Look, project: Path
) -> None:
    (project / "evil" / "model").mkdir(parents=True)
    (project / "evil" / "model" / "evil.yaml").write_text(
        "_target_: os.system\ncommand: touch called\n"
    )
    description = whole.description
    description["command"] += more
    (whole.path / "sweep.yaml").write_text(yaml.safe_dump(description))
    result = dlrun("resume", "whole", "sweep.trials=4")
    assert result.code == 2
    assert named in result.err
    assert "--allow" in result.err
    assert not (project / "called").exists()
    assert not (whole.path / "3").exists()


@pytest.mark.parametrize(
    "word",
    [
        *(
            "experiment=../x",
            "experiment=/etc/x",
            "experiment='../x'",
            "experiment=a\\../x",
            "model=${oc.env:X}",
        ),
        *(
            "model=choice(mlp,../x)",
            "model=[../x]",
            "sweep.space.model=mlp,../x",
            "+sweep.space={model:../x}",
        ),
        *(
            "model@hydra.callbacks.x=mlp",
            "hydra={callbacks:{}}",
            "+hydra/callbacks=x",
            " hydra.x=1",
            "~hydra.x",
        ),
        *(
            "/hydra/callbacks=x",
            "./hydra/x=1",
            "experiment/../hydra=x",
            "hydra@x=y",
            "-cn=x",
            "sweep=../x",
        ),
        *(
            "name=a_${oc.env:SECRET}",
            "name=$\\{oc.env\\:SECRET\\}",
            "name='${oc.decode:${x}}'",
            "name=${oc.${x}:SECRET}",
        ),
    ],
)
def test_a_strangers_word_that_names_a_file_or_hydras_own_settings_is_no_harmless_one(
    word: str,
) -> None:
    assert not _is_harmless(word)


@pytest.mark.parametrize(
    "word",
    [
        *(
            "experiment=digits_tuning",
            "model=mlp,cnn",
            "model=choice('mlp','cnn')",
            "model=[mlp]",
            "model=glob(*)",
        ),
        *(
            "dataset.path=../a.csv",
            "name=größe",
            "name='a b'",
            "+trainer.x=1",
            "~loss",
            "model.hidden=[1,2],[3]",
            "optimizer.weight_decay=${optimizer.lr}",
            "dataset.target='price in $'",
        ),
        *(
            "sweep.space.optimizer.lr=tag(log,interval(1e-4,1))",
            "hydra/launcher=joblib",
            "hydra.launcher.n_jobs=2",
        ),
    ],
)
def test_a_word_of_plain_names_and_values_is_harmless(word: str) -> None:
    assert _is_harmless(word)


def test_what_is_allowed_is_called(dlrun: Dlrun, look: Looks, project: Path) -> None:
    theirs = project / "theirs" / "model"
    theirs.mkdir(parents=True)
    (theirs / "narrow.yaml").write_text("_target_: faulty.Net\nwidth: 2\nbias: true\n")
    words = ("model=narrow", "sweep=random", "sweep.trials=1", "optimizer.lr=interval(0.1,0.2)")
    quick = [word for word in QUICK if not word.startswith("model=")]
    train = ("train", "--config-dir=theirs", *quick, *words, "hydra.sweep.dir=sweep")
    assert dlrun(*train).code == 0
    (project / "configs" / "model" / "net.yaml").unlink()  # now only theirs offers it
    refused = dlrun("resume", "sweep", "sweep.trials=2")
    assert (refused.code, f"--allow {project / 'theirs'}" in refused.err) == (2, True)
    allowed = dlrun("resume", "sweep", "sweep.trials=2", "--allow", "theirs")
    assert (allowed.code, allowed.err) == (0, "")
    assert look().states == ["complete"] * 2


def test_the_help_of_resume_names_all_that_a_sweep_lets_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["resume", "--help"])
    shown = capsys.readouterr().out
    assert [name for name in CHANGEABLE if f"sweep.{name}" not in shown] == ["dry_run"]
