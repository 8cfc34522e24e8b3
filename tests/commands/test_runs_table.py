from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun.commands import runs
from dlrun.errors import ConfigError
from dlrun.storage.run_directory import RunDirectory, lock

Dlrun = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Path]
MakeSweep = Callable[..., Path]
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
    assert "rmse 3.5" in text
    assert "accuracy 0.875" in text


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


@pytest.mark.parametrize(
    ("metric", "fields", "order"),
    [
        ("val/bits", {}, ["b", "c", "a", "d"]),  # the fewest first, what is not a number last
        ("test/perplexity", {}, ["b", "c", "a", "d"]),
        ("test/roc_auc", {}, ["a", "c", "b", "d"]),
        ("val/own", {"directions": {"own": "min"}}, ["b", "c", "a", "d"]),
        ("val/own", {}, ["a", "c", "b", "d"]),  # nobody knows: the largest first
    ],
)
def test_runs_are_sorted_the_way_that_the_metric_improves(
    metric: str, fields: dict[str, object], order: list[str], make_run: MakeRun, capsys: Capture
) -> None:
    for name, value in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", float("nan"))):
        make_run(f"2026-01-31_12-00-00_{name}_12ab", best={"metrics": {metric: value}}, **fields)
    runs.main(["--sort", metric])
    assert [row[0][0] for row in table_rows(capsys.readouterr().out)] == order


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
        (["nowhere"], "nowhere is not a directory or part of the name of"),
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


