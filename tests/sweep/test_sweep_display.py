"""What a sweep shows on a screen of any width: the table, news of trials, whatever values it varies."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console
from scratch import Result

from dlrun.sweep import launch
from dlrun.sweep.display import make_table
from dlrun.sweep.launch import Launched, Watcher
from dlrun.sweep.leaderboard import Row
from dlrun.sweep.repetitions import Repetitions
from dlrun.sweep.space.parse import by_key, parse
from dlrun.sweep.summary import lead_among

SWEPT = {
    "optimizer.lr": "0.00577885",
    "model.hidden": "[16,8]",
    "model.activation": "relu",
    "optimizer.weight_decay": "7.50954e-05",
}


def row(number: int, value: float, swept: dict[str, str], spread: float | None = None) -> Row:
    words = [f"{key}={text}" for key, text in swept.items()]
    return Row(number, "completed", value, spread, words, by_key(words), 1.0)


def drawn(rows: list[Row], width: int | None) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width or 500, force_terminal=width is not None)
    console.print(make_table(rows, "val/loss", width), highlight=False)
    return [line.rstrip() for line in plain(file.getvalue()).splitlines()]


def plain(text: str) -> str:
    return text.replace("\x1b[1m", "").replace("\x1b[0m", "")


@pytest.mark.parametrize("width", [None, 200, 80, 60, 40, 24])
def test_trial_and_objective_are_shown_whole_at_any_width(width: int | None) -> None:
    lines = drawn([row(1234, 0.12345, SWEPT, 0.012), row(5, 0.2, SWEPT, 0.0)], width)
    assert lines[0].split()[:2] == ["trial", "val/loss"]
    assert lines[1].startswith(" 1234  0.1235 ± 0.012")
    assert lines[2].startswith("    5         0.2 ± 0")
    if width is not None:
        assert max(map(len, lines)) <= width


def test_without_a_limit_nothing_is_shortened() -> None:
    lines = drawn([row(1, 0.5, SWEPT)], None)
    assert lines[0].split() == ["trial", "val/loss", *SWEPT]
    assert lines[1].split() == ["1", "0.5", *SWEPT.values()]


def test_where_space_is_short_a_head_is_the_last_part_of_its_key_if_no_other_ends_so() -> None:
    assert drawn([row(1, 0.5, SWEPT)], 80)[0].split()[2:] == [
        "lr",
        "hidden",
        "activation",
        "weight_decay",
    ]
    alike = {"model.stem.width": "8", "model.head.width": "16", "optimizer.momentum": "0.9"}
    head = drawn([row(1, 0.5, alike)], 50)[0]
    assert head.split()[2:] == ["stem.width", "head.width", "momentum"]


def test_a_number_loses_digits_and_not_its_exponent() -> None:
    texts = {"optimizer.weight_decay": "7.50954e-05", "model.note": "a_long_piece_of_text"}
    lines = drawn([row(1, 0.5, texts)], 35)
    assert lines[0].split() == ["trial", "val/loss", "weight_…", "note"]
    assert lines[1].split() == ["1", "0.5", "7.51e-05", "a_long_…"]


def test_columns_that_do_not_fit_are_left_out_from_the_right_and_counted() -> None:
    lines = drawn([row(1, 0.5, SWEPT)], 36)
    assert lines[0].split() == ["trial", "val/loss", "lr", "hidden"]
    assert lines[1].split() == ["1", "0.5", "0.00577885", "[16,8]"]
    assert lines[2] == "2 more columns: leaderboard.csv"
    assert drawn([row(1, 0.5, SWEPT)], 45)[2] == "1 more column: leaderboard.csv"


def test_values_that_look_like_markup_are_shown_as_they_are() -> None:
    texts = {"model.kinds": "[conv,pool]", "model.name": "[red]y", "model.end": ":smile:[/]"}
    for width in (None, 60):
        assert drawn([row(1, 0.5, texts)], width)[1].split()[2:] == list(texts.values())


def test_the_end_says_how_sure_the_lead_is() -> None:
    doubted = list(lead_among([(3, 0.5), (1, 0.504)], 0.01, minimize=True))
    assert doubted[0] == "0.004 lower than the runner-up, trial 1 (0.504)."
    assert "cannot distinguish the two" in doubted[1]
    assert list(lead_among([(0, 0.5), (1, 0.5)], None, minimize=True)) == [
        "The same as the runner-up, trial 1; the earlier of equals is named."
    ]


def test_equals_are_called_so_on_the_screen(sweep: Callable[..., Result]) -> None:
    result = sweep("trainer.log_every_steps=1,2", "trainer.max_epochs=1")
    assert "  The same as the runner-up, trial 1; the earlier of equals is named.\n" in result.out
    assert "ahead of" not in result.out


def test_a_failure_is_told_with_its_kind_and_the_log_of_its_seed(
    sweep: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAISE", "13")
    out = sweep("model.width=4,13", "sweep.seeds=2", "trainer.max_epochs=1").out
    assert (
        "failed: trial 1 (model.width=13): IndexError: width 13 has a bug;"
        " see sweep/1/seed0/train.log\n"
    ) in out


def test_an_error_in_dlruns_own_words_is_told_without_its_kind(
    sweep: Callable[..., Result],
) -> None:
    out = sweep("optimizer.lr=1e30", "model.width=4", "trainer.max_epochs=5", "sweep=grid").out
    assert "failed: trial 0: the loss is not a finite number" in out
    assert "Diverged:" not in out


# Trials in other processes.


class Heard:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.news: list[tuple[int, str]] = []

    def trial_ended(self, row: Row, standing: Any) -> None:
        self.news.append((row.number, row.status))

    def trial_goes_on(self, number: int, text: str) -> None:
        self.news.append((number, text))

    def close(self) -> None:
        pass


def under_way(number: int, values: dict[int, float]) -> FrozenTrial:
    trial = create_trial(
        state=TrialState.RUNNING,
        params={"optimizer.lr": 0.25},
        distributions={"optimizer.lr": FloatDistribution(0.1, 0.5)},
        intermediate_values=values,
    )
    trial.number = number
    return trial


@pytest.fixture
def trials() -> list[FrozenTrial]:
    return []


@pytest.fixture
def watcher(trials: list[FrozenTrial], monkeypatch: pytest.MonkeyPatch) -> Watcher:
    sweep = SimpleNamespace(
        ledger=SimpleNamespace(trials=lambda: trials),
        space=parse(["optimizer.lr=interval(0.1,0.5)"]),
        strategy=SimpleNamespace(
            plan=SimpleNamespace(total=3), settings=SimpleNamespace(raw_cells=False)
        ),
        objective="val/loss",
        directory=None,
        repetitions=Repetitions({}),
        comparable=True,
        minimize=True,
        helping=False,
    )
    monkeypatch.setattr(launch, "make_display", lambda standing: Heard())
    monkeypatch.setattr(launch, "write_leaderboard", lambda *given, **named: None)
    monkeypatch.setattr(launch, "_LOOK_SECONDS", 0.01)
    return Watcher(sweep)  # type: ignore[arg-type]


def news(watcher: Watcher) -> list[tuple[int, str]]:
    assert isinstance(watcher.display, Heard)
    return watcher.display.news


def test_a_trial_in_another_process_is_told_of_once_an_evaluation(
    watcher: Watcher, trials: list[FrozenTrial]
) -> None:
    trials.append(under_way(0, {}))
    watcher.look()
    watcher.look()
    trials[0] = under_way(0, {1: 0.75, 2: 0.5})
    watcher.look()
    watcher.look()
    assert news(watcher) == [
        (0, "optimizer.lr=0.25"),
        (0, "optimizer.lr=0.25  evaluation 2  val/loss 0.5"),
    ]


def looking(watcher: Watcher) -> AbstractContextManager[None]:
    launched = Launched(
        watcher.sweep,
        watcher,
        config=None,  # type: ignore[arg-type]
        hydra_context=None,  # type: ignore[arg-type]
        task_function=None,  # type: ignore[arg-type]
    )
    return launched._looking()


def test_a_full_disk_under_way_does_not_end_the_looking(
    watcher: Watcher, trials: list[FrozenTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(launch, "write_leaderboard", fail)
    with looking(watcher):
        trials.append(under_way(0, {1: 0.5}))
    trials[0] = under_way(0, {2: 0.25})
    watcher.look()
    assert [text.split()[2] for _, text in news(watcher)] == ["1", "2"]


def test_what_goes_wrong_while_looking_is_raised_after_the_launch(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, launched = threading.Event(), []

    def fail(*given: object) -> None:
        looked.set()
        raise KeyError("a bug")

    monkeypatch.setattr(watcher, "look", fail)
    with pytest.raises(KeyError, match="a bug"), looking(watcher):
        assert looked.wait(10)
        launched.append(True)
    assert launched
