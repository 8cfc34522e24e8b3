"""The benchmark of large data: what it generates, whom it compares, and how it measures a process."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import data

    return data


def test_the_table_is_the_same_in_both_formats(data: ModuleType, tmp_path: Path) -> None:
    write = data.write_table(200)
    write(tmp_path / "table.csv")
    write(tmp_path / "table.parquet")
    read = pl.read_csv(tmp_path / "table.csv")
    assert read.shape == (200, 22)
    assert read.equals(pl.read_parquet(tmp_path / "table.parquet"))


def test_only_tables_have_peers_and_ludwig_takes_part_where_it_is_named(data: ModuleType) -> None:
    cases = {case.name: case for case in data.CASES}
    file = Path("file")
    assert [*data.commands(cases["texts"], file, None)] == ["dlrun"]
    assert [*data.commands(cases["csv"], file, None)] == ["dlrun", "polars", "sklearn"]
    assert data.commands(cases["csv"], file, "other/python")["ludwig"][0] == "other/python"


def test_dlrun_ends_after_its_first_step(data: ModuleType, tmp_path: Path) -> None:
    data.write_table(200)(tmp_path / "table.csv")
    case = next(case for case in data.CASES if case.name == "small")
    command = data.commands(case, tmp_path / "table.csv", None)["dlrun"]
    taken = data.take([*command, f"hydra.run.dir={tmp_path / 'run'}"], tmp_path)
    assert taken.processor > 0
    assert taken.peak > 2**26
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_program_that_fails_ends_the_benchmark_with_its_output(
    data: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="mistake"):
        data.take([sys.executable, "-c", "raise SystemExit('mistake')"], tmp_path)


def test_larger_tables_are_measured_from_the_cache_and_in_memory(
    data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import _larger as larger

    commands = []

    def take(command: list[str], folder: Path, **_: object) -> object:
        commands.append([word for word in command if "limit" in word or "batch" in word])
        return data.Taken(1.0, 1.0, 1e6, 50.0 if "memory_limit=0.1" in str(command) else 100.0)

    monkeypatch.setattr(larger, "_AT_ONCE", 60)
    larger.compare(tmp_path, 1, data.table, take, rows=100, some=50)
    assert len(commands) == 2 + 2 * len(larger.SIZES)
    assert "from the cache at 50% of the rate in memory" in capsys.readouterr().out
    larger.write_rows(tmp_path / "rows.csv", 100, data.table)
    assert pl.read_csv(tmp_path / "rows.csv").shape == (100, 22)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text(
        '{"samples_per_second": 10.0}\n{"samples_per_second": 30.0}\n{"val/loss": 1.0}\n'
    )
    assert larger.rate(tmp_path) == 15.0
