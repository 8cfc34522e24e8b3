from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun.commands import runs
from dlrun.errors import ConfigError
from dlrun.run_directory import RunDirectory

Dlrun = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def some_runs(make_run: MakeRun) -> None:
    def add(hour: int, model: str, accuracy: float, **more: object) -> None:
        name = f"2026-01-31_{hour}-00-00_digits_{model}_{hour}ab"
        make_run(
            name,
            created=f"2026-01-31T{hour}:00:00+00:00",
            choices={"dataset": "digits", "model": model},
            name=f"digits_{model}",
            best={"epoch": 3, "metrics": {"val/loss": 1 - accuracy, "val/accuracy": accuracy}},
            **more,
        )

    add(10, "cnn", 0.9)
    add(11, "mlp", 0.95, status="failed")
    add(12, "logistic", 0.8, final={"test/rmse": 3.5})


def first_words(text: str) -> list[str]:
    """The short names in the order of the table."""
    return [line.split()[0] for line in text.splitlines() if line.startswith("digits_")]


def test_the_newest_run_comes_first(some_runs: None, capsys: Capture) -> None:
    assert runs.main([]) == 0
    text = capsys.readouterr().out
    assert first_words(text) == ["digits_logistic_12ab", "digits_mlp_11ab", "digits_cnn_10ab"]
    assert text.endswith("\n3 runs\n")


def test_a_row_tells_the_run_in_short(make_run: MakeRun, capsys: Capture) -> None:
    make_run("2026-01-31_12-00-00_digits_cnn_12ab")
    runs.main([])
    titles, names, row, *_ = capsys.readouterr().out.splitlines()
    assert titles.split() == ["best", "test"]
    assert names.split() == [
        *("run", "status", "dataset", "model", "epoch", "val/loss", "accuracy", "time", "age"),
    ]
    expected = [
        "digits_cnn_12ab",
        "completed",
        "digits",
        "cnn",
        "20/20",
        "0.2500",
        "0.8750",
        "3m20s",
    ]
    assert row.split()[:-1] == expected


def test_values_are_named_where_the_runs_differ_in_their_metric(
    some_runs: None, capsys: Capture
) -> None:
    runs.main([])
    text = capsys.readouterr().out
    assert "rmse 3.5000" in text
    assert "accuracy 0.8750" in text


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["--sort", "val/accuracy"], ["mlp", "cnn", "logistic"]),
        (["--sort", "val/loss"], ["mlp", "cnn", "logistic"]),
        (["--sort", "val/loss", "--reverse"], ["logistic", "cnn", "mlp"]),
        (["--reverse"], ["cnn", "mlp", "logistic"]),
        (["--sort", "test/rmse"], ["logistic", "mlp", "cnn"]),  # those without it come last
        (["-n", "1"], ["logistic"]),
    ],
)
def test_order(words: list[str], order: list[str], some_runs: None, capsys: Capture) -> None:
    runs.main(words)
    found = [name.split("_")[1] for name in first_words(capsys.readouterr().out)]
    assert found == order


def test_the_metric_sorted_by_is_shown(some_runs: None, capsys: Capture) -> None:
    runs.main(["--sort", "val/accuracy"])
    text = capsys.readouterr().out
    assert "0.9500" in text
    assert text.count("val") == 2  # in the heads: of the best column, and of its own


