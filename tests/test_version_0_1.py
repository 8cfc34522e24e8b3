"""A stored run and a stored sweep of version 0.1, made before its modules moved, are read and resumed today."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dlrun.cli import main

STORED = Path(__file__).parent / "data" / "version_0_1"
# What version 0.1 itself ended with, on the CPU.
RUN = {"val/loss": 0.9401378631591797, "test/loss": 0.9630529880523682, "test/accuracy": 0.6}
TRIALS = {"2": 0.6671013832092285, "3": 0.2815757989883423}

Dlrun = Callable[..., str]


@pytest.fixture
def dlrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Dlrun:
    monkeypatch.chdir(tmp_path)
    for name in ("run", "sweep"):
        shutil.copytree(STORED / name, tmp_path / "outputs" / name)

    def run(*words: str) -> str:
        code = main(list(words))
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out

    return run


def final(path: str) -> dict[str, float]:
    summary = json.loads(Path("outputs", path, "summary.json").read_text())
    assert summary["status"] == "completed"
    return dict(summary["final"])


def test_a_run_is_shown_measured_used_and_resumed_with_the_numbers_of_then(dlrun: Dlrun) -> None:
    assert "stopped" in dlrun("show", "outputs/run")
    assert "1 run and 1 sweep" in dlrun("runs", "outputs")
    assert "accuracy" in dlrun("eval", "outputs/run")
    assert "setosa" in dlrun("predict", "outputs/run", str(STORED / "flowers.csv"))
    dlrun("resume", "outputs/run")
    assert {name: final("run")[name] for name in RUN} == pytest.approx(RUN, rel=1e-6)


def test_a_sweep_is_shown_reported_and_resumed_with_the_numbers_of_then(dlrun: Dlrun) -> None:
    assert "4" in dlrun("show", "outputs/sweep")
    dlrun("resume", "outputs/sweep")
    found = {trial: final(f"sweep/{trial}")["val/loss"] for trial in TRIALS}
    assert found == pytest.approx(TRIALS, rel=1e-6)
    assert "report.html" in dlrun("report", "outputs/sweep")


def test_a_sweep_stored_before_settings_were_added_is_resumed_with_what_they_do_by_themselves(
    dlrun: Dlrun,
) -> None:
    file = Path("outputs/sweep/sweep.yaml")
    stored = yaml.safe_load(file.read_text())
    config, settings = stored["config"], stored["settings"]
    # Of a component, of the trainer, of a section, one that refers to another, and of the strategy itself.
    for node, name in [
        (config["optimizer"], "clip_value"),
        (config["trainer"], "ema_decay"),
        (config["loss"], "label_smoothing"),
        (config["dataset"], "split_seed"),
        (settings, "top_k"),
        (settings, "columns"),
    ]:
        del node[name]
    file.write_text(yaml.safe_dump(stored, sort_keys=False))
    dlrun("resume", "outputs/sweep")
    found = {trial: final(f"sweep/{trial}")["val/loss"] for trial in TRIALS}
    assert found == pytest.approx(TRIALS, rel=1e-6)


def test_a_sweep_that_lacks_a_setting_with_another_value_now_is_refused(
    dlrun: Dlrun, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("outputs/sweep/sweep.yaml")
    stored = yaml.safe_load(file.read_text())
    del stored["settings"]["shrink"]
    stored["command"].append("sweep.shrink=0.25")
    file.write_text(yaml.safe_dump(stored, sort_keys=False))
    assert main(["resume", "outputs/sweep"]) == 2
    assert "another search: settings shrink 0.5 there, 0.25 here" in capsys.readouterr().err


def test_a_loss_that_was_named_is_the_option_of_that_name_with_what_came_later(
    dlrun: Dlrun,
) -> None:
    from dlrun.config.migrate import completed, sweep_description
    from dlrun.config.moved import with_current_targets

    shared = {"label_smoothing": 0.0, "reduction": "sum", "quantiles": None}
    whole, added = completed(with_current_targets({"loss": {"name": "huber", **shared}}))
    huber = {"_target_": "dlrun.training.losses.quantities.Huber", "reduction": "sum"}
    assert whole["loss"] == {**huber, "delta": 1.0} and added["loss.delta"] == 1.0
    words = ["--multirun", "loss.name=mse,mae", "loss.reduction=sum"]
    stored = {"command": words, "overrides": words[2:], "space": {"loss.name": "mse,mae"}}
    assert sweep_description(stored) == {
        "command": ["--multirun", "loss=mse,mae", "loss.reduction=sum"],
        "overrides": ["loss.reduction=sum"],
        "space": {"loss": "mse,mae"},
    }
