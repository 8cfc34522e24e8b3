"""The directory of an ensemble: a run's, with a copy of each member's config and weights in it. No torch here.

Members are copied, so that an ensemble outlives the runs and sweeps that they come from, and can be taken elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from dlrun.errors import ConfigError
from dlrun.storage.run_directory import ENSEMBLE, RunDirectory, write_whole

_FOLDER = "members"
Weights = Literal["best", "last"]


@dataclass(frozen=True)
class Member:
    """One of the runs that an ensemble averages.

    Attributes:
        name: of the run that it is a copy of.
        share: of the mean; the shares of all members are 1 together.
        checkpoint: which of the run's weights were copied.
    """

    name: str
    share: float
    checkpoint: Weights


def member_directory(ensemble: RunDirectory, number: int) -> RunDirectory:
    """Where the copy of a member is, in the form of a run."""
    return RunDirectory(ensemble.path / _FOLDER / str(number))


def write_members(ensemble: RunDirectory, members: Sequence[Member]) -> None:
    """Write ensemble.yaml, which makes the directory an ensemble."""
    import yaml

    content = {"members": [asdict(member) for member in members]}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_whole(ensemble.path / ENSEMBLE, text)


def read_members(ensemble: RunDirectory) -> list[Member]:
    """The members, in the order of their directories.

    Raises:
        ConfigError: ensemble.yaml is damaged.
    """
    import yaml

    from dlrun.config import plain_yaml

    file = ensemble.path / ENSEMBLE
    try:
        content = plain_yaml.load(file.read_text(encoding="utf-8"))
        members = [_member(each) for each in content["members"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file} does not describe an ensemble ({reason})") from error
    if not members or not math.isclose(sum(one.share for one in members), 1.0, rel_tol=1e-6):
        raise ConfigError(f"{file} does not describe an ensemble (the shares must be 1 together)")
    return members


def _member(values: Any) -> Member:
    member = Member(**values)
    is_share = isinstance(member.share, float) and 0 < member.share <= 1
    if not isinstance(member.name, str) or member.checkpoint not in get_args(Weights):
        raise ValueError(f"{values} is no member")
    if not is_share:
        raise ValueError(f"share is {member.share}, but must be a number above 0 and at most 1")
    return member
