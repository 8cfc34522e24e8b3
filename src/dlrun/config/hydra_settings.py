"""Hydra's own settings that would do nothing, or harm, refused with what to write instead. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlrun.errors import ConfigError

_MOST_JOBS = 1024
_SUBDIR = "${hydra:job.num}"


def refuse_unused(hydra: Any, *, sweeps: bool) -> None:
    """Refuse what Hydra's node of a composed config asks for in vain; `sweeps`: of a multirun.

    Raises:
        ConfigError: naming the key, its value and what to write.
    """
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(hydra, resolve=False)
    for key, reason in _refused(plain, sweeps=sweeps).items():
        raise ConfigError(f"hydra.{key} is {_shown(plain, key)}, but {reason}")


def _refused(hydra: Mapping[str, Any], *, sweeps: bool) -> dict[str, str]:
    """What is refused, and why, by the key below hydra."""
    job, place = hydra["job"], "sweep.dir" if sweeps else "run.dir"
    directory = str(_at(hydra, place)).strip()
    refused = {
        "job.chdir": (
            bool(job["chdir"]),
            "a run stays in the folder that dlrun was called from, so that paths keep their meaning: leave it out",
        ),
        "job.name": (job["name"] != "train", "a run is named by name=NAME"),
        "verbose": (
            bool(hydra["verbose"]),
            "what a run says is in its train.log, and --debug shows tracebacks: leave it out",
        ),
        place: (not directory, f"must name a folder, as in hydra.{place}=outputs/mine"),
        "sweep.subdir": (
            hydra["sweep"]["subdir"] != _SUBDIR,
            "the folder of a trial is its number, and leaderboard.csv has its settings: leave it out",
        ),
    }
    if sweeps:  # whose trials need no job of Hydra's
        refused |= {
            "launcher.n_jobs": (
                not _is_count(hydra["launcher"].get("n_jobs", -1)),
                f"must be a whole number from 1 to {_MOST_JOBS:,}, or -1 for as many as there is room for",
            ),
            "output_subdir": (
                hydra["output_subdir"] is not None,
                "each trial's folder has its config.yaml and overrides.yaml: leave it out",
            ),
            "job.env_set": (
                bool(job["env_set"]),
                "trials are trained in one process: set the variables before dlrun is called",
            ),
            "callbacks": (
                bool(hydra["callbacks"]),
                "trials are trained in one process, without Hydra's jobs: leave it out",
            ),
        }
    return {key: reason for key, (asked, reason) in refused.items() if asked}


def _is_count(jobs: Any) -> bool:
    """Whether a launcher can run so many at a time; an interpolation is left to itself."""
    if isinstance(jobs, str) and "${" in jobs:
        return True
    is_whole = isinstance(jobs, int) and not isinstance(jobs, bool)
    return is_whole and (jobs == -1 or 1 <= jobs <= _MOST_JOBS)


def _shown(hydra: Mapping[str, Any], key: str) -> str:
    value = _at(hydra, key)
    return "empty" if value in ("", None) else str(value)


def _at(hydra: Mapping[str, Any], key: str) -> Any:
    value: Any = hydra
    for name in key.split("."):
        value = value[name]
    return value
