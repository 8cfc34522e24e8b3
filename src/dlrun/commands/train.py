"""`dlrun train`: Hydra composes the config, and one run, or a sweep of many, is trained from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import Any

from dlrun.commands._train_words import (
    NO_DRIVER,
    as_multirun,
    check_hydra_options,
    check_place,
    is_multirun,
    with_initial_runs,
    without_prepare,
)
from dlrun.config.search_path import RUN_GROUPS, packaged_configs, user_configs
from dlrun.errors import ConfigError
from dlrun.storage.disk import disk_full
from dlrun.storage.sweep_directory import config_words
from dlrun.system.signals import end_if_signalled, ended_by_signals, hand_on


def main(argv: list[str]) -> int:
    """Train what the command line `argv` asks for; the exit code."""
    from dlrun.config.overrides import note_repeated

    note_repeated(argv)
    return run_hydra(argv)


def run_hydra(argv: list[str]) -> int:
    """Run Hydra on `argv`; 0, or the exit code that a job ended with."""
    import hydra

    from dlrun.config.compose import register_resolvers
    from dlrun.config.hydra_errors import explain
    from dlrun.config.hydra_internals import composing_once
    from dlrun.config.option_files import check_options
    from dlrun.config.overrides import readable_words, refuse_unreadable

    refuse_unreadable([os.getcwd(), *filter(None, argv)])
    driverless = NO_DRIVER in argv
    argv = as_multirun(readable_words(argv))
    prepares = "--prepare" in argv
    argv = without_prepare(argv)
    check_hydra_options(argv)
    check_place(argv)
    argv = with_initial_runs(argv)
    folders = [Path(word.partition("=")[2]) for word in config_words(argv)]
    check_options(argv, folders)
    register_resolvers()
    entry = hydra.main(
        config_path=str(packaged_configs()), config_name="train", version_base="1.3"
    )(_prepare if prepares else _job)
    own = [folder for folder in (user_configs(), *folders) if folder is not None]
    with (
        _arguments(argv),
        _hydra_errors_raised(),
        composing_once(argv, own),
        ended_by_signals(),
        _preparing_a_sweep() if driverless else nullcontext(),
    ):
        try:
            if "--cfg" in argv:
                _show_config(entry)
            else:
                entry()
        except SystemExit as end:  # Hydra's own, after --help and the like
            return int(end.code or 0)
        except _Ended as end:
            if end.error is None:
                return end.code
            raise explain(end.error, argv) from end.error.__cause__
        except Exception as error:
            raise _explained(error, argv, folders) from error
    return 0


def _preparing_a_sweep() -> AbstractContextManager[None]:
    from dlrun.sweep.quota import acting_as

    return acting_as("prepare")


def _explained(error: Exception, argv: list[str], folders: list[Path]) -> Exception:
    """The error as one line, where it is not the user's own code that raised it."""
    from dlrun.config.hydra_errors import explain
    from dlrun.config.option_files import not_utf8

    explained = explain(error, argv)
    if isinstance(explained, UnicodeDecodeError):  # in a folder that only --config-dir names
        return not_utf8(explained, folders) or explained
    if full := disk_full(explained):
        return full
    if isinstance(explained, OSError):  # Hydra could not make the directory of a run
        return _unwritable(explained, argv)
    return explained


def _show_config(entry: Callable[[], None]) -> None:
    """Have Hydra print a config; what it says against that is one line as all else."""
    from io import StringIO

    with redirect_stderr(StringIO()) as printed:
        try:
            entry()
        except SystemExit as end:
            end_if_signalled()
            if end.code in (None, 0):
                raise
            raise ConfigError(
                f"--package: {printed.getvalue().strip()}; name one of its keys, as in model"
            ) from end


class _Ended(BaseException):
    """The end of a job that must end Hydra's whole run, past what Hydra says of exceptions itself."""

    def __init__(self, code: int, error: Exception | None = None) -> None:
        super().__init__(code)
        self.code, self.error = code, error


def _prepare(cfg: Any) -> None:
    """Make the directory of a run, and say how to train it."""
    _job(cfg, prepares=True)


def _job(cfg: Any, *, prepares: bool = False) -> None:
    """One run. Launchers may send this function to another process: it imports what it needs."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from dlrun.config.hydra_settings import refuse_unused
    from dlrun.config.settings import parse
    from dlrun.storage.run_directory import RunDirectory, from_here

    hydra_config = HydraConfig.get()
    if _is_trial(hydra_config):
        _trial(Path(hydra_config.runtime.output_dir))
        return
    os.chdir(hydra_config.runtime.cwd)  # which hydra.job.chdir has left: it is refused below
    made = from_here(Path(hydra_config.runtime.output_dir))  # by Hydra, which knows no home folder
    run = RunDirectory(made.expanduser())
    chosen = hydra_config.runtime.choices
    groups = {name: str(chosen[name]) for name in RUN_GROUPS if chosen.get(name) is not None}
    # As typed: an interpolation in a word is none of Hydra's own config.
    overrides: Any = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    try:
        refuse_unused(hydra_config, sweeps=False)
        if made != run.path:
            _remove_if_empty(made)
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        _refuse_lone_sweep(plain.pop("sweep"), chosen)
        parse(plain)  # refuses what it can before torch is loaded
        from dlrun.runner import launch
        from dlrun.storage.index import next_order

        end_if_signalled()
        order = next_order()
        act = launch.prepare if prepares else launch.train
        code = act(plain, run, overrides=overrides, choices=groups, order=order)
    except Exception as error:
        raise _Ended(1, error) from error
    finally:
        _remove_if_empty(made)
        _remove_if_empty(run.path)
    if code:
        raise _Ended(code)


def _is_trial(hydra_config: Any) -> bool:
    """Whether a sweep's launcher has sent the job, rather than the command line."""
    return hydra_config.mode is not None and hydra_config.mode.name == "MULTIRUN"


def _trial(folder: Path) -> None:
    """One trial of a sweep, whose folder is named by its number."""
    from dlrun.storage.shared_locks import at_work
    from dlrun.sweep.sweep import open_sweep
    from dlrun.sweep.trial import Interrupted, run_trial
    from dlrun.system.orphans import begin_as_helper
    from dlrun.training.device import DeviceLost

    begin_as_helper()
    sweep = open_sweep(folder.parent)
    shares_machine = sweep.slots is not None  # with the driver, which has seen that locks hold
    try:
        with nullcontext() if shares_machine else at_work(sweep.directory):
            run_trial(sweep, int(folder.name))
    except Interrupted as end:  # it is saved, and the sweep will find it unfinished
        hand_on(end.code)
    except DeviceLost as lost:
        if shares_machine:  # this process would be given other trials, which fail as well
            print(f"dlrun: error: {lost}: another process goes on", file=sys.stderr, flush=True)
            os._exit(1)


def _refuse_lone_sweep(sweep: Any, chosen: Any) -> None:
    """An experiment that describes a sweep must not be taken for a single run."""
    if (isinstance(sweep, dict) and sweep.get("space")) or chosen.get("sweep") != "grid":
        raise ConfigError(
            f"experiment={chosen.get('experiment')} describes a sweep: choose how to search, as in "
            "sweep=random, sweep=coarse_to_fine or sweep=grid"
        )


def _unwritable(error: OSError, argv: list[str]) -> ConfigError:
    key = "hydra.sweep.dir" if is_multirun(argv) else "hydra.run.dir"
    return ConfigError(
        f"{error.filename or key} cannot be written to ({error.strerror}): choose another place for "
        f"what a run leaves, as in {key}=DIR"
    )


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
