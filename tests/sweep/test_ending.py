"""What ends a sweep early, worked out from its trials; and how many trials processes that share one may take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from scratch import Look, Result

from dlrun.config.schema import check
from dlrun.errors import ConfigError
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep import quota
from dlrun.sweep.ending import ended_by, how_to_go_on, seconds_of, seconds_worked
from dlrun.sweep.launch import Watcher
from dlrun.sweep.quota import Limits, Quota
from dlrun.sweep.settings import Time
from dlrun.sweep.study import Ledger, create_study
from dlrun.sweep.sweep import open_sweep

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]
BEGIN = datetime(2026, 1, 31, 12)


def trial(
    state: TrialState, value: float | None = None, *, after: float = 0, **facts: Any
) -> FrozenTrial:
    """A trial that ended so many seconds after the beginning."""
    made = create_trial(state=state, value=value, user_attrs=facts)
    if state.is_finished():
        made.datetime_complete = BEGIN + timedelta(seconds=after)
    return made


def completed(*values: float) -> list[FrozenTrial]:
    return [trial(TrialState.COMPLETE, value, after=i) for i, value in enumerate(values)]


# The budget.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1d", 86_400), ("0h5s", 5)],
)
def test_a_budget_is_a_time_with_its_units(text: str, seconds: int) -> None:
    assert seconds_of(check("sweep.budget", text, Time)) == seconds


@pytest.mark.parametrize(
    "value", [90, 1.5, "90", "1.5h", "0s", "", "-1h", "30m1h", "2 h", "1H", True]
)
def test_other_budgets_are_refused(value: object) -> None:
    with pytest.raises(
        ConfigError, match=r"sweep\.budget is .*, but must be a time with its units"
    ):
        check("sweep.budget", value, Time | None)


def test_time_that_several_processes_work_at_once_counts_once_and_pauses_do_not_count() -> None:
    trials = [
        trial(TrialState.RUNNING, worked=[[100, 110], [500, 520]]),
        trial(TrialState.RUNNING, worked=[[105, 130], [505, 510]]),
        trial(TrialState.RUNNING, worked=[[140, 139]]),  # a clock was set back
        trial(TrialState.WAITING),
    ]
    assert seconds_worked(trials) == 50
    assert ended_by(trials, {"budget": "50s"}, minimize=True) == "budget"
    assert ended_by(trials, {"budget": "51s"}, minimize=True) is None
    assert ended_by(trials, {"budget": None}, minimize=True) is None
    assert ended_by(trials, {}, minimize=True) is None  # a sweep of an earlier version


def test_trials_of_an_earlier_version_count_with_the_seconds_that_they_took() -> None:
    trials = [trial(TrialState.COMPLETE, 1.0, after=20, seconds=8.0), trial(TrialState.FAIL)]
    assert seconds_worked(trials) == 8


def test_the_hint_doubles_what_ended_the_sweep() -> None:
    assert how_to_go_on("budget", {"budget": "45m"}, "s") == "dlrun resume s sweep.budget=1h30m"
    assert how_to_go_on("patience", {"patience": 3}, "s") == "dlrun resume s sweep.patience=6"


# Patience.


@pytest.mark.parametrize(
    ("values", "patience", "minimize", "is_over"),
    [
        ([3, 2, 2, 2], 2, True, True),  # as good is not better
        ([3, 2, 2, 1], 2, True, False),
        ([3, 4, 5], 2, True, True),
        ([3, 4, 5], 2, False, False),
        ([3, 4, 5, 1], 2, True, True),  # once over it stays so
        ([3, 4, 2, 5], 2, True, False),
        ([], 1, True, False),
    ],
)
def test_patience_counts_trials_in_a_row_without_a_better_one(
    values: Sequence[float], patience: int, minimize: bool, is_over: bool
) -> None:
    found = ended_by(completed(*values), {"patience": patience}, minimize=minimize)
    assert found == ("patience" if is_over else None)


def test_patience_goes_by_the_order_of_the_ends_and_counts_failed_and_pruned_trials() -> None:
    trials = [
        trial(TrialState.COMPLETE, 1.0, after=9),
        trial(TrialState.FAIL, after=2),
        trial(TrialState.COMPLETE, 3.0, after=1),
        trial(TrialState.PRUNED, after=3),
        trial(TrialState.RUNNING),
    ]
    assert ended_by(trials, {"patience": 2}, minimize=True) == "patience"
    assert ended_by(trials, {"patience": 3}, minimize=True) is None


def test_a_sweep_ends_by_its_patience_says_so_and_a_resume_goes_on(
    sweep: Dlrun, dlrun: Dlrun, look: Looks
) -> None:
    words = ("sweep.patience=2", "sweep.stack=off")
    result = sweep("optimizer.lr=0.5,1e-9,1e-8,1e-7,0.6", *words)
    assert (result.code, result.err) == (0, "")
    told = "ended by its patience: 3 of 5 trials"
    assert f"{told}; `dlrun resume sweep sweep.patience=4` goes on\n" in result.out
    assert told in dlrun("show", "sweep").out
    assert told in dlrun("runs", ".").out
    result = dlrun("work", "sweep")
    assert (result.code, result.err) == (0, "")
    assert "nothing is left to train: 3 of 5 done" in result.out
    result = dlrun("resume", "sweep", "sweep.patience=null")
    assert look().states == ["complete"] * 5
    assert "ended by" not in result.out + dlrun("show", "sweep").out


def test_patience_is_refused_where_seeds_are_trials(sweep: Dlrun, project: Path) -> None:
    result = sweep("seed=0,1", "optimizer.lr=0.1,0.2", "sweep.patience=2")
    assert result.code == 2
    assert "several trials repeat one setting with other seeds: use sweep.seeds=N" in result.err
    assert not (project / "sweep").exists()


# Planning.


@pytest.fixture
def directory(tmp_path: Path) -> SweepDirectory:
    found = SweepDirectory(tmp_path / "sweep")
    found.write({"command": [], "overrides": [], "space": {}, "settings": {}, "objective": "x"})
    create_study(found, "minimize")
    return found


def test_processes_that_plan_at_once_plan_each_trial_once(directory: SweepDirectory) -> None:
    ledgers = [Ledger(directory) for _ in range(4)]
    ledgers[0].plan(3)
    ledgers[1].plan(2)
    ledgers[2].plan(5)
    assert [len(ledger.trials()) for ledger in ledgers] == [5] * 4
    plans = [threading.Thread(target=ledger.plan, args=(25,)) for ledger in ledgers]
    for plan in plans:
        plan.start()
    for plan in plans:
        plan.join()
    assert [t.number for t in Ledger(directory).trials()] == list(range(25))
    for ledger in ledgers:  # who added some knows the others' numbers as well
        assert [t.number for t in ledger.trials()] == list(range(25))


def test_it_is_noted_who_began_a_trial_and_how_long_it_was_worked_on(
    directory: SweepDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("dlrun.sweep.study._now", lambda: clock[0])
    ledger, other = Ledger(directory), Ledger(directory)
    ledger.plan(1)
    ledger.begin(0, {}, helping=True)
    clock[0] = 105.0
    ledger.goes_on(0)
    clock[0] = 200.0  # killed in between
    other.begin(0, {})
    clock[0] = 203.0
    other.completed(0, 1.0, {})
    assert (ledger.attempts(0), ledger.helped(0)) == (2, 1)
    assert seconds_worked(ledger.trials()) == 8


# Shares.


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Quota]:
    """What a process may take that is one of several."""

    def made(
        present: int,
        limits: Limits | None,
        here: Sequence[int] = (),
        patience: int | None = None,
    ) -> Quota:
        monkeypatch.setattr(quota, "count_at_work", lambda directory: present)
        ledger = SimpleNamespace()
        opened = SimpleNamespace(
            directory=SimpleNamespace(path="here"),
            ledger=ledger,
            stops_at_failures=lambda: False,
            strategy=SimpleNamespace(settings=SimpleNamespace(patience=patience)),
        )
        monkeypatch.setattr(quota, "open_sweep", lambda path: opened)
        return Quota(opened, limits, here)  # type: ignore[arg-type]

    return made


@pytest.mark.parametrize(
    ("present", "helping", "left", "share"),
    [
        (1, False, 100, 100),  # a driver alone
        (2, False, 100, 34),
        (1, True, 100, 50),  # another is about to come
        (4, True, 100, 20),
        (4, True, 9, 8),
        (40, True, 100, 8),
    ],
)
def test_a_process_leaves_trials_to_others(
    present: int, helping: bool, left: int, share: int, crew: Callable[..., Quota]
) -> None:
    limits = Limits(None, None, forever=False) if helping else None
    assert crew(present, limits).share(left) == share


def test_no_more_trials_are_taken_than_was_asked_for(crew: Callable[..., Quota]) -> None:
    limits = Limits(3, None, forever=False)
    assert crew(1, limits).share(100) == 3
    assert crew(1, limits, [4, 7]).share(100) == 1
    assert crew(1, limits, [4, 7, 8]).share(100) == 0
    assert crew(1, None, patience=5).share(100) == 5
    late = Limits(None, 1.0, forever=False)
    late.is_late = True
    assert not crew(1, late).is_open


# The command.


def test_a_prepared_sweep_is_trained_a_few_trials_at_a_time(
    sweep: Dlrun, dlrun: Dlrun, look: Looks, project: Path
) -> None:
    result = sweep("optimizer.lr=0.1,0.2,0.3", "--no-driver")
    assert (result.code, result.err) == (0, "")
    assert "`dlrun work sweep`" in result.out
    assert look().states == []
    assert "--no-driver" not in look().description["command"]
    result = dlrun("work", "sweep", "--trials", "2")
    assert (result.code, result.err) == (0, "")
    assert "2 trials ended here; 2 of 3 done" in result.out
    assert look().states == ["complete"] * 2
    assert not (project / "sweep" / "best.yaml").exists()
    result = dlrun("work", "sweep")
    assert (result.code, result.err) == (0, "")
    assert "best: trial" in result.out
    assert [row["status"] for row in look().rows] == ["completed"] * 3
    board = (project / "sweep" / "leaderboard.csv").stat().st_mtime_ns
    result = dlrun("work", "sweep")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("nothing is left to train: 3 of 3 done")
    assert (project / "sweep" / "leaderboard.csv").stat().st_mtime_ns == board


def test_a_failed_trial_does_not_end_a_worker_but_its_exit_code_tells(
    sweep: Dlrun, dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep("model.width=4,13,20", "--no-driver").code == 0
    monkeypatch.setenv("RAISE", "13")
    assert dlrun("work", "sweep", "--trials", "1").code == 0
    assert dlrun("work", "sweep", "--trials", "1").code == 1
    assert dlrun("work", "sweep").code == 1
    assert look().states == ["complete", "fail", "complete"]
    assert dlrun("work", "sweep").code == 0  # nothing was left to do


def test_a_worker_stops_at_a_failed_trial_where_the_sweep_asks_for_it(
    sweep: Dlrun, dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep("model.width=13,4", "sweep.fail_fast=true", "--no-driver").code == 0
    monkeypatch.setenv("RAISE", "13")
    result = dlrun("work", "sweep")
    assert result.code == 1
    assert "stopped at a failed trial" in result.out
    assert look().states == ["fail"]
    monkeypatch.delenv("RAISE")
    assert dlrun("resume", "sweep", "--no-driver").code == 0
    assert dlrun("work", "sweep").code == 1
    assert look().states == ["fail", "complete"]


def test_the_minutes_of_a_worker_leave_its_trial_to_another(
    sweep: Dlrun, dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep("optimizer.lr=0.1,0.2", "hydra.sweep.dir=whole").code == 0
    assert sweep("optimizer.lr=0.1,0.2", "--no-driver").code == 0
    entered: list[Limits] = []
    monkeypatch.setattr(Limits, "__enter__", lambda limits: entered.append(limits) or limits)
    monkeypatch.setattr(Limits, "__exit__", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "evaluated", lambda *_: entered[0]._end())  # the timer has run out
        result = dlrun("work", "sweep", "--minutes", "1")
    assert (result.code, result.err) == (0, "")
    assert "0 trials ended here; 0 of 2 done (the minutes are over)" in result.out
    assert (look().summary(0)["status"], look().summary(0)["step"]) == ("stopped", 3)
    assert dlrun("work", "sweep").code == 0
    assert look().starts(0) == [0, 3]
    assert look().points(0) == look("whole").points(0)


def test_a_worker_whose_configs_are_not_those_of_the_sweep_takes_no_trial(
    sweep: Dlrun, dlrun: Dlrun, look: Looks, project: Path
) -> None:
    assert sweep("optimizer.lr=0.1,0.2", "--no-driver").code == 0
    option = project / "configs" / "model" / "net.yaml"
    option.write_text(option.read_text().replace("width: 8", "width: 9"))
    result = dlrun("work", "sweep")
    assert result.code == 2
    assert "width 8 there, 9 here; restore the config" in result.err
    assert look().states == []


def test_only_what_is_a_sweep_can_be_worked_on(sweep: Dlrun, dlrun: Dlrun) -> None:
    sweep("optimizer.lr=0.1")
    for words, why in [
        (("work", "sweep/0"), "sweep/0 is a trial of a sweep, not a sweep: give sweep"),
        (("resume", "sweep/0", "--no-driver"), "--no-driver is for a sweep"),
    ]:
        result = dlrun(*words)
        assert result.code == 2
        assert why in result.err


@pytest.mark.parametrize(
    ("journal", "told"), [(None, "is missing or empty"), ("{}\n", "is damaged: end all processes")]
)
def test_a_worker_trains_nothing_without_a_sound_journal(
    journal: str | None, told: str, sweep: Dlrun, dlrun: Dlrun, look: Looks, project: Path
) -> None:
    assert sweep("optimizer.lr=0.1,0.2", "--no-driver").code == 0
    file = project / "sweep" / "study.journal"
    file.write_text(file.read_text() + journal) if journal else file.unlink()
    result = dlrun("work", "sweep")
    assert result.code == 2
    assert told in result.err
    assert dlrun("resume", "sweep", "--no-driver").code == 0
    assert dlrun("work", "sweep").code == 0
    assert look().states == ["complete"] * 2


def test_a_sweep_is_opened_anew_once_it_was_changed(sweep: Dlrun, dlrun: Dlrun) -> None:
    random = ("optimizer.lr=interval(0.1,0.2)", "sweep=random", "sweep.trials=2")
    assert sweep(*random, "--no-driver").code == 0
    opened = open_sweep(Path("sweep"))
    limits = Limits(None, None, forever=True)
    assert not Quota(opened, limits, ()).is_outdated
    assert dlrun("resume", "sweep", "sweep.trials=3", "--no-driver").code == 0
    assert Quota(opened, limits, ()).is_outdated
    assert open_sweep(Path("sweep")).strategy.plan.total == 3
