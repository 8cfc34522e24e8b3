from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dlrun.config.search_path import (
    config_folders,
    option_file,
    options,
    packaged_configs,
    user_configs,
)


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def show(*words: str, cwd: Path) -> str:
    command = [sys.executable, "-m", "dlrun.cli", "show", *words]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


def test_packaged_configs_hold_the_primary_config() -> None:
    assert (packaged_configs() / "train.yaml").is_file()


def test_a_directory_without_configs_adds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert user_configs() is None
    assert config_folders() == [packaged_configs()]


def test_the_packaged_folder_is_nobodys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(packaged_configs().parent)
    assert user_configs() is None


def test_the_first_folder_that_has_an_option_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = write(tmp_path / "configs/model/mlp.yaml", "a: 1\n")
    folders = config_folders()
    assert option_file("model", "mlp", folders) == mine
    assert option_file("model", "cnn", folders) == packaged_configs() / "model/cnn.yaml"
    assert option_file("model", "nothing", folders) is None


def test_options_of_all_folders_are_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "configs/model/mlp.yaml", "a: 1\n")
    write(tmp_path / "configs/model/mine.yaml", "a: 1\n")
    names = options("model", config_folders())
    assert names == sorted(names)
    assert names.count("mlp") == 1
    assert {"mine", "cnn"} <= set(names)


def test_hydra_finds_a_users_own_option(tmp_path: Path) -> None:
    write(tmp_path / "configs/model/mine.yaml", "_target_: mine.Model\nwidth: 3\n")
    assert "_target_: mine.Model" in show("model=mine", cwd=tmp_path)


def test_a_users_option_hides_the_packaged_one_of_its_name(tmp_path: Path) -> None:
    write(tmp_path / "configs/model/mlp.yaml", "_target_: mine.MLP\n")
    assert "_target_: mine.MLP" in show("model=mlp", cwd=tmp_path)


def test_other_hydra_programs_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "configs/model/mine.yaml", "a: 1\n")
    write(tmp_path / "theirs/main.yaml", "b: 2\n")
    code = (
        "from hydra import compose, initialize_config_dir\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        f"with initialize_config_dir({str(tmp_path / 'theirs')!r}, version_base='1.3'):\n"
        "    print(GlobalHydra.instance().config_loader().get_search_path())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "provider=main" in result.stdout
    assert str(tmp_path / "configs") not in result.stdout
