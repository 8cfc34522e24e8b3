"""`dlrun train`: Hydra composes the config, and one run, or one a job of a multirun, is trained from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlrun.search_path import GROUPS, packaged_configs


def main(argv: list[str]) -> int:
    """Run Hydra on `argv`; 0, or the exit code that a job ended with."""
    import hydra

    from dlrun.composing import explain, register_resolvers

    register_resolvers()
    entry = hydra.main(
        config_path=str(packaged_configs()), config_name="train", version_base="1.3"
    )(_job)
    with _arguments(argv), _hydra_errors_raised():
        try:
            entry()
        except SystemExit as end:  # Hydra's own, after --help and the like
            return int(end.code or 0)
        except _Ended as end:
            if end.error is None:
                return end.code
            raise explain(end.error, argv) from end.error.__cause__
        except Exception as error:
            raise explain(error, argv) from error
    return 0


class _Ended(BaseException):
    """The end of a job that must end Hydra's whole run, past what Hydra says of exceptions itself."""

    def __init__(self, code: int, error: Exception | None = None) -> None:
        super().__init__(code)
        self.code, self.error = code, error


def _job(cfg: Any) -> None:
    """One run. Launchers may send this function to another process: it imports what it needs."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from dlrun.commands._reading import import_from_here
    from dlrun.runs import RunDirectory

    import_from_here()
    hydra_config = HydraConfig.get()
    run = RunDirectory(_from_here(Path(hydra_config.runtime.output_dir)))
    chosen = hydra_config.runtime.choices
    groups = {name: str(chosen[name]) for name in GROUPS if chosen.get(name) is not None}
    try:
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
        from dlrun import experiment

        code = experiment.train(
            plain, run, overrides=list(hydra_config.overrides.task), choices=groups
        )
    except Exception as error:
        raise _Ended(1, error) from error
    finally:
        _remove_if_empty(run.path)
    if code:
        raise _Ended(code)  # a signal ends a whole multirun, not only this job


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