class TestSweep:
    """The trials of one sweep."""

    @pytest.fixture
    def rates(self, make_sweep: MakeSweep) -> Path:
        return make_sweep("2026-01-31_12-00-00_rates_34cd", 3)

    @pytest.mark.parametrize(
        "word", ["outputs/sweeps/2026-01-31_12-00-00_rates_34cd", "rates", "34cd", "last"]
    )
    def test_it_is_found_and_listed_best_first(
        self, word: str, rates: Path, capsys: Capture
    ) -> None:
        assert runs.main([word]) == 0
        text = capsys.readouterr().out
        assert [row[0] for row in table_rows(text)] == ["2", "1", "0"]
        assert text.endswith("\n3 trials\n")

    def test_columns_are_what_varies_and_the_objective(self, rates: Path, capsys: Capture) -> None:
        runs.main(["rates"])
        titles, names, best, *_ = capsys.readouterr().out.splitlines()
        assert titles.split() == ["optimizer", "objective", "test"]
        expected = ["trial", "status", "lr", "epoch", "val/loss", "accuracy", "time", "age"]
        assert names.split() == expected
        assert best.split()[:5] == ["2", "completed", "0.03333", "20/20", "0.0333"]

    def test_what_varies_without_being_swept_stays(
        self, rates: Path, make_run: MakeRun, capsys: Capture
    ) -> None:
        make_run("3", str(rates), choices={"dataset": "iris", "model": "cnn"})
        runs.main(["rates"])
        names = capsys.readouterr().out.splitlines()[1].split()
        assert "dataset" in names
        assert "model" not in names

    def test_the_direction_is_the_sweeps(self, make_sweep: MakeSweep, capsys: Capture) -> None:
        make_sweep("rates_34cd", 3, objective="val/loss", direction="maximize")
        runs.main(["rates"])
        assert [row[0] for row in table_rows(capsys.readouterr().out)] == ["0", "1", "2"]

    def test_an_objective_that_is_not_monitored_is_shown_in_place_of_the_metric_that_is(
        self, make_sweep: MakeSweep, capsys: Capture
    ) -> None:
        make_sweep("rates_34cd", 2, objective="val/accuracy", direction="maximize")
        runs.main(["rates"])
        titles, names, *_ = capsys.readouterr().out.splitlines()
        assert titles.split() == ["optimizer", "objective", "test"]
        assert names.split()[4:6] == ["val/accuracy", "accuracy"]

    def test_a_metric_to_sort_by_comes_before_the_objective(
        self, rates: Path, capsys: Capture
    ) -> None:
        runs.main(["rates", "--sort", "val/accuracy", "--reverse"])
        assert [row[0] for row in table_rows(capsys.readouterr().out)] == ["0", "1", "2"]

    def test_what_did_not_complete_comes_last(
        self, rates: Path, make_run: MakeRun, capsys: Capture
    ) -> None:
        good = {"best": {"metrics": {"val/loss": 0.0}}, "swept": {"optimizer.lr": "0.5"}}
        make_run("3", str(rates), **good, status="pruned")
        make_run("4", str(rates), **good, status="failed")
        runs.main(["rates"])
        rows = table_rows(capsys.readouterr().out)
        assert [row[0] for row in rows] == ["2", "1", "0", "3", "4"]
        assert [row[1] for row in rows] == ["completed"] * 3 + ["pruned", "failed"]

    def test_seeds_stay_together_and_their_mean_counts(
        self, make_sweep: MakeSweep, make_run: MakeRun, capsys: Capture
    ) -> None:
        sweep = make_sweep("rates_34cd", 2, seeds=2)
        for seed, loss in ((0, 0.0), (1, 0.5)):
            make_run(f"seed{seed}", str(sweep / "2"), best={"metrics": {"val/loss": loss}})
        runs.main(["rates"])
        text = capsys.readouterr().out
        order = ["1/seed0", "1/seed1", "0/seed0", "0/seed1", "2/seed0", "2/seed1"]
        assert [row[0] for row in table_rows(text)] == order
        assert text.endswith("\n3 trials\n")

    @pytest.mark.parametrize(
        ("condition", "trials"),
        [
            ("optimizer.lr<0.05", ["2"]),
            ("optimizer.lr<=5e-2", ["2", "1"]),
            ("optimizer.lr=1e-1", ["0"]),
            ("optimizer.lr!=0.1", ["2", "1", "3"]),
            ("optimizer.lr=auto", ["3"]),
            ("optimizer.lr>0", ["2", "1", "0"]),  # text is not above a number
            ("model.hidden=[64]", ["3"]),
            ("model.hidden=[*", ["3"]),
        ],
    )
    def test_what_is_swept_can_be_filtered_by(
        self, condition: str, trials: list[str], rates: Path, make_run: MakeRun, capsys: Capture
    ) -> None:
        make_run("3", str(rates), swept={"optimizer.lr": "auto", "model.hidden": "[64]"})
        runs.main(["rates", "--filter", condition])
        assert [row[0] for row in table_rows(capsys.readouterr().out)] == trials

    def test_swept_text_has_no_order(self, rates: Path, make_run: MakeRun) -> None:
        make_run("3", str(rates), swept={"model.hidden": "[64]"})
        with pytest.raises(
            ConfigError, match=r"model.hidden is text \(\[64\]\); compare it with ="
        ):
            runs.main(["rates", "--filter", "model.hidden>3"])
        with pytest.raises(ConfigError, match=r"no run has optimizer.l; did you mean optimizer.lr"):
            runs.main(["rates", "--filter", "optimizer.l>3"])

    def test_csv_has_a_column_for_what_is_swept(
        self, rates: Path, make_run: MakeRun, capsys: Capture
    ) -> None:
        make_run("3", str(rates), swept={"model": "cnn", "seed": "1", "model.hidden": "[64,32]"})
        runs.main(["rates", "--csv"])
        reader = csv.DictReader(io.StringIO(capsys.readouterr().out))
        rows = {row["run"]: row for row in reader}
        assert reader.fieldnames is not None
        assert len(set(reader.fieldnames)) == len(reader.fieldnames)
        assert rows["rates_34cd/2"]["optimizer.lr"] == "0.03333"
        assert rows["rates_34cd/3"]["model.hidden"] == "[64,32]"
        assert rows["rates_34cd/0"]["model.hidden"] == ""

    @pytest.mark.parametrize("width", [40, 60, 80, 120])
    def test_many_swept_keys_fit_the_terminal_and_no_number_is_cut(
        self,
        width: int,
        rates: Path,
        make_run: MakeRun,
        monkeypatch: pytest.MonkeyPatch,
        capsys: Capture,
    ) -> None:
        long = "a,b" * 30
        swept = {f"optimizer.group.setting_{i}": "1.2345678901e-05" for i in range(9)}
        make_run("3", str(rates), swept={"text": long, **swept})
        monkeypatch.setenv("COLUMNS", str(width))
        runs.main(["rates"])
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width
        assert "objective" in lines[0]
        row = next(line for line in lines if line.startswith("3 "))
        assert not re.search(r"\d…", row)
        assert ("1.235e-05" in row) == (width >= 60)

    def test_a_damaged_description_is_named(self, rates: Path) -> None:
        (rates / "sweep.yaml").write_text("objective: val/loss\n")
        with pytest.raises(ConfigError, match=r"sweep\.yaml names no objective with its"):
            runs.main(["rates"])

    def test_a_name_that_no_sweep_has_is_refused(self, rates: Path) -> None:
        with pytest.raises(ConfigError, match=r"nowhere is not a directory or part of the name"):
            runs.main(["nowhere"])


