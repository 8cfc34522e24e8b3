"""What a person sees who opens `dlrun tensorboard`: read back through TensorBoard's own pages."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import torch
import yaml

from dlrun.cli import main
from dlrun.storage.run_directory import RunDirectory, read_metrics
from dlrun.training.loop import Engine

pytestmark = pytest.mark.cluster  # TensorBoard takes seconds to be up

SECONDS = 90
WORDS = (
    "dataset=digits", "model=logistic", "trainer.max_epochs=3", "trainer.accelerator=cpu",
    "trainer.num_threads=1", "trainer.log_every_steps=10",
)  # fmt: skip
# One run that nothing happened to, and one that crashed in its third epoch and was resumed.
RUNS = ("whole", "resumed")
TAGS = (
    "train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy", "lr",
    "gradient_norm",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """A TensorBoard that is up on a folder of two runs."""

    address: str
    folder: Path

    def get(self, path: str, body: dict[str, Any] | None = None, **query: str) -> bytes:
        url = f"{self.address}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def json(self, path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
        return json.loads(self.get(path, body, **query))

    def run(self, name: str) -> RunDirectory:
        return RunDirectory(self.folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two runs."""
    folder = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    assert main(["train", *WORDS, f"hydra.run.dir={folder / 'whole'}"]) == 0
    resumed = folder / "resumed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "train_step", crashing_at(step=100))
        assert main(["train", *WORDS, f"hydra.run.dir={resumed}"]) == 1
    # The crash came long after the checkpoint: what lies between is logged a second time.
    checkpoint = torch.load(resumed / "checkpoints" / "last.pt", weights_only=True)
    assert checkpoint["step"] < 80 < read_metrics(RunDirectory(resumed))[-1]["step"]
    assert main(["resume", str(resumed)]) == 0
    torch.set_num_threads(threads)
    return folder


def crashing_at(step: int) -> Any:
    train_step, taken = Engine.train_step, [0]

    def take(self: Engine, *batch: torch.Tensor) -> None:
        taken[0] += 1
        if taken[0] == step:
            raise ZeroDivisionError("a crash")
        train_step(self, *batch)

    return take


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    """`dlrun tensorboard` on the folder."""
    with served(folder, runs={f"{name}/tensorboard" for name in RUNS}, rows=len(RUNS)) as page:
        yield page


