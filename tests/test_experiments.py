"""The recipes of configs/experiment: studies that are one command, and what their recorded results claim.

That each recipe trains at all is among the contracts; here are the comparisons that some of them make.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from sklearn.linear_model import LogisticRegression

from dlrun.cli import main
from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.config.search_path import GROUPS, packaged_configs
from dlrun.storage.run_directory import RunDirectory
from dlrun.sweep.leaderboard import setting_name
from dlrun.training.build import assemble
from test_contract import fake_data, options, readable  # noqa: F401

FOLDER = packaged_configs() / "experiment"
REAL_DATA = os.environ.get("DLRUN_DATA", "")


def recipe(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def chooses_sweep(name: str) -> bool:
    return {"override /sweep": "grid"} in recipe(name).get("defaults", [])


def keys_of(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from keys_of(value, f"{prefix}{key}.")


STUDIES = [name for name in options("experiment") if chooses_sweep(name)]


OF_EVERY_RUN = {
    key
    for file in ("train", "_shared")
    for key in keys_of(yaml.safe_load((packaged_configs() / f"{file}.yaml").read_text()))
}


@pytest.fixture(autouse=True)
def _place(
    fake_data: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(fake_data))
    monkeypatch.chdir(tmp_path)


def test_there_are_studies_and_every_one_of_them_names_its_own_command() -> None:
    assert len(STUDIES) >= 10
    for name in STUDIES:
        head = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        assert f"# Command: dlrun train experiment={name}\n" in head


@pytest.mark.parametrize("name", STUDIES)
def test_whatever_a_study_varies_is_a_setting_or_an_option(name: str) -> None:
    for key, values in recipe(name)["sweep"].get("space", {}).items():
        cases = values.values() if isinstance(values, dict) else [dict.fromkeys([key], values)]
        for setting, value in ((s, v) for case in cases for s, v in case.items()):
            group, _, _ = setting.partition(".")
            files = [*(FOLDER.parent / group).glob("*.yaml")] if group != setting else []
            shared = yaml.safe_load((FOLDER.parent / "_shared.yaml").read_text())
            if setting in GROUPS:
                chosen = value if isinstance(value, list) else [value]
                assert set(chosen) <= set(options(group)), setting
            else:
                known = [set(keys_of(yaml.safe_load(file.read_text()))) for file in files]
                known.append(set(keys_of(shared.get(group, {}))))
                own = any(setting.partition(".")[2] in keys for keys in known)
                assert own or setting in OF_EVERY_RUN, setting


def train_first(name: str) -> None:
    """What the head of a recipe has trained before it, whose weights its runs begin with."""
    head = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    for words in re.findall(r"^# First: dlrun (.+)$", head, re.MULTILINE):
        assert main([*words.split(), "tracking.tensorboard=false", "trainer.accelerator=cpu"]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("name", STUDIES)
def test_every_case_of_a_study_can_be_built_from_its_one_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train_first(name)
    capsys.readouterr()
    assert main(["train", f"experiment={name}", "--dry-run"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert re.match(r"\d+ trials? ", said) or re.match(r"\d+ trials;", said)
    assert said.endswith("dry run: nothing was trained\n")


def test_a_study_is_a_sweep_without_m_and_another_strategy_may_be_chosen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", "experiment=points_momentum", "sweep.seeds=1", "--dry-run"]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("5 trials; minimize val/loss\n")
    assert main([*words, "sweep=random", "sweep.trials=3"]) == 0
    assert capsys.readouterr().out.startswith("3 trials; minimize val/loss\n")


def test_an_experiment_that_leaves_the_strategy_open_asks_for_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "experiment=digits_tuning"]) == 2
    assert "experiment=digits_tuning describes a sweep: choose how" in capsys.readouterr().err


def test_a_run_that_diverges_is_called_so_in_the_table_and_ends_no_study(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("schedule=constant", "optimizer.lr=0.001,100", "trainer.max_epochs=20")
    quiet = ("tracking.tensorboard=false", "sweep.report=false", "sweep.seeds=1")
    assert main(["train", "experiment=points_step_sizes", *words, *quiet]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if re.match(r" +\d ", line)]
    assert ["diverged" in row for row in rows] == [False, True]
    assert rows[1].split()[-1] == "100"
    (folder,) = Path("outputs/sweeps").iterdir()
    assert "_points_step_sizes_" in folder.name


def test_logistic_regression_by_gradient_descent_ends_at_the_maximum_likelihood() -> None:
    words = ("trainer.max_epochs=800", "optimizer.lr=0.01", "trainer.precision=fp64")
    composed: Any = OmegaConf.to_container(
        compose(["experiment=points_logistic", "trainer.accelerator=cpu", *words]), resolve=True
    )
    del composed["sweep"]
    engine = assemble(settings.parse(composed)).engine
    for epoch in range(800):
        for inputs, targets in engine.batches.epoch(epoch):
            engine.train_step(inputs, targets)
            engine.step += 1
    train = engine.data.train
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    reference.fit(train.inputs.numpy(), train.targets.numpy())
    (weight, bias) = engine.model.parameters()
    np.testing.assert_allclose(weight.detach(), reference.coef_, rtol=1e-5)
    np.testing.assert_allclose(bias.detach(), reference.intercept_, rtol=1e-5)


def test_the_fixed_perceptron_is_evaluated_with_the_weights_written_down() -> None:
    words = ["experiment=perceptron_131", "hydra.run.dir=run", "tracking.tensorboard=false"]
    assert main(["train", *words, "optimizer.lr=100", "trainer.accelerator=cpu"]) == 0
    state = torch.load(RunDirectory(Path("run")).checkpoints / "last.pt", weights_only=True)
    assert [tensor.tolist() for tensor in state["model"].values()] == [[[3.0, -2.0]], [1.0]]


def test_a_case_is_listed_on_one_line_with_its_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "experiment/overfitting"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["sweep.space.remedy.L1", "{optimizer.l1:", "0.001}"] in lines


# The recorded results, trained anew. Where the data must be fetched, DLRUN_DATA has to have them.

RECORDED = re.compile(r"^# Result: test accuracy ([\d.]+)", re.MULTILINE)
BEST = re.compile(r"^# Result: (\S+) ([\d.]+) ± ([\d.e-]+) for (.+), the best of", re.MULTILINE)


def recorded(pattern: re.Pattern[str], *, studies: bool) -> dict[str, Any]:
    texts = {name: (FOLDER / f"{name}.yaml").read_text() for name in options("experiment")}
    found = {name: pattern.search(text) for name, text in texts.items()}
    return {n: match.groups() for n, match in found.items() if match and (n in STUDIES) is studies}


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRUN_DATA", REAL_DATA or "/nowhere")


def needs_data(name: str) -> bool:
    composed = compose([f"experiment={name}"])
    return "root" in composed.dataset and not REAL_DATA


@pytest.mark.slow
@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("name", recorded(RECORDED, studies=False))
def test_a_recipe_reaches_its_recorded_accuracy_again(name: str) -> None:
    if needs_data(name):
        pytest.skip("its data are not here: set DLRUN_DATA")
    ((accuracy,), place) = recorded(RECORDED, studies=False)[name], "hydra.run.dir=run"
    assert main(["train", f"experiment={name}", "seed=0", place, "trainer.accelerator=cpu"]) == 0
    summary = RunDirectory(Path("run")).read_summary() or {}
    assert summary["final"]["test/accuracy"] == pytest.approx(float(accuracy), abs=0.01)


@pytest.mark.slow
@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("name", recorded(BEST, studies=True))
def test_a_study_comes_to_its_recorded_answer_again(name: str) -> None:
    if needs_data(name):
        pytest.skip("its data are not here: set DLRUN_DATA")
    metric, value, spread, case = recorded(BEST, studies=True)[name]
    place = "hydra.sweep.dir=sweep"
    train_first(name)
    assert main(["train", f"experiment={name}", place, "trainer.accelerator=cpu"]) == 0
    with Path("sweep/leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = next(row for row in rows if case in setting_name(swept_of(row, name)))
    assert float(found[metric]) == pytest.approx(float(value), abs=max(3 * float(spread), 0.02))
    assert float(rows[0][metric]) == pytest.approx(float(value), abs=max(3 * float(spread), 0.02))


def swept_of(row: dict[str, str], name: str) -> dict[str, str]:
    return {key: row[key] for key in recipe(name)["sweep"]["space"]}