class TestAmongOthers:
    """Sweeps in the table of all runs."""

    @pytest.fixture(autouse=True)
    def a_run_between_two_sweeps(self, make_sweep: MakeSweep, make_run: MakeRun) -> None:
        early = make_sweep("2026-01-31_12-00-00_early_34cd", 3)
        make_run("3", str(early), status="running", choices={"model": "mlp"}, best=None)
        make_run("2026-01-31_13-00-00_digits_cnn_12ab", created="2026-01-31T13:00:00+00:00")
        late = make_sweep("2026-01-31_14-00-00_late_56ef", 2, seeds=2, direction="maximize")
        for file in late.rglob("summary.json"):
            run = RunDirectory(file.parent)
            created = {"created": "2026-01-31T14:00:00+00:00", "mode": "max"}
            run.write_summary((run.read_summary() or {}) | created)

    def test_each_is_one_row_in_the_order_of_time(self, capsys: Capture) -> None:
        runs.main([])
        text = capsys.readouterr().out
        assert [row[0] for row in table_rows(text)] == [
            "late_56ef",
            "digits_cnn_12ab",
            "early_34cd",
        ]
        assert text.endswith("\n1 run and 2 sweeps; `dlrun runs SWEEP` shows the trials of one\n")

    def test_its_row_says_what_its_best_trial_reached(self, capsys: Capture) -> None:
        runs.main([])
        late, _, early = (
            re.split(r"\s{2,}", line)
            for line in capsys.readouterr().out.splitlines()
            if re.match(r"late|digits|early", line)
        )
        assert late[1:6] == [
            "2 trials",
            "digits",
            "cnn",
            "-",
            "0.1005 ± 0.00071",
        ]  # monitored as the higher
        assert early[1:6] == ["4 trials", "digits", "2 models", "-", "0.0333"]
        assert late[7] == "13m20s"  # all seeds together

    def test_a_process_at_work_is_told(self, capsys: Capture) -> None:
        folder = Path("outputs/sweeps/2026-01-31_12-00-00_early_34cd")
        with lock(RunDirectory(folder / "3")):
            runs.main([])
        assert "early_34cd       4 trials, 1 running " in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "count"),
        [
            (["--all"], 9),
            (["--sort", "val/loss"], 9),
            (["--filter", "status=completed"], 8),
            (["outputs/runs"], 1),
            (["outputs/sweeps"], 2),
            (["outputs/sweeps/2026-01-31_14-00-00_late_56ef/1"], 2),
            (["-n", "2"], 2),
        ],
    )
    def test_every_run_counts_where_runs_are_compared(
        self, words: list[str], count: int, capsys: Capture
    ) -> None:
        runs.main(words)
        assert len(table_rows(capsys.readouterr().out)) == count

    def test_csv_has_every_trial(self, capsys: Capture) -> None:
        runs.main(["--csv"])
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert len(rows) == 9
        assert {row["run"] for row in rows} >= {"late_56ef/1/seed1", "early_34cd/2"}


def table_rows(text: str) -> list[list[str]]:
    """The cells of the runs' rows, which alone have a time in a unit at their end."""
    table = text.split("\n\n")[0]
    return [line.split() for line in table.splitlines() if not re.match(r"\s|trial|run", line)]


def test_a_plain_list_loads_no_yaml_and_no_optuna(make_sweep: MakeSweep) -> None:
    make_sweep("2026-01-31_12-00-00_rates_34cd", 2)
    code = (
        "import sys; from dlrun.cli import main; main(['runs']); "
        "sys.exit(bool({'yaml', 'torch', 'optuna', 'hydra'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
