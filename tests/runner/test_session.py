"""A session cannot be left half open: what it has opened is closed, whatever goes wrong on the way."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from dlrun.config.compose import compose
from dlrun.runner import resume, session, start
from dlrun.runner.run_log import RunLog
from dlrun.runner.session import Session
from dlrun.storage.run_directory import RunDirectory, is_locked
from dlrun.tracking.progress import Progress
from dlrun.tracking.tracker import Tracker

WORDS = (
    "name=x",
    "dataset=iris",
    "model=mlp",
    "trainer.max_epochs=1",
    "tracking.tensorboard=false",
)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """The classes of what is closed, in the order of their closing."""
    closed: list[type] = []
    for cls in (Progress, Tracker, RunLog):
        monkeypatch.setattr(cls, "close", noting(cls, closed))
    return closed


def noting(cls: Any, closed: list[type]) -> Any:
    close = cls.close

    def noted(self: Any) -> None:
        closed.append(cls)
        close(self)

    return noted


def failing(*_: Any, **__: Any) -> None:
    raise RuntimeError("broken")


def composed() -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(compose(list(WORDS)), resolve=True)
    del plain["sweep"]  # no part of a run
    return dict(plain)


def begun(run: RunDirectory) -> Session:
    return start.begin(composed(), run, overrides=[], choices={})


def test_leaving_a_session_closes_all_that_it_opened_the_last_first(
    run: RunDirectory, closed: list[type]
) -> None:
    with begun(run) as opened:
        opened.start()
        assert is_locked(run.path)
    assert closed == [Progress, Tracker, RunLog]
    assert not is_locked(run.path)
    opened.close()
    assert closed == [Progress, Tracker, RunLog]


@pytest.mark.parametrize("cls", [Progress, Tracker, RunLog])
def test_where_one_thing_cannot_be_closed_the_others_are(
    cls: type, run: RunDirectory, closed: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cls, "close", failing)
    with pytest.raises(RuntimeError, match="broken"), begun(run) as opened:
        opened.start()
    assert closed == [other for other in (Progress, Tracker, RunLog) if other is not cls]
    assert not is_locked(run.path)


@pytest.mark.parametrize("again", [False, True], ids=["begun", "resumed"])
def test_where_a_session_cannot_be_made_what_was_opened_for_it_is_closed(
    again: bool, run: RunDirectory, closed: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    if again:
        begun(run).close()
        closed.clear()
    monkeypatch.setattr(session, "Views", failing)
    with pytest.raises(RuntimeError, match="broken"):
        resume.reopen(composed(), run, overrides=[]) if again else begun(run)
    assert closed == [RunLog]
    assert not is_locked(run.path)


def test_where_training_fails_all_is_closed(
    run: RunDirectory, closed: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = begun(run)
    monkeypatch.setattr(opened.engine, "fit", failing)
    with pytest.raises(RuntimeError, match="broken"):
        opened.train()
    assert set(closed) == {Progress, Tracker, RunLog}
    assert not is_locked(run.path)
