"""The log of each of several runs that take turns in one process."""

import contextlib
import logging
import warnings
from pathlib import Path

import pytest

from dlrun.errors import note
from dlrun.runner.run_log import RunLog
from dlrun.storage.run_directory import RunDirectory

log = logging.getLogger("dlrun.something")


@pytest.fixture
def runs(tmp_path):
    """Three runs, their directories made."""
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.mkdir()
    return [RunDirectory(path) for path in paths]


def said(run):
    """The messages in a run's log, each without its time."""
    lines = run.log.read_text().splitlines() if run.log.exists() else []
    return [line.split(" ", 2)[2] for line in lines]


def test_each_record_goes_to_the_log_that_is_active_alone(runs, capfd):
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(contextlib.closing(RunLog(run))) for run in runs]
        for turn in range(3):
            for name, active in zip("abc", logs, strict=True):
                with active:
                    log.info("%s %d", name, turn)
    for name, run in zip("abc", runs, strict=True):
        assert said(run) == [f"INFO {name} {turn}" for turn in range(3)]
    assert capfd.readouterr() == ("", "")


def test_inside_another_log_the_inner_one_has_the_word_until_it_is_left(runs):
    outer, inner = RunLog(runs[0]), RunLog(runs[1])
    with outer:
        log.info("before")
        with inner:
            log.info("within")
        with outer, inner:
            log.info("again")
        log.info("after")
    outer.close()
    inner.close()
    assert said(runs[0]) == ["INFO before", "INFO after"]
    assert said(runs[1]) == ["INFO within", "INFO again"]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("quiet", [False, True])
def test_warnings_go_to_the_active_log_and_to_the_screen_unless_quiet(quiet, runs, capfd):
    active = RunLog(runs[0], quiet=quiet)
    with active:
        warnings.warn("look out", stacklevel=1)
    active.close()
    assert said(runs[0]) == ["WARNING look out"]
    assert capfd.readouterr() == ("", "" if quiet else "dlrun: warning: look out\n")


def test_all_is_as_before_once_a_log_is_left_or_failed_in(runs):
    logger = logging.getLogger("dlrun")

    def settings():
        return logger.level, logger.propagate, list(logger.handlers), warnings.showwarning

    before = settings()
    for _ in range(2):
        with pytest.raises(RuntimeError), contextlib.closing(RunLog(runs[0])) as one, one:
            assert settings() != before
            raise RuntimeError
        assert settings() == before


def test_lines_that_may_wait_are_written_at_the_end(runs):
    active = RunLog(runs[0], flush_seconds=1000)
    with active:
        log.info("one")
    assert said(runs[0]) == []
    active.close()
    assert said(runs[0]) == ["INFO one"]


def test_what_was_noted_is_said_once_and_stands_in_the_log_of_each_run(runs, capfd):
    note("before")
    note(f"{Path.cwd()}/before")  # a path, absolute now
    logs = [RunLog(run) for run in runs[:2]]
    with logs[0]:
        note("within")
        note("before")
    with logs[0], logs[1]:
        pass
    for run, one in zip(runs, logs, strict=False):
        one.close()
        assert said(run) == ["INFO before", "INFO within"]
    assert capfd.readouterr().err == "dlrun: before\ndlrun: within\n"
