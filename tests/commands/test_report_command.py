from __future__ import annotations

import subprocess
import sys
import webbrowser
from collections.abc import Callable

import pytest

from dlrun.commands import report
from dlrun.errors import ConfigError
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.study import create_study

Describe = Callable[..., SweepDirectory]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def two_trials(describe_sweep: Describe) -> SweepDirectory:
    sweep = describe_sweep("2026-01-31_12-00-00_rates_ab12")
    study = create_study(sweep, "minimize")
    for value in (0.5, 0.25):
        trial = study.ask()
        trial.suggest_float("optimizer.lr", 0.0, 1.0)
        study.tell(trial, value)
    return sweep


def test_the_command_writes_page_and_pictures_and_says_where(
    two_trials: SweepDirectory, capsys: Capture
) -> None:
    assert report.main(["rates"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"report    {two_trials.path}/report.html",
        f"pictures  {two_trials.path}/report/ (2 PNG)",
    ]
    assert "Trial 1 is the best" in two_trials.report_file.read_text()
    assert {file.name for file in two_trials.report_folder.iterdir()} == {
        "history.png",
        "slice-optimizer.lr.png",
    }


@pytest.mark.parametrize("can_open", [True, False])
def test_the_page_is_opened_where_that_was_asked(
    can_open: bool,
    two_trials: SweepDirectory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    opened: list[str] = []

    def open_page(address: str) -> bool:
        opened.append(address)
        return can_open

    monkeypatch.setattr(webbrowser, "open", open_page)
    assert report.main(["last", "--open"]) == 0
    assert opened == [two_trials.report_file.resolve().as_uri()]
    assert ("No browser was found" in capsys.readouterr().out) is not can_open


def test_help_comes_without_torch_optuna_and_plotly() -> None:
    heavy = "'torch', 'optuna', 'plotly', 'matplotlib', 'numpy', 'hydra'"
    code = f"import sys, dlrun.commands.report; sys.exit(any(m in sys.modules for m in ({heavy})))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_report_needs_no_torch(two_trials: SweepDirectory) -> None:
    code = (
        "import sys; from dlrun.commands.report import main; main(['last']);"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_a_folder_in_which_no_report_can_be_written_is_refused_before_the_work(
    two_trials: SweepDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(report, "TemporaryDirectory", refuse)
    with pytest.raises(ConfigError, match=r"rates_ab12 cannot be written to \(Permission denied\)"):
        report.main(["rates"])
    assert not two_trials.report_file.exists()
