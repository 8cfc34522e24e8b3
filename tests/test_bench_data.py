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
