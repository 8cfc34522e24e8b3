"""What trials are called: short, and by what tells them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun.commands._named_trials import NamedTrials
from dlrun.storage.run_directory import RunDirectory
from dlrun.sweep.leaderboard import setting_name, short_keys


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        ({"optimizer": "adam"}, "adam"),
        ({"remedy": "L1"}, "L1"),
        ({"optimizer.lr": "0.1"}, "lr=0.1"),
        ({"model.hidden": "[8,4]"}, "hidden=[8,4]"),
        ({"optimizer": "sgd", "optimizer.lr": "1e-3"}, "optimizer=sgd lr=1e-3"),
        ({"model.a.width": "8", "model.b.width": "9"}, "a.width=8 b.width=9"),
        ({}, ""),
    ],
)
def test_a_setting_is_named_by_its_keys_shortest_ends(swept: dict[str, str], name: str) -> None:
    assert setting_name(swept) == name


def test_a_key_that_is_the_end_of_another_keeps_its_whole_name() -> None:
    assert short_keys(["width", "model.width"]) == ["width", "model.width"]


def write_run(folder: Path, swept: dict[str, str]) -> None:
    (folder / "tensorboard").mkdir(parents=True)
    (folder / "tensorboard" / "events").touch()
    RunDirectory(folder).write_summary({"status": "completed", "swept": swept})


def test_tensorboard_finds_each_trial_and_seed_under_what_it_sets(tmp_path: Path) -> None:
    write_run(tmp_path / "0", {"optimizer": "sgd"})
    write_run(tmp_path / "1" / "seed0", {"model.file": "a/b:c"})
    (tmp_path / "2" / "tensorboard").mkdir(parents=True)  # begun, and has said nothing yet
    trials = NamedTrials(tmp_path)
    trials.refresh()
    found = {str(file.relative_to(trials.folder)) for file in trials.folder.rglob("*/")}
    assert {"0 sgd", "1 a_b_c/seed0"} <= found
    assert not any(name.startswith("2") for name in found)
    assert (trials.folder / "0 sgd" / "events").exists()
    write_run(tmp_path / "3", {"optimizer": "adam"})
    trials.refresh()
    assert (trials.folder / "3 adam" / "events").exists()