@pytest.mark.parametrize(
    ("conditions", "models"),
    [
        (["model=cnn"], ["cnn"]),
        (["model!=cnn"], ["logistic", "mlp"]),
        (["model=*l*"], ["logistic", "mlp"]),
        (["status=failed"], ["mlp"]),
        (["name=digits_mlp"], ["mlp"]),
        (["run=*10ab"], ["cnn"]),
        (["val/accuracy>0.9"], ["mlp"]),
        (["val/accuracy>=0.9"], ["mlp", "cnn"]),
        (["val/accuracy<0.9"], ["logistic"]),
        (["val/accuracy<=0.9"], ["logistic", "cnn"]),
        (["val/accuracy=0.9"], ["cnn"]),
        (["val/accuracy != 0.9"], ["logistic", "mlp"]),
        (["val/accuracy>0.85", "status=completed"], ["cnn"]),
        (["test/rmse<10"], ["logistic"]),  # a run without the metric does not meet it
        (["test/rmse!=3.5"], ["mlp", "cnn"]),
        (["epoch==20"], ["logistic", "mlp", "cnn"]),
        (["seconds>1e9"], []),
    ],
)
def test_filters(
    conditions: list[str], models: list[str], some_runs: None, capsys: Capture
) -> None:
    runs.main(["--filter", *conditions])
    text = capsys.readouterr().out
    assert [name.split("_")[1] for name in first_words(text)] == models
    assert f"{len(models)} of 3 runs" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sort", "val/f1"], "--sort val/f1: no run has this metric; there are: .*val/accuracy"),
        (["--filter", "mdel=cnn"], "no run has mdel; did you mean model"),
        (["--filter", "model"], "--filter model is not a condition: write KEY=VALUE"),
        (["--filter", "val/loss<low"], "< needs a number, as in 'val/loss>0.9'"),
        (["--filter", "status>1"], "status is text .*; compare it with = or !="),
        (["nowhere"], "DIR is nowhere, which is not a directory"),
    ],
)
def test_a_slip_is_answered_with_what_there_is(
    words: list[str], said: str, some_runs: None
) -> None:
    with pytest.raises(ConfigError, match=said):
        runs.main(words)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_the_table_fits_the_terminal(
    width: int, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    long_name = "a_name_that_somebody_thought_would_be_a_good_idea_" * 2
    make_run(f"2026-01-31_12-00-00_{long_name}_12ab")
    make_run("2026-01-31_12-00-00_digits_cnn_34cd", final={"test/r2": 0.5})
    monkeypatch.setenv("COLUMNS", str(width))
    runs.main(["--sort", "val/accuracy"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= width
    assert any("12ab" in line for line in lines)  # the end tells runs apart


def test_an_unreadable_run_is_a_row_and_no_error(make_run: MakeRun, capsys: Capture) -> None:
    run = RunDirectory(make_run("2026-01-31_12-00-00_digits_cnn_12ab"))
    run.summary_file.write_text('{"status": "runn')
    make_run(
        "2026-01-31_12-00-00_old_34cd", choices=None, best=[], final=None, epoch="?", seconds=None
    )
    assert runs.main([]) == 0
    text = capsys.readouterr().out
    assert "digits_cnn_12ab  unreadable" in text
    assert "old_34cd         completed" in text


def test_only_so_many_rows_are_shown_unless_all_are_asked_for(
    make_run: MakeRun, capsys: Capture
) -> None:
    for number in range(30):
        make_run(f"2026-01-31_12-00-{number:02}_digits_cnn_{number:02}")
    runs.main([])
    text = capsys.readouterr().out
    assert len(first_words(text)) == runs.DEFAULT_ROWS
    assert text.endswith("30 runs, the 25 newest shown; --all shows all\n")
    runs.main(["--all"])
    assert len(first_words(capsys.readouterr().out)) == 30


def test_csv_has_every_run_and_a_column_for_every_metric(
    make_run: MakeRun, capsys: Capture
) -> None:
    for number in range(30):
        make_run(f"2026-01-31_12-00-{number:02}_digits_cnn_{number:02}")
    make_run("2026-01-31_13-00-00_other_99", final={"test/rmse": 3.5}, choices={"loss": "a,b"})
    runs.main(["--csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 31
    by_name = {row["run"]: row for row in rows}
    assert by_name["other_99"]["test/rmse"] == "3.5"
    assert by_name["other_99"]["loss"] == "a,b"
    assert by_name["other_99"]["test/accuracy"] == ""
    first = by_name["digits_cnn_00"]
    assert (first["val/loss"], first["test/accuracy"]) == ("0.25", "0.875")
    assert (first["model"], first["best_epoch"], first["seed"]) == ("cnn", "17", "0")
    assert Path(first["path"]).is_dir()


def test_a_sweep_alone_can_be_shown(make_run: MakeRun, capsys: Capture) -> None:
    make_run("2026-01-31_12-00-00_digits_cnn_12ab")
    for number in (2, 10):
        make_run(str(number), "outputs/sweeps/2026-01-31_12-00-00_rates_34cd")
    runs.main(["outputs/sweeps/2026-01-31_12-00-00_rates_34cd"])
    text = capsys.readouterr().out
    assert "rates_34cd/2 " in text
    assert "rates_34cd/10 " in text
    assert "digits_cnn_12ab" not in text


def test_without_runs_the_command_to_start_one_is_shown(project: Path, capsys: Capture) -> None:
    assert runs.main([]) == 0
    assert capsys.readouterr().out == "No runs in outputs/ yet. Start one:\n\n  dlrun train\n"


def test_a_filter_without_runs_is_no_error(project: Path, capsys: Capture) -> None:
    assert runs.main(["--filter", "model=cnn"]) == 0
    assert "No runs" in capsys.readouterr().out


def test_help_fits_80_columns(dlrun: Dlrun) -> None:
    result = dlrun("runs", "--help", variables={"COLUMNS": "80"})
    assert result.returncode == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
