"""Sweeps with any sampler of Optuna's or the user's own: run whole, or refused in one line; shown as they will be."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from scratch import QUICK, Look, Result

from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.study import Ledger, create_study

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

LR = "optimizer.lr=tag(log,interval(1e-3,1))"
SHORT = (*(word for word in QUICK if "epochs" not in word), "trainer.max_epochs=1")
FINITE = ("optimizer.lr=0.1,0.2,0.3", "model.width=4,8")
SAMPLERS = [
    name
    for name in optuna.samplers.__all__
    if inspect.isclass(kind := getattr(optuna.samplers, name))
    and issubclass(kind, optuna.samplers.BaseSampler)
    and not inspect.isabstract(kind)
]
# Each in its own way unlike the rest; the others are tried with the slow tests.
COMMON = {"BruteForceSampler", "GPSampler", "GridSampler", "QMCSampler", "TPESampler"}
# Each goes wrong at a moment of its own.
OWN = """
import os, pathlib
import optuna

class Raising(optuna.samplers.RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        if trial.number == int(os.environ["RAISING"]) and study.get_trials()[trial.number].params:
            raise LookupError("out of ideas")
        return super().sample_independent(study, trial, name, distribution)

class Deadly(optuna.samplers.RandomSampler):
    def sample_independent(self, study, trial, name, distribution):
        if trial.number == 2 and study.get_trials()[2].params and not os.path.exists("died"):
            pathlib.Path("died").touch()
            os.kill(os.getpid(), 9)
        return super().sample_independent(study, trial, name, distribution)
"""


@pytest.fixture
def sweep(dlrun: Dlrun) -> Dlrun:
    """Runs a sweep of trials that are as short as can be: what is drawn is all that matters."""
    return lambda *words: dlrun("train", "-m", *SHORT, "hydra.sweep.dir=sweep", *words)


@pytest.fixture
def own(project: Path) -> Callable[[str], tuple[str, ...]]:
    """The words for a sampler of the user's own."""
    (project / "own.py").write_text(OWN)
    return lambda name: (
        "sweep=random", "sweep.trials=3", f"sweep._target_=own.{name}", LR, "model.width=4,8",
    )  # fmt: skip


def shown(result: Result) -> list[str]:
    return [line for line in result.out.splitlines() if line.startswith("trial ")]


def tried(look: Look) -> list[str]:
    return [
        f"trial {number}: {' '.join(f'{key}={text}' for key, text in swept.items())}"
        for number, swept in enumerate(look.swept)
    ]


@pytest.mark.parametrize(
    "name",
    [name if name in COMMON else pytest.param(name, marks=pytest.mark.slow) for name in SAMPLERS],
)
def test_any_sampler_of_optunas_runs_or_is_refused_in_one_line(
    name: str, sweep: Dlrun, look: Looks
) -> None:
    target = f"optuna.samplers.{name}"
    result = sweep("sweep=random", f"sweep._target_={target}", "sweep.trials=3", *FINITE)
    assert "Traceback" not in result.out + result.err
    if result.code == 0:
        assert look().states == ["complete"] * 3
        assert all(len(trial.params) == 2 for trial in look().trials)
    else:
        assert result.code == 2
        assert f"sweep._target_ is {target}" in result.err
        assert result.err.count("\n") == 1
        assert not look().path.exists()


def test_brute_force_tries_every_setting_once_and_may_be_asked_for_more(
    sweep: Dlrun, look: Looks
) -> None:
    target = "sweep._target_=optuna.samplers.BruteForceSampler"
    assert sweep("sweep=random", target, "sweep.trials=7", *FINITE).code == 0
    settings = [tuple(swept.values()) for swept in look().swept]
    assert len(settings) == 7
    assert len(set(settings[:6])) == 6


@pytest.mark.parametrize("number", [0, 1])
def test_a_sampler_that_raises_is_refused_before_the_first_trial(
    number: int,
    sweep: Dlrun,
    own: Callable[[str], tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    look: Looks,
) -> None:
    monkeypatch.setenv("RAISING", str(number))
    result = sweep(*own("Raising"))
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "sweep._target_ is own.Raising: out of ideas" in result.err
    assert not look().path.exists()


def test_a_sampler_that_raises_later_ends_the_sweep_which_can_be_gone_on_with(
    sweep: Dlrun,
    dlrun: Dlrun,
    own: Callable[[str], tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    look: Looks,
) -> None:
    monkeypatch.setenv("RAISING", "2")
    result = sweep(*own("Raising"))
    assert result.code == 1
    assert result.err.splitlines()[-1].endswith("Raising could not draw trial 2: out of ideas")
    assert "Traceback" not in result.err
    assert look().states == ["complete", "complete", "waiting"]
    assert look().trials[2].params == {}
    monkeypatch.setenv("RAISING", "-1")
    assert dlrun("resume", "sweep", "--allow", "own.Raising").code == 0
    assert look().states == ["complete"] * 3


def test_a_sampler_sees_its_trial_running_with_what_is_drawn_and_others_see_it_wait(
    tmp_path: Path,
) -> None:
    place = SweepDirectory(tmp_path)
    create_study(place, "minimize")
    here, elsewhere = [], []

    class Asking(optuna.samplers.RandomSampler):
        def sample_independent(self, study: optuna.Study, *given: Any) -> Any:
            here.append([(trial.state.name, len(trial.params)) for trial in study.trials])
            others = Ledger(place).trials()  # what a kill would leave
            elsewhere.append([(trial.state.name, len(trial.params)) for trial in others])
            return super().sample_independent(study, *given)

    ledger = Ledger(place)
    ledger.plan(1)
    ledger.study.sampler = Asking(seed=0)
    unit = optuna.distributions.FloatDistribution(0, 1)
    drawn = ledger.begin(0, {"a": unit, "b": unit}).params
    assert here == [[("RUNNING", 0)], [("RUNNING", 1)]]
    assert elsewhere == [[("WAITING", 0)]] * 2
    for seen in (ledger, Ledger(place)):
        assert seen.trial(0).state.name == "RUNNING"
        assert seen.trial(0).params == drawn
        assert seen.attempts(0) == 1


@pytest.mark.slow
def test_a_kill_between_two_draws_leaves_none_of_them(
    away: Dlrun, dlrun: Dlrun, look: Looks, own: Callable[[str], tuple[str, ...]]
) -> None:
    train = ("train", *SHORT, *own("Deadly"))
    assert away(*train, "hydra.sweep.dir=sweep").code == -signal.SIGKILL
    assert look().trials[2].params == {}
    assert dlrun("resume", "sweep", "--allow", "own.Deadly").code == 0
    assert dlrun(*train, "hydra.sweep.dir=whole").code == 0
    assert look().swept == look("whole").swept


@pytest.mark.parametrize(
    ("words", "number", "rest"),
    [
        (("sweep=grid", "sweep.points=2"), 3, "and 1 more (not shown)"),
        (("sweep=random", "sweep.trials=4"), 3, "and 1 more (not shown)"),
        (("sweep=coarse_to_fine", "sweep.trials=4", "sweep.rounds=2"), 2, "and 2 more (follow"),
        (("sweep=tpe", "sweep.trials=3", "sweep.n_startup_trials=2"), 2, "and 1 more (follow"),
        pytest.param(
            ("sweep=random", "sweep.trials=3", "sweep._target_=optuna.samplers.NSGAIISampler"),
            1,
            "and 2 more (follow",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_dry_run_shows_what_no_result_can_change(
    words: tuple[str, ...],
    number: int,
    rest: str,
    sweep: Dlrun,
    look: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dlrun.sweep.driver._SHOWN_DRY", 3)
    words = (*words, LR, "model.width=4,8")
    dry = sweep(*words, "--dry-run")
    assert dry.code == 0
    assert len(shown(dry)) == number
    assert rest in dry.out
    assert not look().path.exists()
    assert sweep(*words).code == 0
    assert tried(look())[:number] == shown(dry)


@pytest.mark.parametrize(
    ("words", "numbers", "rest"),
    [
        pytest.param(("sweep=random",), [3, 4], "", marks=pytest.mark.slow),
        (("sweep=tpe", "sweep.n_startup_trials=2"), [3], "and 1 more (follow from results)"),
    ],
)
def test_a_dry_run_of_a_sweep_shows_what_is_missing_of_it(
    words: tuple[str, ...], numbers: list[int], rest: str, sweep: Dlrun, dlrun: Dlrun, look: Looks
) -> None:
    assert sweep(*words, "sweep.trials=3", LR, "model.width=4,8").code == 0
    before = {file: file.stat().st_mtime_ns for file in look().path.rglob("*")}
    dry = dlrun("resume", "sweep", "sweep.trials=5", "sweep.dry_run=true")
    assert (dry.code, dry.err) == (0, "")
    assert "2 of them to go" in dry.out
    assert rest in dry.out
    assert {file: file.stat().st_mtime_ns for file in look().path.rglob("*")} == before
    assert dlrun("resume", "sweep", "sweep.trials=5").code == 0
    assert [tried(look())[number] for number in numbers] == shown(dry)
