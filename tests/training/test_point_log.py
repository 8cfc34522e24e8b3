"""Points that are written when the next is due, as on a GPU, say what points say that are written at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dlrun.config.compose import compose
from dlrun.errors import RunFailed
from dlrun.runner import resume, start
from dlrun.runner.session import Session
from dlrun.storage.run_directory import RunDirectory
from dlrun.training.copied import Copied, HostClock
from dlrun.training.point_log import PointLog

# Points at 2, 4 and 6 of each epoch of six steps, of which an evaluation makes the last.
IRIS = (
    "name=test", "dataset=iris", "model=mlp", "model.hidden=[8]", "trainer.accelerator=cpu",
    "trainer.batch_size=16", "trainer.max_epochs=2", "tracking.tensorboard=false",
    "trainer.log_every_steps=2", "optimizer=sgd",
)  # fmt: skip
RUNS = {
    "classes": (),
    "numbers": ("dataset=diabetes", "trainer.log_every_steps=5"),
    "quantiles": ("dataset=diabetes", "loss=quantile", "trainer.log_every_steps=7"),
    "two classes": ("dataset=breast_cancer", "trainer.log_every_steps=7"),
}
Train = Callable[..., list[str]]


def plain(*words: str) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(compose([*IRIS, *words]), resolve=True)
    return {str(key): value for key, value in found.items() if key != "sweep"}


def delay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PointLog, "of", lambda *_: PointLog(delayed=True, clock=HostClock()))


def lines(folder: Path) -> list[str]:
    """Of metrics.jsonl, without the times."""
    points = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [json.dumps({**point, "samples_per_second": 0}) for point in points]


@pytest.mark.parametrize("words", RUNS.values(), ids=RUNS)
def test_the_file_of_a_run_is_the_same(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str) -> list[str]:
        folder = RunDirectory(tmp_path / name)
        assert start.train(plain(*words), folder, overrides=[], choices={}) == 0
        return lines(folder.path)

    at_once = trained("at once")
    delay(monkeypatch)
    assert trained("later") == at_once


def test_a_checkpoint_between_two_points_holds_what_was_due_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = RunDirectory(tmp_path / "whole")
    assert start.train(plain(), expected, overrides=[], choices={}) == 0

    def interrupt(session: Session, count: int = 1) -> None:
        if session.engine.step == 9:  # a step after a point, one before the next checkpoint
            raise RuntimeError("a power cut")

    delay(monkeypatch)
    words = ("checkpoint.every_steps=5",)
    parts = RunDirectory(tmp_path / "parts")
    with monkeypatch.context() as patch:
        patch.setattr(Session, "stepped", interrupt)
        with pytest.raises(RuntimeError, match="a power cut"):
            start.train(plain(*words), parts, overrides=[], choices={})
    assert [json.loads(line)["step"] for line in lines(parts.path)][-1] == 8
    assert resume.resume(plain(*words), parts, overrides=[]) == 0
    assert lines(parts.path) == lines(expected.path)


@pytest.mark.parametrize("words", [("trainer.max_epochs=2",), ("trainer.eval_every_epochs=2",)])
def test_a_loss_that_is_not_finite_is_found_before_anything_is_judged_or_saved(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = plain(*words, "optimizer.lr=1e30", "checkpoint.every_steps=5")

    def failed(name: str) -> tuple[str, list[str], list[str]]:
        folder = RunDirectory(tmp_path / name)
        with pytest.raises(RunFailed) as found:
            start.train(given, folder, overrides=[], choices={})
        saved = [file.name for file in sorted(folder.path.rglob("*.pt"))]
        told = str(found.value).replace(name, "it")
        return told, lines(folder.path) if (folder.path / "metrics.jsonl").exists() else [], saved

    at_once = failed("first")
    delay(monkeypatch)
    assert failed("other") == at_once


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("words", RUNS.values(), ids=RUNS)
def test_a_card_writes_later_what_it_would_write_at_once(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(name: str) -> list[dict[str, Any]]:
        folder = RunDirectory(tmp_path / name)
        given = plain(*words, "trainer.accelerator=cuda", "trainer.deterministic=true")
        assert start.train(given, folder, overrides=[], choices={}) == 0
        points = map(json.loads, (folder.path / "metrics.jsonl").read_text().splitlines())
        return [dict(point) for point in points]

    later = trained("later")
    assert all(point.pop("samples_per_second", 1) > 0 for point in later)
    monkeypatch.setattr(PointLog, "of", lambda *_: PointLog(delayed=False, clock=HostClock()))
    at_once = trained("at once")
    for point in at_once:
        point.pop("samples_per_second", None)
    assert [[*point] for point in later] == [[*point] for point in at_once]
    for one, other in zip(later, at_once, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_numbers_of_all_kinds_arrive_as_they_were() -> None:
    parts = [torch.tensor([0.1, 0.2]), torch.tensor(7), torch.ones(2, 3, dtype=torch.float64) / 3]
    found = Copied(parts).read()
    assert [part.shape for part in found] == [part.shape for part in parts]
    assert all(torch.equal(one, other.double()) for one, other in zip(found, parts, strict=True))
