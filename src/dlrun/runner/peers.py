"""What the ranks of a run must settle before and after the training: who is there, whether all can begin, who failed.

How a rank ended is told twice: to its launcher in a file, and to the other ranks through the store by which they met.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from dlrun.data.fingerprint import Fingerprint
from dlrun.data.share import Share
from dlrun.errors import ConfigError, RunFailed, first_line
from dlrun.storage.run_directory import RunDirectory, write_whole
from dlrun.system.torch_internals import default_store
from dlrun.training.build import Experiment
from dlrun.training.ranks import OthersFailed, Ranks

LAUNCHED = "DLRUN_LAUNCHED"  # variable of the environment: dlrun itself has started this rank
_PATIENCE = "DLRUN_RANKS_TIMEOUT"  # likewise: seconds that ranks wait for each other
_SECONDS, _MOST_SECONDS = 1800.0, 1e8
_LINGER_SECONDS = (
    2.0  # for which a rank that failed lets rank 0 end by itself, which may have failed alike
)
_FAILURE, _ENDED = "dlrun/failure", "dlrun/ended"
_LOST = (  # as gloo says it
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out",
    "Socket Timeout",
)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Report:
    """How a rank ended.

    Attributes:
        code: the exit code.
        lost: whether it was another rank's end that ended it.
        disk_full: whether it was a full disk.
        timestamp: seconds since 1970; torch's agent reads it, and the message.
    """

    message: str
    code: int
    lost: bool = False
    disk_full: bool = False
    timestamp: int = 0

    def leave(self) -> None:
        """Write it where the launcher looks for it."""
        if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
            told = asdict(replace(self, timestamp=int(time.time())))
            with suppress(Exception):  # the exit code says the most of it
                write_whole(Path(file), json.dumps(told))


class RankLost(RunFailed):
    """Another rank ended, and with it the run.

    Args:
        failed: it told that it failed, where others are killed.
    """

    def __init__(self, message: str, *, failed: bool) -> None:
        super().__init__(message)
        self.failed = failed


class RankFailed(RunFailed):
    """Another rank failed before the first step; its traceback was shown."""


class RankEnded(RunFailed):
    """A rank ended, and the message names the directory of the run: it tells more, and the run can be resumed."""


class RankDied(RankEnded):
    """A rank ended without a word, as by SIGKILL: who has started it may start it again."""


@dataclass(frozen=True)
class Place:
    """Which rank this process is: its number among all, and among those of this machine."""

    rank: int
    size: int
    local: int
    local_size: int

    @classmethod
    def from_environment(cls) -> Place:
        """As torchrun tells it, or whoever sets the same variables.

        Raises:
            ConfigError: they are missing, or no such numbers.
        """
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if missing := [name for name in names if not os.environ.get(name)]:
            raise ConfigError(
                f"{', '.join(missing)} not set: a worker of a run is started by torchrun, as in `torchrun --standalone "
                "--nproc-per-node=2 -m dlrun.worker RUN`"
            )
        try:
            rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            local = int(os.environ.get("LOCAL_RANK", rank))
            local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
        except ValueError as error:
            raise ConfigError(
                f"RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE must be whole numbers: {error}"
            ) from error
        if not 0 <= rank < size or not 0 <= local < local_size:
            raise ConfigError(
                f"RANK is {rank} of WORLD_SIZE={size}, and LOCAL_RANK is {local} of LOCAL_WORLD_SIZE={local_size}, but "
                "each must be below its number"
            )
        return cls(rank, size, local, local_size)

    def join(self, *, cuda: bool) -> Ranks:
        """Meet the other ranks: through NCCL with CUDA, and for what is on the CPU through gloo.

        Raises:
            ConfigError: not all came in time, or the port is taken.
        """
        seconds = _patience()
        kind = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        # A server of something else that never answers is waited for without end.
        watch = threading.Timer(seconds + _LINGER_SECONDS, self._give_up, [seconds])
        watch.daemon = True
        watch.start()
        try:
            dist.init_process_group(kind, timeout=timedelta(seconds=seconds))
        except (RuntimeError, ValueError) as error:
            raise self._alone(first_line(error)[:200], seconds) from error
        finally:
            watch.cancel()
        return Ranks(Share(self.rank, self.size), self.local)

    def _alone(self, reason: str, seconds: float) -> ConfigError:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        return ConfigError(
            f"rank {self.rank} of {self.size} could not meet the others at {address} ({reason}): is the port free, and "
            f"was every rank started within {seconds:g} s?"
        )

    def _give_up(self, seconds: float) -> None:
        error = str(self._alone("no answer", seconds))
        Report(error, 2).leave()
        print(f"dlrun: error: {error}", file=sys.stderr, flush=True)
        os._exit(2)


def rank_log(run: RunDirectory, rank: int) -> Path:
    """The file with what a rank other than 0 prints."""
    return run.path / "ranks" / f"{rank}.log"


def _patience() -> float:
    """Seconds that a rank waits for another.

    Raises:
        ConfigError: the variable of the environment is no number above 0.
    """
    text = os.environ.get(_PATIENCE, str(_SECONDS))
    try:
        if 0 < (seconds := float(text)) < _MOST_SECONDS:
            return seconds
    except ValueError:
        pass
    raise ConfigError(f"{_PATIENCE} is {text}, but must be a number of seconds above 0")


def together(ranks: Ranks, work: Callable[[], _T]) -> _T:
    """What `work` gives on this rank, once it has been done on all; it waits for others by `ranks.ready` alone.

    Raises:
        ConfigError, RankFailed: it could not be done on one of them, the same on all; rank 0's own error as it is.
    """
    if ranks.size == 1:
        return work()
    error: Exception | None = None
    try:
        result = work()
    except OthersFailed as failure:
        told = failure.told
    except Exception as failure:
        error = failure
        told = ranks.of_all(_told(error))
    else:
        told = ranks.of_all(None)
    found = [(rank, one) for rank, one in enumerate(told) if one]
    if not found:
        return result
    rank, (kind, message, trace) = found[0]
    if ranks.first and rank == 0 and error is not None:
        raise error
    where = "" if rank == 0 else f"rank {rank} of {ranks.size}: "
    if kind == "ConfigError":
        raise ConfigError(f"{where}{message}") from error
    if ranks.first:
        print(trace, end="", file=sys.stderr)
    raise RankFailed(f"{where}{message}") from error


def _told(error: Exception | None) -> tuple[str, str, str] | None:
    """An error as others can be told of it: its kind, its words and its traceback."""
    if error is None:
        return None
    if isinstance(error, ConfigError):
        return "ConfigError", str(error), ""
    words = str(error) if isinstance(error, RunFailed) else f"{type(error).__name__}: {error}"
    return type(error).__name__, words, "".join(traceback.format_exception(error))


def refuse_different(ranks: Ranks, experiment: Experiment) -> None:
    """Refuse to begin where the ranks do not see the same data, or have GPUs of different kinds.

    Raises:
        ConfigError: the same on all ranks.
    """
    if ranks.size == 1:
        return
    found = [dict(one) for one in ranks.of_all(_facts(experiment))]
    for rank, facts in enumerate(found):
        for what, value in facts.items():
            if what != "host" and value != found[0][what]:
                raise ConfigError(
                    f"{what}: rank {rank} ({facts['host']}) has {value}, but rank 0 ({found[0]['host']}) has "
                    f"{found[0][what]}; all ranks of a run need the same"
                )


def _facts(experiment: Experiment) -> Mapping[str, Any]:
    import torch

    data, device = experiment.data, experiment.device.torch_device
    origin = None if data.origin is None else data.origin.to_dict()
    parts = (data.train, data.val, data.test)
    return {
        "host": socket.gethostname(),
        "the version of torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "samples of the parts": ", ".join(f"{len(part):,}" for part in parts),
        "steps an epoch": experiment.engine.steps_per_epoch,
        "parameters of the model": sum(p.numel() for p in experiment.engine.model.parameters()),
        "the files of the data, by a checksum": _digest(origin),
        "the kind of the data, by a checksum": _digest(experiment.about["spec"]),
        "the config, by a checksum": _digest(experiment.unchangeable),
    }


def _digest(value: Any) -> str:
    return str(Fingerprint().words([repr(value)]))


def tell_failure(ranks: Ranks, words: str) -> None:
    """Let the other ranks know why this one ends."""
    if ranks.size > 1 and not ranks.first:
        with suppress(RuntimeError):
            default_store().set(
                _FAILURE, f"rank {ranks.share.index} of {ranks.size} failed: {words}"
            )


def end_with_first(ranks: Ranks, *, alike: bool) -> None:
    """Wait with the end of this process until rank 0 ends: when one has ended, its launcher ends the others.

    Where the ranks do not end `alike`, rank 0 may need to be ended by this one's end: it gets a moment.
    """
    if ranks.size == 1:
        return
    with suppress(RuntimeError):  # it is gone
        if ranks.first:
            default_store().set(_ENDED, "yes")
        else:
            seconds = _patience() if alike else _LINGER_SECONDS
            default_store().wait([_ENDED], timedelta(seconds=seconds))


def leave() -> None:
    """End the connections to the other ranks, which all end now as well."""
    with suppress(RuntimeError):
        dist.destroy_process_group()


def explain_loss(error: Exception) -> RankLost | None:
    """The error as one of another rank, where that is what it comes from."""
    if not isinstance(error, RuntimeError) or not dist.is_available() or not dist.is_initialized():
        return None
    text = str(error)
    if not isinstance(error, dist.DistError) and not any(sign in text for sign in _LOST):
        return None
    with suppress(RuntimeError):
        if (store := default_store()).check([_FAILURE]):
            return RankLost(store.get(_FAILURE).decode(), failed=True)
    return RankLost("another rank ended without a word", failed=False)
