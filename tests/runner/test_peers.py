"""What the ranks of a run settle before and after the training, and what their launcher makes of how they ended."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlrun.data.share import Share
from dlrun.errors import ConfigError, RunFailed
from dlrun.runner import peers
from dlrun.runner.peers import Place, RankFailed, Report, refuse_different, together
from dlrun.runner.processes import _outcome
from dlrun.storage.disk import DiskFull
from dlrun.storage.run_directory import RunDirectory
from dlrun.training.ranks import ALONE, Ranks


class Two(Ranks):
    """One of two ranks, of which the other has said `others`."""

    def __init__(self, index: int, others: Any) -> None:
        super().__init__(Share(index, 2))
        self.others = others

    def of_all(self, value: Any) -> list[Any]:
        return [value, self.others] if self.first else [self.others, value]


def raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_what_one_rank_cannot_do_is_refused_by_all_in_the_same_words() -> None:
    refused = ("ConfigError", "no such file", "")
    with pytest.raises(ConfigError, match=r"^rank 1 of 2: no such file$"):
        together(Two(0, refused), lambda: 1)
    with pytest.raises(ConfigError, match=r"^rank 1 of 2: no such file$"):
        together(Two(1, None), raising(ConfigError("no such file")))


def test_what_no_rank_can_do_is_said_as_one_process_would_say_it() -> None:
    refused = ("ConfigError", "no such file", "")
    for index in (0, 1):
        with pytest.raises(ConfigError, match=r"^no such file$"):
            together(Two(index, refused), raising(ConfigError("no such file")))


def test_a_failure_of_another_rank_is_shown_with_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = peers._told(ValueError("wrong"))
    with pytest.raises(RankFailed, match=r"^rank 1 of 2: ValueError: wrong$"):
        together(Two(0, told), lambda: 1)
    assert capsys.readouterr().err.endswith("ValueError: wrong\n")


def test_rank_0_and_a_run_of_one_process_raise_their_own_error() -> None:
    error = ValueError("wrong")
    for ranks in (Two(0, None), ALONE):
        with pytest.raises(ValueError, match="wrong") as raised:
            together(ranks, raising(error))
        assert raised.value is error
    assert together(Two(1, None), lambda: 7) == together(ALONE, lambda: 7) == 7


def test_a_rank_that_waits_for_all_hears_of_one_that_has_failed() -> None:
    ranks = Two(0, ("ConfigError", "no such file", ""))
    with pytest.raises(ConfigError, match=r"^rank 1 of 2: no such file$"):
        together(ranks, ranks.ready)


def test_ranks_that_see_different_data_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"host": "a", "steps an epoch": 7, "device": "Good GPU"}
    monkeypatch.setattr(peers, "_facts", lambda experiment: here)
    experiment: Any = SimpleNamespace()
    refuse_different(Two(0, {**here, "host": "b"}), experiment)
    with pytest.raises(ConfigError, match=r"steps an epoch: rank 1 \(b\) has 9, but rank 0 \(a\)"):
        refuse_different(Two(0, {**here, "host": "b", "steps an epoch": 9}), experiment)
    with pytest.raises(ConfigError, match=r"device: rank 1 \(a\) has Good GPU, but rank 0 \(a\)"):
        refuse_different(Two(1, {**here, "device": "Old GPU"}), experiment)


VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("0", "2", "0", "2", "", ""), "MASTER_ADDR, MASTER_PORT not set: a worker"),
        (("x", "2", "0", "2", "localhost", "1"), "must be whole numbers"),
        (("2", "2", "0", "2", "localhost", "1"), "RANK is 2 of WORLD_SIZE=2"),
        (("0", "2", "2", "2", "localhost", "1"), "LOCAL_RANK is 2 of LOCAL_WORLD_SIZE=2"),
    ],
)
def test_an_environment_without_a_place_is_refused(
    values: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=words):
        Place.from_environment()


def test_the_place_is_as_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ("3", "4", "1", "2", "localhost", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    assert Place.from_environment() == Place(3, 4, 1, 2)


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_a_patience_that_is_no_time_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLRUN_RANKS_TIMEOUT", text)
    with pytest.raises(ConfigError, match=f"DLRUN_RANKS_TIMEOUT is {text}, but must be a number"):
        peers._patience()


def outcome(
    reports: dict[int, Report],
    codes: dict[int, int] | None = None,
    signals: tuple[signal.Signals, ...] = (),
) -> int:
    failures = {rank: SimpleNamespace(exitcode=code) for rank, code in (codes or {}).items()}
    processes: Any = SimpleNamespace(
        signals=list(signals),
        in_hurry=len(signals) > 1,
        error=None,
        result=SimpleNamespace(failures=failures),
    )
    return _outcome(RunDirectory(Path("r")), 2, processes, reports)


LOST = Report("another rank ended without a word", 1, lost=True)
STOPPED = Report("", 143)


@pytest.mark.parametrize(
    ("reports", "codes", "words"),
    [
        ({0: LOST}, {1: -9}, r"^rank 1 of 2 was ended by SIGKILL .* with it; continue"),
        ({0: STOPPED}, {1: -9, 0: 143}, "^rank 1 of 2 was ended by SIGKILL"),
        ({1: LOST}, {0: -11}, r"^rank 0 of 2 was ended by SIGSEGV, and the others with it; con"),
        ({}, {0: -15, 1: -9}, "^rank 1 of 2 was ended by SIGKILL"),
        ({}, {0: -15}, "^rank 0 of 2 was ended by SIGTERM"),
        ({}, {1: 3}, "^rank 1 of 2 ended with exit code 3"),
        ({0: LOST, 1: Report("ValueError: no", 1)}, {1: 1}, r"^rank 1 of 2 failed \(ValueError:"),
        ({0: Report("ValueError, see", 1), 1: Report("ValueError: no", 1)}, {1: 1}, "^ValueError,"),
        ({0: LOST, 1: LOST}, {0: 1}, "^another rank ended without a word; continue with"),
    ],
)
def test_a_run_that_failed_is_said_in_one_line(
    reports: dict[int, Report], codes: dict[int, int], words: str
) -> None:
    with pytest.raises(RunFailed, match=words):
        outcome(reports, codes)


def test_a_rank_that_crashed_is_said_with_its_log_where_it_printed_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = peers.rank_log(RunDirectory(Path("r")), 1)
    log.parent.mkdir(parents=True)
    log.touch()
    with pytest.raises(RunFailed, match=r"SIGSEGV, and the others with it; continue"):
        outcome({0: LOST}, {1: -11})
    log.write_text("Fatal Python error: Segmentation fault")
    with pytest.raises(RunFailed, match=r"the others with it; see r/ranks/1.log; continue"):
        outcome({0: LOST}, {1: -11})


def test_a_run_that_was_stopped_or_refused_ends_as_one_of_one_process() -> None:
    assert outcome({}) == 0
    assert outcome({0: STOPPED, 1: STOPPED}, {0: 143}) == 143
    assert outcome({}, {0: -15, 1: -15}, (signal.SIGTERM,)) == 143  # before it could say so
    assert outcome({}, {0: -9, 1: -9}, (signal.SIGINT, signal.SIGINT)) == 130
    refused = {0: Report("no such file", 2), 1: STOPPED}
    with pytest.raises(ConfigError, match=r"^no such file$"):  # rank 0 was ended by the agent
        outcome({1: Report("no such file", 2)}, {0: -15, 1: 2})
    with pytest.raises(ConfigError, match=r"^no such file$"):
        outcome(refused, {0: 2})
    with pytest.raises(DiskFull, match=r"^full$"):
        outcome({0: Report("full", 1, disk_full=True), 1: Report("full", 1)}, {0: 1})
    with pytest.raises(KeyboardInterrupt):
        outcome({0: Report("interrupted", 130)}, {0: 130}, (signal.SIGINT,))
