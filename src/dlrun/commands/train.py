"""`dlrun train`: Hydra composes the config, and one run, or one a job of a multirun, is trained from it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun.errors import ConfigError, RunFailed
from dlrun.hints import command
from dlrun.search_path import GROUPS, packaged_configs


def main(argv: list[str]) -> int:
    """Run Hydra on `argv`; 0, or the exit code that a job ended with."""
    import hydra

    from dlrun.composing import explain, register_resolvers

    _check_place(argv)
    register_resolvers()
    entry = hydra.main(
        config_path=str(packaged_configs()), config_name="train", version_base="1.3"
    )(_job)
    _RESULTS.clear()
    with _arguments(argv), _hydra_errors_raised(), _terminated_cleanly():
        try:
            entry()
        except SystemExit as end:  # Hydra's own, after --help and the like
            return int(end.code or 0)
        except _Ended as end:
            if end.error is None:
                return end.code
            raise explain(end.error, argv) from end.error.__cause__
        except Exception as error:
            explained = explain(error, argv)
            if isinstance(explained, OSError):  # Hydra could not make the directory of a run
                explained = _unwritable(explained, argv)
            raise explained from error
    return _close_multirun()


class _Ended(BaseException):
    """The end of a job that must end Hydra's whole run, past what Hydra says of exceptions itself."""

    def __init__(self, code: int, error: Exception | None = None) -> None:
        super().__init__(code)
        self.code, self.error = code, error


@dataclass(frozen=True)
class _Result:
    """How one job of a multirun ended."""

    run: Path
    failure: str | None


_RESULTS: list[_Result] = []  # of the jobs of a multirun in this process


def _job(cfg: Any) -> None:
    """One run. Launchers may send this function to another process: it imports what it needs."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from dlrun import config
    from dlrun.commands._reading import import_from_here
    from dlrun.run_directory import RunDirectory

    import_from_here()
    hydra_config = HydraConfig.get()
    many = hydra_config.mode is not None and hydra_config.mode.name == "MULTIRUN"
    overrides = list(hydra_config.overrides.task)
    run = RunDirectory(_from_here(Path(hydra_config.runtime.output_dir)))
    chosen = hydra_config.runtime.choices
    groups = {name: str(chosen[name]) for name in GROUPS if chosen.get(name) is not None}
    if many:
        print(f"\njob {hydra_config.job.num}: {' '.join(overrides)}", flush=True)
    try:
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        config.parse(plain)  # what is wrong here is said before torch is loaded
        from dlrun import experiment

        code = experiment.train(plain, run, overrides=overrides, choices=groups)
    except RunFailed as error:
        if not many:
            raise _Ended(1, error) from error
        # One diverged setting is a result like any other: the rest of the sweep goes on.
        print(f"dlrun: error: {error}", file=sys.stderr)
        _RESULTS.append(_Result(run.path, str(error)))
        return
    except Exception as error:
        raise _Ended(1, error) from error
    finally:
        _remove_if_empty(run.path)
    if code:
        raise _Ended(code)  # a signal ends a whole multirun, not only this job
    if many:
        _RESULTS.append(_Result(run.path, None))


def _close_multirun() -> int:
    """Say how the jobs of a multirun ended and where they are; 1 if any failed."""
    if not _RESULTS:
        return 0
    failed = [result.run.name for result in _RESULTS if result.failure]
    print(f"\n{len(_RESULTS) - len(failed)} runs completed", end="")
    print(f", {len(failed)} failed: job {', '.join(failed)}" if failed else "")
    print(f"compare them with `{command('runs', _RESULTS[0].run.parent)}`")
    return 1 if failed else 0


def _unwritable(error: OSError, argv: list[str]) -> ConfigError:
    key = "hydra.sweep.dir" if _is_multirun(argv) else "hydra.run.dir"
    return ConfigError(
        f"{error.filename} cannot be written to ({error.strerror}): choose another place for "
        f"what a run leaves, as in {key}=DIR"
    )


def _is_multirun(argv: list[str]) -> bool:
    return bool({"-m", "--multirun"} & set(argv))


def _check_place(argv: list[str]) -> None:
    """Refuse the key for one run's directory in a multirun, where Hydra would ignore it."""
    given = next((word for word in argv if word.startswith("hydra.run.dir=")), None)
    if given and _is_multirun(argv):
        raise ConfigError(f"{given} names one directory for many runs; use hydra.sweep.dir=DIR")


@contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """SIGTERM before training has begun ends dlrun by an exception, so that nothing is left behind."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # Python sets handlers nowhere else
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _from_here(path: Path) -> Path:
    """As short as it can be said and typed."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _remove_if_empty(folder: Path) -> None:
    """Hydra makes the directory before the config is checked: a refused run should leave none."""
    if folder.is_dir() and not any(folder.iterdir()):
        # With its parents as far as they are empty, but not those of the user's own choice.
        folder.rmdir() if folder.is_absolute() else os.removedirs(folder)


@contextmanager
def _arguments(argv: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv."""
    before = sys.argv
    sys.argv = ["dlrun train", *argv]
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _hydra_errors_raised() -> Iterator[None]:
    """Hydra prints its errors and exits with 1 unless this variable is set; dlrun has its own way to show them."""
    name, before = "HYDRA_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR")
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
