"""Cells that a spreadsheet would compute are text, and numbers stay numbers."""

import csv
import json

import pytest

from dlrun.cli import main
from dlrun.storage.spreadsheets import cells


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|x", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "=HYPERLINK(1)"]
)
def test_a_formula_is_quoted_and_left_alone_where_that_is_asked(cell):
    assert cells([cell]) == [f"'{cell}"]
    assert cells([cell], raw=True) == [cell]


@pytest.mark.parametrize("cell", ["-1", "+1.5e-3", "-inf", "a=b", "", "1-2", -1.5, None, 3])
def test_numbers_and_plain_text_stay(cell):
    assert cells([cell]) == [cell]


def test_runs_as_csv_has_no_formulas_unless_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "outputs" / "runs" / "2026-01-01_00-00-00_run"
    run.mkdir(parents=True)
    summary = {"name": "=1+1", "status": "completed", "created": "2026-01-01T00:00:00+00:00"}
    (run / "summary.json").write_text(json.dumps(summary))
    for more, name in (([], "'=1+1"), (["--raw-cells"], "=1+1")):
        assert main(["runs", "--csv", *more]) == 0
        head, row = csv.reader(capsys.readouterr().out.splitlines())
        assert row[head.index("name")] == name
