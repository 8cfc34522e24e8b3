from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dlrun.errors import ConfigError
from dlrun.storage.index import find_run, fits, scan
from dlrun.storage.run_directory import (
    RunDirectory,
    is_locked,
    is_run,
    lock,
    read_metrics,
    truncate_metrics,
)
from dlrun.storage.run_summary import RunSummary, read_run, short_name


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_run(place: str, **summary: Any) -> RunDirectory:
    run = RunDirectory(Path(place))
    run.path.mkdir(parents=True)
    run.config_file.write_text("seed: 0\n")
    run.write_summary({"status": "completed", "created": "2026-01-01T00:00:00", **summary})
    return run


@contextmanager
def another_process_training(run: RunDirectory) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run's lock until it is killed."""
    code = (
        "import sys, time; from pathlib import Path; from dlrun.storage.run_directory import RunDirectory, lock\n"
        "with lock(RunDirectory(Path(sys.argv[1]))):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_summary_comes_back_as_it_was_written() -> None:
    run = make_run("outputs/runs/a")
    summary = {"status": "stopped", "best": {"metrics": {"val/loss": 0.5}}, "error": None}
    run.write_summary(summary)
    assert run.read_summary() == summary


def test_a_summary_is_strict_json_whatever_the_metrics() -> None:
    run = make_run("a")
    run.write_summary({"final": {"train/loss": float("nan")}, "list": [float("inf"), 1.5]})
    text = run.summary_file.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text) == {"final": {"train/loss": None}, "list": [None, 1.5]}


def test_a_summary_under_replacement_is_always_whole_to_its_readers() -> None:
    run = make_run("a")
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            run.write_summary({"status": "running", "filler": "x" * 100_000})

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        assert all(run.read_summary() is not None for _ in range(200))
    finally:
        stop.set()
        writer.join()
    assert sorted(os.listdir(run.path)) == ["config.yaml", "summary.json"]


@pytest.mark.parametrize("text", ["", '{"status": "comp', "[1, 2]", "\x00\x00", "\udcff"])
def test_a_damaged_summary_reads_as_unreadable(text: str) -> None:
    run = make_run("a")
    run.summary_file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert run.read_summary() is None
    assert [found.status for found in scan(Path("a"))] == ["unreadable"]


def test_missing_and_misfit_fields_read_as_empty() -> None:
    make_run("a", choices=["digits"], best=None, final={"test/accuracy": "high", "lr": 0.1},
             created="yesterday", seconds="long", monitor=3, seed=True)  # fmt: skip
    (run,) = scan(Path("a"))
    assert (run.choices, run.best_metrics, run.final_metrics) == ({}, {}, {"lr": 0.1})
    assert (run.name, run.monitor) == ("", "")
    assert (run.number("seconds"), run.number("seed")) == (None, None)
    assert run.created == Path("a").stat().st_mtime


def test_a_metric_is_that_of_the_best_epoch_where_it_was_measured_there() -> None:
    make_run("a", best={"metrics": {"val/loss": 0.1}}, final={"val/loss": 0.2, "test/loss": 0.3})
    (run,) = scan(Path("a"))
    assert run.metrics == {"val/loss": 0.1, "test/loss": 0.3}


def test_scan_finds_a_thousand_runs_and_nothing_else() -> None:
    start = datetime(2026, 1, 1)
    for second in range(900):
        created = (start + timedelta(seconds=second)).isoformat()
        make_run(f"outputs/runs/{second:03}", created=created)
    trials = [Path(f"outputs/sweeps/sweep_a/{number}") for number in range(100)]
    for trial in trials:
        make_run(str(trial), created="2025-01-01T00:00:00")
    Path("outputs/runs/900/checkpoints").mkdir(parents=True)  # not a run: no config
    Path("outputs/runs/notes.txt").write_text("not a directory")
    Path("outputs/runs/.hidden").mkdir()
    runs = scan()
    assert len(runs) == 1000
    assert [int(run.path.name) for run in runs[:900]] == list(range(899, -1, -1))
    assert {run.path for run in runs[900:]} == set(trials)


