"""Runs whose files are damaged, or hold what no run writes: said in one line, and the rest goes on."""

import json
import re
from pathlib import Path

import pytest
import torch

from dlrun.cli import main
from dlrun.errors import ConfigError
from dlrun.runner.resume import kept_of
from dlrun.storage.checkpoint import load, save
from dlrun.storage.run_directory import RunDirectory, is_locked, read_metrics, truncate_metrics

_HUGE = json.dumps({"status": "completed", "final": {"val/loss": 10**400}})


@pytest.fixture
def run(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    return RunDirectory(tmp_path)


def test_metrics_as_long_as_the_checkpoint_knows_lack_nothing(run):
    assert truncate_metrics(run, 24) is None
    assert read_metrics(run) == [{"step": 1}, {"step": 2}]


def test_metrics_that_are_shorter_are_told(run):
    said = truncate_metrics(run, 48)
    assert said is not None
    assert "lacks points: it has 36 bytes of the 48 that its checkpoint knows" in said
    run.metrics_file.unlink()
    assert "0 bytes of the 48" in str(truncate_metrics(run, 48))


def test_damaged_lines_are_told_and_taken_out(run):
    run.metrics_file.write_bytes(b'{"step": 1}\n\xff"step": 2}\n{"step": 3}\n')
    assert "line 2 could not be read" in str(truncate_metrics(run, 36))
    assert read_metrics(run) == [{"step": 1}, {"step": 3}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("step", "ten"),
            ("best", None),
            ("random", 3),
            ("preprocessing", "x"),
            ("averaged", [1]),
        ),
        *(("origin", torch.ones(1)), ("seconds", float("nan")), ("seconds", 1e30)),
    ],
)
def test_a_checkpoint_with_a_wrong_value_is_damaged(field, value, tmp_path):
    save(tmp_path, {"step": 1, "model": {"w": torch.ones(1)}, field: value})
    with pytest.raises(
        ConfigError, match=rf"last.pt is damaged.*its {field} is {re.escape(str(value))}"
    ):
        load(tmp_path / "last.pt")


def test_the_best_model_in_the_place_of_the_last_checkpoint_is_refused_in_one_line(run):
    with pytest.raises(
        ConfigError, match=r"lacks what a run needs to continue \('steps_per_epoch'"
    ):
        kept_of({"step": 1, "model": {}, "metrics": {}}, run)


def test_summaries_nested_without_end_or_with_numbers_beyond_any_do_not_hide_the_other_runs(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    bad = ("[" * 100_000, '{"status": "completed", "step": 1e999}', _HUGE)
    for name, text in (
        *zip("abc", bad, strict=True),
        ("good", json.dumps({"status": "completed"})),
    ):
        folder = Path("outputs/runs") / name
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(text)
    assert main(["runs"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("unreadable") == 3
    assert "good" in shown


def test_a_lock_in_a_folder_that_cannot_be_written_is_nobodys(tmp_path, monkeypatch):
    (tmp_path / ".lock").touch()

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert not is_locked(tmp_path)
