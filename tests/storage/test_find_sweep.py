"""A sweep is found by its directory or part of its name; what means none is refused with what there is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from dlrun.errors import ConfigError
from dlrun.storage.index import find_sweep
from dlrun.storage.sweep_directory import SweepDirectory

SWEEPS = Path("outputs/sweeps")
Describe = Callable[..., SweepDirectory]


@pytest.fixture
def three_sweeps(describe_sweep: Describe) -> None:
    describe_sweep("2026-01-31_10-00-00_digits_rates_aa11", "2026-01-31T10:00:00+00:00")
    describe_sweep("2026-01-31_11-00-00_digits_depth_bb22", "2026-01-31T11:00:00+00:00")
    describe_sweep("2026-01-31_09-00-00_iris_rates_cc33", "2026-01-31T13:00:00+02:00")
    (SWEEPS / "2026-01-31_11-00-00_digits_depth_bb22" / "7" / "seed0").mkdir(parents=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("last", "2026-01-31_11-00-00_digits_depth_bb22"),
        ("depth", "2026-01-31_11-00-00_digits_depth_bb22"),
        ("cc33", "2026-01-31_09-00-00_iris_rates_cc33"),
        (
            "outputs/sweeps/2026-01-31_09-00-00_iris_rates_cc33/",
            "2026-01-31_09-00-00_iris_rates_cc33",
        ),
    ],
)
def test_a_sweep_is_found_by(text: str, found: str, three_sweeps: None) -> None:
    assert find_sweep(text).path == SWEEPS / found


def test_the_newest_counts_by_its_start_not_by_its_name(describe_sweep: Describe) -> None:
    describe_sweep("zzz", "2026-01-01T00:00:00+00:00")
    describe_sweep("aaa", "2026-01-01T01:00:00+02:00")
    describe_sweep("mmm", "2026-01-01T03:00:00+02:00")
    assert find_sweep("last").path.name == "mmm"


def test_one_that_does_not_say_when_it_began_counts_by_its_file(describe_sweep: Describe) -> None:
    describe_sweep("old", "2026-01-01T00:00:00+00:00")
    assert datetime.now().year >= 2026
    describe_sweep("odd", "yesterday")
    assert find_sweep("last").path.name == "odd"


def test_the_folder_one_stands_in_is_found(
    three_sweeps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SWEEPS / "2026-01-31_09-00-00_iris_rates_cc33")
    assert find_sweep(".").path.name == "2026-01-31_09-00-00_iris_rates_cc33"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rates", r"rates fits 2 sweeps: .*_digits_rates_aa11, .*_iris_rates_cc33; give more of the name, or `last`"),
        ("dgits", r"dgits is not a directory or part of the name of any of the 3 sweeps .*; did you mean .*digits.*\?"),
        ("xyz", r"any of the 3 sweeps in outputs/sweeps/; there are: .*_depth_bb22, .*_rates_aa11, .*_rates_cc33"),
        ("outputs/sweeps", r"outputs/sweeps is not a sweep: it has no sweep\.yaml; there are: "),
        ("outputs/sweeps/none", r"outputs/sweeps/none does not exist; there are: "),
        (
            "outputs/sweeps/2026-01-31_11-00-00_digits_depth_bb22/7",
            r"bb22/7 is a trial of a sweep, not a sweep: give .*outputs/sweeps/2026-01-31_11-00-00_digits_depth_bb22$",
        ),
        ("outputs/sweeps/2026-01-31_11-00-00_digits_depth_bb22/7/seed0", r"is a trial of a sweep"),
        ("depth_bb22/7", r"depth_bb22/7 is a trial of a sweep, not a sweep: give outputs/sweeps/2026-01-31_11"),
    ],
)  # fmt: skip
def test_no_sweep_is_guessed_at(text: str, said: str, three_sweeps: None) -> None:
    with pytest.raises(ConfigError, match=said):
        find_sweep(text)


@pytest.mark.parametrize("text", ["last", "rates"])
def test_without_any_sweep_the_way_to_the_first_is_told(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"no sweeps in outputs/sweeps/ yet: start one, as in `dl"
    ):
        find_sweep(text)