@contextmanager
def served(folder: Path, *, runs: set[str], rows: int) -> Iterator[Page]:
    """`dlrun tensorboard` as a process of its own, once it has read so much."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dlrun.cli", "tensorboard", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    page = Page(f"http://localhost:{port}", folder)
    try:
        wait_for_runs(page, process, runs, rows)
        yield page
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()


def wait_for_runs(page: Page, process: subprocess.Popen[bytes], runs: set[str], rows: int) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "TensorBoard ended"
        try:
            read = set(page.json("/data/runs")) >= runs and all_read(page, runs)
            if read and len(session_groups(page, [])) == rows:
                return
        except (URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.2)
    raise AssertionError("TensorBoard did not come up")


def all_read(page: Page, runs: set[str]) -> bool:
    """Whether the test metrics, which a run logs last, are there of all runs that have come so far."""
    tags = page.json("/data/plugin/scalars/tags")
    summaries = {
        run: page.run(run.removesuffix("/tensorboard").partition(" ")[0]).read_summary()
        for run in runs
    }
    done = [run for run, summary in summaries.items() if (summary or {})["status"] == "completed"]
    return all("test/loss" in tags.get(run, {}) for run in done)


def session_groups(page: Page, tags: list[str]) -> list[dict[str, Any]]:
    body = {
        "experimentName": "",
        "startIndex": 0,
        "sliceSize": 100,
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [{"metric": {"tag": tag, "group": ""}} for tag in tags],
    }
    answer = page.json("/data/plugin/hparams/session_groups", body)
    groups: list[dict[str, Any]] = answer.get("sessionGroups", [])
    return groups


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("tag", TAGS)
def test_the_scalars_are_those_of_the_metrics_each_step_once(
    tag: str, name: str, page: Page
) -> None:
    run = f"{name}/tensorboard"
    shown = page.json("/data/plugin/scalars/scalars", run=run, tag=tag)
    logged = [(p["step"], p[tag]) for p in read_metrics(page.run(name)) if tag in p]
    assert len(logged) == {"test": 1, "val": 3}.get(tag.partition("/")[0], len(logged)) > 0
    assert [step for _, step, _ in shown] == [step for step, _ in logged]
    assert [value for _, _, value in shown] == pytest.approx([v for _, v in logged], rel=1e-6)


def test_the_resumed_run_looks_like_the_one_that_nothing_happened_to(page: Page) -> None:
    for tag in ("train/loss", "val/accuracy", "test/loss"):
        whole, resumed = (
            page.json("/data/plugin/scalars/scalars", run=f"{name}/tensorboard", tag=tag)
            for name in RUNS
        )
        assert [point[1:] for point in resumed] == [point[1:] for point in whole]


def test_every_run_is_one_session_of_the_hparams_page(page: Page) -> None:
    groups = session_groups(page, ["val/accuracy"])
    sessions = [session["name"] for group in groups for session in group["sessions"]]
    assert sorted(sessions) == ["resumed/tensorboard", "whole/tensorboard"]


def test_the_hparams_page_shows_the_choices_and_the_settings(page: Page) -> None:
    experiment = page.json("/data/plugin/hparams/experiment", {"experimentName": ""})
    columns = {info["name"] for info in experiment["hparamInfos"]}
    assert columns >= {"dataset", "model", "optimizer", "schedule", "optimizer.lr", "seed"}
    metrics = [info["name"]["tag"] for info in experiment["metricInfos"]]
    assert metrics[:3] == ["val/accuracy", "val/loss", "test/accuracy"]  # those to choose by
    assert {"test/loss", "train/loss"} <= set(metrics)
    assert not {"lr", "gradient_norm", "samples_per_second"} & set(metrics)

    group = next(g for g in session_groups(page, ["val/loss"]) if g["name"].startswith("whole"))
    config = yaml.safe_load(page.run("whole").config_file.read_text())
    shown = group["hparams"]
    assert (shown["dataset"], shown["model"], shown["optimizer"]) == ("digits", "logistic", "adam")
    assert shown["optimizer.lr"] == config["optimizer"]["lr"]
    assert shown["trainer.batch_size"] == config["trainer"]["batch_size"]
    assert shown["trainer.max_epochs"] == 3


@pytest.mark.parametrize("name", RUNS)
def test_the_hparams_page_shows_the_metrics_of_the_summary(name: str, page: Page) -> None:
    final = (page.run(name).read_summary() or {})["final"]
    group = next(g for g in session_groups(page, list(final)) if g["name"].startswith(name))
    shown = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
    assert shown == pytest.approx(final, rel=1e-6)


@pytest.mark.parametrize("name", RUNS)
def test_the_images_can_be_opened(name: str, page: Page) -> None:
    run = f"{name}/tensorboard"
    tags = page.json("/data/plugin/images/tags")[run]
    curves = {f"curves/{name}" for name in ("roc", "precision_recall", "calibration", "scores")}
    assert set(tags) == {"data/samples", "confusion_matrix", "worst_mistakes"} | curves
    for tag in tags:
        (entry,) = page.json("/data/plugin/images/images", run=run, tag=tag, sample="0")
        picture = page.get(f"/data/plugin/images/individualImage?{entry['query']}")
        assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", RUNS)
def test_the_graph_names_the_layers(name: str, page: Page) -> None:
    run = f"{name}/tensorboard"
    assert page.json("/data/plugin/graphs/info")[run]["run_graph"]
    text = page.get("/data/plugin/graphs/graph", run=run).decode()
    assert "Linear" in text


@pytest.mark.parametrize("name", RUNS)
def test_the_histograms_of_weights_and_gradients_are_shown(name: str, page: Page) -> None:
    run = f"{name}/tensorboard"
    weights = torch.load(page.run(name).checkpoints / "last.pt", weights_only=True)["model"]
    tags = set(page.json("/data/plugin/histograms/tags")[run])
    assert tags == {f"{kind}/{key}" for kind in ("weights", "gradients") for key in weights}
    for key, weight in weights.items():
        shown = page.json("/data/plugin/histograms/histograms", run=run, tag=f"weights/{key}")
        _, step, buckets = shown[-1]
        assert step == 123
        assert sum(count for _, _, count in buckets) == weight.numel()


@pytest.mark.parametrize("name", RUNS)
def test_the_config_and_the_layers_can_be_read_as_text(name: str, page: Page) -> None:
    run = f"{name}/tensorboard"
    shown = {
        "config": "dlrun.models.logistic.LogisticRegression", "model": "Linear", "per_class": "recall",
    }  # fmt: skip
    tags = {tag.partition("/")[0]: tag for tag in page.json("/data/plugin/text/tags")[run]}
    assert sorted(tags) == sorted(shown)
    for name, words in shown.items():
        entries = page.json("/data/plugin/text/text", run=run, tag=tags[name])
        assert words in entries[-1]["text"]


LEARNING = ("0.1", "0.11", "0.12", "0.13", "0.14")
STANDSTILL, DIVERGING = "1e-9", "1e38"
MODELS = ("logistic", "mlp")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sweeps: of two models, where trials were pruned and failed; of seeds; of misfits."""
    folder = tmp_path_factory.mktemp("sweeps")
    words = ("dataset=moons", *WORDS[2:], "optimizer=sgd", "-m")
    rates = f"optimizer.lr={','.join((*LEARNING, STANDSTILL, DIVERGING))}"
    models = f"model={','.join(MODELS)}"
    place = f"hydra.sweep.dir={folder / 'models'}"
    assert main(["train", *words, models, rates, "sweep.pruner=median", place]) == 1
    place = f"hydra.sweep.dir={folder / 'seeds'}"
    rates = "model=logistic", "optimizer.lr=0.1,0.2"
    assert main(["train", *words, *rates, "sweep.seeds=2", place]) == 0
    # Four blocks fit an image of 8x8, and so does pooling by 2, but not both.
    misfit = ("model.filters=[4],[4,4,4,4]", "model.pool_size=1,2", "trainer.max_epochs=1")
    place = f"hydra.sweep.dir={folder / 'misfits'}"
    assert main(["train", "-m", *WORDS, "model=cnn", *misfit, place]) == 1
    return folder