def test_scan_finds_the_seeds_of_trials_and_only_runs_in_a_sweep() -> None:
    runs = [f"outputs/sweeps/s/{trial}/seed{seed}" for trial in (0, 12) for seed in (0, 1)]
    for place in runs:
        make_run(place, swept={"optimizer.lr": "0.1"})
    Path("outputs/sweeps/s/report").mkdir()
    Path("outputs/sweeps/s/12/.trial.lock").write_text("")
    found = scan()
    assert {run.path for run in found} == set(map(Path, runs))
    assert {run.short_name for run in found} == {
        "s/0/seed0",
        "s/0/seed1",
        "s/12/seed0",
        "s/12/seed1",
    }
    assert [run.path for run in scan(Path("outputs/sweeps/s/12"))] == [Path(p) for p in runs[:1:-1]]


def test_what_a_sweep_varies_is_text_by_key() -> None:
    make_run("a", swept={"optimizer.lr": "1e-3", "model.hidden": "[64]"})
    make_run("b", swept=["optimizer.lr"])
    (run,), (other,) = scan(Path("a")), scan(Path("b"))
    assert (run.swept, other.swept) == ({"optimizer.lr": "1e-3", "model.hidden": "[64]"}, {})


def test_a_pruned_trial_stays_pruned() -> None:
    assert read_run(make_run("a", status="pruned").path).status == "pruned"


def test_scan_takes_a_sweep_a_folder_of_runs_or_one_run() -> None:
    make_run("outputs/runs/a")
    make_run("outputs/sweeps/s/0")
    assert [run.path for run in scan(Path("outputs/sweeps/s"))] == [Path("outputs/sweeps/s/0")]
    assert [run.path for run in scan(Path("outputs/runs"))] == [Path("outputs/runs/a")]
    assert [run.path for run in scan(Path("outputs/runs/a"))] == [Path("outputs/runs/a")]
    assert scan(Path("nowhere")) == []


def test_a_run_whose_process_was_killed_shows_as_killed() -> None:
    run = make_run("outputs/runs/a", status="running")
    assert read_run(run.path).status == "killed"
    with another_process_training(run) as process:
        assert read_run(run.path).status == "running"
        process.kill()
        process.wait()
        assert read_run(run.path).status == "killed"


def test_a_run_that_has_just_begun_shows_as_running() -> None:
    run = make_run("a")
    run.summary_file.unlink()
    assert read_run(run.path).status == "unreadable"
    with another_process_training(run):
        assert read_run(run.path).status == "running"


def test_two_processes_cannot_train_one_run() -> None:
    run = make_run("outputs/runs/a")
    with another_process_training(run):
        assert is_locked(run.path)
        with pytest.raises(ConfigError, match=r"runs/a is being trained by another process"):
            lock(run).__enter__()


def test_a_lock_is_given_back_also_after_an_error() -> None:
    run = make_run("a")
    with pytest.raises(KeyError), lock(run):
        assert is_locked(run.path)
        raise KeyError
    assert not is_locked(run.path)
    with lock(run):
        pass


@pytest.fixture
def three_runs() -> None:
    make_run("outputs/runs/2026-01-01_10-00-00_digits_cnn_aa11", created="2026-01-01T10:00:00")
    make_run("outputs/runs/2026-01-01_11-00-00_digits_mlp_bb22", created="2026-01-01T11:00:00")
    make_run("outputs/sweeps/2026-01-01_09-00-00_rates_cc33/1", created="2026-01-01T09:30:00")
    make_run("outputs/sweeps/2026-01-01_09-00-00_rates_cc33/10", created="2026-01-01T09:40:00")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("last", "outputs/runs/2026-01-01_11-00-00_digits_mlp_bb22"),
        ("cnn", "outputs/runs/2026-01-01_10-00-00_digits_cnn_aa11"),
        ("bb22", "outputs/runs/2026-01-01_11-00-00_digits_mlp_bb22"),
        ("2026-01-01_10", "outputs/runs/2026-01-01_10-00-00_digits_cnn_aa11"),
        ("rates_cc33/1", "outputs/sweeps/2026-01-01_09-00-00_rates_cc33/1"),
        ("cc33/10", "outputs/sweeps/2026-01-01_09-00-00_rates_cc33/10"),
        ("rates/1", "outputs/sweeps/2026-01-01_09-00-00_rates_cc33/1"),
        (
            "outputs/runs/2026-01-01_10-00-00_digits_cnn_aa11/",
            "outputs/runs/2026-01-01_10-00-00_digits_cnn_aa11",
        ),
    ],
)
def test_a_run_is_found_by(text: str, found: str, three_runs: None) -> None:
    assert find_run(text).path == Path(found)


