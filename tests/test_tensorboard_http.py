"""What a person sees who opens `dlrun tensorboard`: read back through TensorBoard's own pages."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
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
from dlrun.engine import Engine
from dlrun.run_directory import RunDirectory, read_metrics

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
    """`dlrun tensorboard` on the folder, as a process of its own."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dlrun.cli", "tensorboard", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    page = Page(f"http://localhost:{port}", folder)
    try:
        wait_for_runs(page, process)
        yield page
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()


def wait_for_runs(page: Page, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    wanted = {f"{name}/tensorboard" for name in RUNS}
    while time.monotonic() < deadline:
        assert process.poll() is None, "TensorBoard ended"
        try:
            if set(page.json("/data/runs")) >= wanted and hparams_are_read(page):
                return
        except (URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.2)
    raise AssertionError("TensorBoard did not come up")


def hparams_are_read(page: Page) -> bool:
    # They are the last thing a run writes: with them, everything before has been read too.
    return len(session_groups(page, ["test/accuracy"])) == len(RUNS)


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
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert metrics >= {"val/loss", "val/accuracy", "test/loss", "test/accuracy"}

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
    assert set(tags) == {"data/samples", "confusion_matrix", "worst_mistakes"}
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
def test_the_config_can_be_read_as_text(name: str, page: Page) -> None:
    run = f"{name}/tensorboard"
    (tag,) = page.json("/data/plugin/text/tags")[run]
    entries = page.json("/data/plugin/text/text", run=run, tag=tag)
    assert "dlrun.models.logistic.LogisticRegression" in entries[-1]["text"]