@pytest.fixture(scope="module")
def sweep_page(sweeps: Path) -> Iterator[Page]:
    """`dlrun tensorboard` on the sweep of models."""
    count = len(MODELS) * (len(LEARNING) + 2)
    rates = (*LEARNING, STANDSTILL, DIVERGING)
    settings = [f"model={model} lr={rate}" for model in MODELS for rate in rates]
    runs = {f"{number} {setting}" for number, setting in enumerate(settings)}
    with served(sweeps / "models", runs=runs, rows=count) as page:
        yield page


def columns(page: Page) -> tuple[list[str], list[str]]:
    """Settings and metrics, in the order of the page."""
    experiment = page.json("/data/plugin/hparams/experiment", {"experimentName": ""})
    settings = [info["name"] for info in experiment["hparamInfos"]]
    return settings, [info["name"]["tag"] for info in experiment["metricInfos"]]


def test_every_trial_is_one_row_with_its_settings_and_its_metrics(sweep_page: Page) -> None:
    rows = {group["name"]: group for group in session_groups(sweep_page, ["val/loss"])}
    assert set(sweep_page.json("/data/runs")) == set(rows)
    statuses = set()
    for name, row in rows.items():
        summary = sweep_page.run(name.partition(" ")[0]).read_summary() or {}
        statuses.add(summary["status"])
        assert row["hparams"]["model"] == summary["swept"]["model"]
        assert row["hparams"]["optimizer.lr"] == float(summary["swept"]["optimizer.lr"])
        shown = {value["name"]["tag"]: value["value"] for value in row["metricValues"]}
        if summary["status"] != "failed":
            assert shown == pytest.approx(summary["final"], rel=1e-6)
        expected = {"failed": "STATUS_FAILURE"}.get(summary["status"], "STATUS_SUCCESS")
        assert [session["status"] for session in row["sessions"]] == [expected]
    assert statuses == {"completed", "pruned", "failed"}