def test_a_whole_name_is_meant_before_an_id_that_ends_so() -> None:
    named = "outputs/runs/2026-01-01_10-00-00_cc_aa11bb"
    make_run(named)
    make_run("outputs/runs/2026-01-01_11-00-00_digits_aabbcc")
    assert find_run("cc").path == Path(named)
    assert find_run("bbcc").path.name.endswith("aabbcc")


def test_a_run_elsewhere_is_found_by_its_directory(tmp_path: Path) -> None:
    make_run(str(tmp_path / "elsewhere"))
    assert find_run(str(tmp_path / "elsewhere")).path == tmp_path / "elsewhere"


def test_a_folder_named_like_a_part_of_a_run_is_not_in_the_way(three_runs: None) -> None:
    Path("cnn").mkdir()
    assert find_run("cnn").path.name == "2026-01-01_10-00-00_digits_cnn_aa11"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("digits", r"digits fits 2 runs: .*mlp_bb22, .*cnn_aa11; give more of the name, or `last`"),
        ("dgits", r"any of the 4 runs in outputs/; did you mean .*digits.*\? `dlrun runs` lists"),
        ("xyz", r"xyz is not a directory or part of the name of any of the 4 runs in outputs/"),
        ("outputs/runs", r"outputs/runs is not a run: it has no config.yaml"),
        (".", r"\. is not a run"),
    ],
)
def test_no_run_is_guessed_at(text: str, said: str, three_runs: None) -> None:
    with pytest.raises(ConfigError, match=said):
        find_run(text)


def test_a_seed_is_found_by_its_trial_and_sweep() -> None:
    for place in ("1/seed0", "1/seed1", "10/seed0"):
        make_run(f"outputs/sweeps/2026-01-01_09-00-00_rates_cc33/{place}")
    assert find_run("rates/1/seed1").path.parts[-2:] == ("1", "seed1")
    assert find_run("cc33/10").path.parts[-2:] == ("10", "seed0")  # its only one
    with pytest.raises(ConfigError, match=r"rates/1 fits 2 runs: .*1/seed1, .*1/seed0; give more"):
        find_run("rates/1")
    with pytest.raises(ConfigError, match=r"rates is a sweep of 3 runs: .* as in .*cc33/1/seed0"):
        find_run("rates")
    with pytest.raises(ConfigError, match=r"1 is not a run: .*`dlrun runs outputs/sweeps/\S*/1`"):
        find_run("outputs/sweeps/2026-01-01_09-00-00_rates_cc33/1")


def test_a_run_comes_before_the_trials_of_a_sweep_that_is_called_alike() -> None:
    make_run("outputs/runs/2026-01-01_10-00-00_digits_aa11")
    make_run("outputs/sweeps/2026-01-01_11-00-00_digits_bb22/0")
    make_run("outputs/sweeps/2026-01-01_11-00-00_digits_bb22/1")
    assert find_run("digits").path.name == "2026-01-01_10-00-00_digits_aa11"


@pytest.mark.parametrize(
    ("text", "name", "does"),
    [
        ("cnn", "digits_cnn_12ab", True),
        ("sweep/1", "my_sweep_12ab/1", True),
        ("sweep/1", "my_sweep_12ab/1/seed0", True),
        ("sweep/1", "my_sweep_12ab/10", False),
        ("sweep/1/seed1", "my_sweep_12ab/1/seed0", False),
        ("sweep/", "my_sweep_12ab/1", True),
        ("other/1", "my_sweep_12ab/1", False),
    ],
)
def test_a_text_fits_a_name(text: str, name: str, does: bool) -> None:
    assert fits(text, name) is does


def test_only_five_of_many_matches_are_listed() -> None:
    for number in range(8):
        make_run(f"outputs/runs/2026-01-01_00-00-0{number}_digits_cnn_{number}")
    with pytest.raises(ConfigError, match=r"fits 8 runs: [^,]*(, [^,]*){4} and 3 more; ") as error:
        find_run("cnn")
    assert "cnn_7, " in str(error.value)  # the newest are the likeliest


@pytest.mark.parametrize("text", ["last", "cnn"])
def test_without_any_run_the_way_to_the_first_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"no runs in outputs/ yet: start one with `dlrun train`"):
        find_run(text)


def test_the_newest_run_counts_by_its_start_not_by_its_name() -> None:
    make_run("outputs/runs/zzz", created="2026-01-01T00:00:00+00:00")
    make_run("outputs/runs/aaa", created="2026-01-01T01:00:00+02:00")
    make_run("outputs/runs/mmm", created="2026-01-01T03:00:00+02:00")
    assert find_run("last").path.name == "mmm"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("outputs/runs/2026-01-31_12-00-00_digits_cnn_1a2b", "digits_cnn_1a2b"),
        ("outputs/runs/20260131_120000_digits_cnn_1a2b", "digits_cnn_1a2b"),
        ("outputs/sweeps/2026-01-31_12-00-00_rates_1a2b/7", "rates_1a2b/7"),
        ("outputs/sweeps/2026-01-31_12-00-00_rates_1a2b/7/seed0", "rates_1a2b/7/seed0"),
        ("somewhere/seed0", "seed0"),
        ("somewhere/mine", "mine"),
    ],
)
def test_short_names_leave_out_date_and_time(place: str, name: str) -> None:
    assert short_name(Path(place)) == name


def test_a_config_or_a_summary_makes_a_run() -> None:
    make_run("a").summary_file.unlink()
    make_run("b").config_file.unlink()
    Path("c").mkdir()
    assert [is_run(Path(name)) for name in "abc"] == [True, True, False]


def test_metrics_come_back_in_order_without_a_torn_last_line() -> None:
    run = make_run("a")
    assert read_metrics(run) == []
    run.metrics_file.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert [point["step"] for point in read_metrics(run)] == [1, 2]
    run.metrics_file.write_text('{"step": 1}\n{"step": 2}')  # whole, but for its line end
    assert [point["step"] for point in read_metrics(run)] == [1, 2]


def test_a_torn_line_among_the_metrics_is_named() -> None:
    run = make_run("a")
    run.metrics_file.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(ConfigError, match=r"metrics.jsonl, line 2, is not a JSON object"):
        read_metrics(run)


def test_metrics_are_cut_back_to_a_checkpoint() -> None:
    run = make_run("a")
    lines = ['{"step": 1}\n', '{"step": 2}\n', '{"step": 3}\n']
    run.metrics_file.write_text("".join(lines))
    truncate_metrics(run, len(lines[0] + lines[1]))
    assert run.metrics_file.read_text() == lines[0] + lines[1]


def test_metrics_shorter_than_the_checkpoint_remembers_lose_only_a_torn_line() -> None:
    run = make_run("a")
    run.metrics_file.write_text('{"step": 1}\n{"ste')
    truncate_metrics(run, 1000)
    assert run.metrics_file.read_text() == '{"step": 1}\n'
    run.metrics_file.unlink()
    truncate_metrics(run, 1000)
    assert not run.metrics_file.exists()


@pytest.mark.parametrize(
    ("metric", "way"),
    [
        ("val/loss", "min"),
        ("test/rmse", "min"),
        ("mae", "min"),
        ("val/bits", "min"),
        ("val/perplexity", "min"),
        ("val/accuracy", "max"),
        ("test/r2", "max"),
        ("test/roc_auc", "max"),
        ("test/precision", "max"),
        ("loss/accuracy", "min"),
        ("val/tasty", None),
    ],
)
def test_a_metric_has_the_direction_that_its_task_declares(metric: str, way: str | None) -> None:
    assert RunSummary(Path("run"), "completed", {}).direction(metric) == way


def test_a_run_records_the_directions_of_metrics_that_no_task_here_knows() -> None:
    data = {"directions": {"tasty": "max", "error": "min"}, "monitor": "val/odd", "mode": "min"}
    run = RunSummary(Path("run"), "completed", data)
    assert run.direction("test/tasty") == "max"
    assert run.direction("val/error") == "min"
    assert run.direction("val/odd") == "min"
    assert run.direction("test/odd") is None