def test_what_is_swept_comes_first_and_no_trials_columns_are_lost(sweep_page: Page) -> None:
    settings, metrics = columns(sweep_page)
    assert settings[:2] == ["model", "optimizer.lr"]
    assert {"model.hidden", "model.activation"} <= set(settings)  # of the mlp alone
    assert metrics[0] == "val/loss"  # the objective
    assert metrics[1:3] == ["val/accuracy", "test/accuracy"]
    assert not {"lr", "gradient_norm", "samples_per_second"} & set(metrics)


def test_the_table_can_be_saved_as_csv(sweep_page: Page) -> None:
    settings, metrics = columns(sweep_page)
    shown = [True, True, *(False for _ in settings[2:]), True, *(False for _ in metrics[1:])]
    every = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    params = [{"hparam": name} for name in settings]
    params += [{"metric": {"tag": tag, "group": ""}} for tag in metrics]
    request = {"experimentName": "", "startIndex": 0, "sliceSize": 100, "colParams": params}
    table = sweep_page.get(
        "/data/plugin/hparams/download_data",
        format="csv",
        columnsVisibility=json.dumps(shown),
        request=json.dumps(request | {"allowedStatuses": every}),
    )
    head, *rows = table.decode().splitlines()
    assert head == "model,optimizer.lr,val/loss"
    assert len(rows) == len(MODELS) * (len(LEARNING) + 2)


@pytest.fixture(scope="module")
def sweeps_page(sweeps: Path) -> Iterator[Page]:
    """`dlrun tensorboard` on the folder of all sweeps."""
    seeds = {f"seeds/{trial}/seed{index}/tensorboard" for trial in (0, 1) for index in (0, 1)}
    misfits = {f"misfits/{trial}/tensorboard" for trial in range(4)}
    trials = len(MODELS) * (len(LEARNING) + 2) + 2 + 4
    with served(sweeps, runs=seeds | misfits, rows=trials) as page:
        yield page


def test_sweeps_side_by_side_keep_their_columns(sweeps_page: Page) -> None:
    settings, _ = columns(sweeps_page)
    assert {"optimizer.lr", "model.hidden", "model.filters", "model.pool_size"} <= set(settings)


def test_a_trial_that_failed_before_its_first_step_has_a_row(sweeps_page: Page) -> None:
    rows = {group["name"]: group for group in session_groups(sweeps_page, ["val/loss"])}
    misfit = rows["misfits/3/tensorboard"]
    assert misfit["hparams"]["model.filters"] == "[4, 4, 4, 4]"
    assert misfit["hparams"]["model.pool_size"] == 2
    assert [session["status"] for session in misfit["sessions"]] == ["STATUS_FAILURE"]


def test_the_seeds_of_a_trial_are_one_row_with_their_mean(sweeps: Path, sweeps_page: Page) -> None:
    rows = {group["name"]: group for group in session_groups(sweeps_page, ["val/loss"])}
    for trial in (0, 1):
        row = rows[f"{trial} of seeds"]
        runs = [RunDirectory(sweeps / "seeds" / str(trial) / f"seed{index}") for index in (0, 1)]
        losses = [(run.read_summary() or {})["final"]["val/loss"] for run in runs]
        shown = {value["name"]["tag"]: value["value"] for value in row["metricValues"]}
        assert shown["val/loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)
        assert row["hparams"]["optimizer.lr"] == (0.1, 0.2)[trial]
        assert "seed" not in row["hparams"]
