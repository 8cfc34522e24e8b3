"""What the tests keep of Hydra's composition changes no config."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dlrun.config.compose import compose

WORDS = [
    "experiment=digits_cnn",
    "optimizer=momentum",
    "optimizer.lr=0.5",
    "model.kernel=5",
    "+x=[1,{a: 2}]",
]
ALONE = """
import sys
from dlrun.config.compose import compose
from omegaconf import OmegaConf
print(OmegaConf.to_yaml(compose(sys.argv[1:])), end="")
"""


def test_a_kept_config_is_the_one_that_a_process_of_its_own_composes() -> None:
    first, again = (OmegaConf.to_yaml(compose(WORDS)) for _ in range(2))
    command = [sys.executable, "-c", ALONE, *WORDS]
    alone = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert first == alone
    assert again == alone


def test_what_is_done_to_a_config_stays_with_it() -> None:
    compose(WORDS).optimizer.lr = 3.0
    assert compose(WORDS).optimizer.lr == 0.5


def test_a_users_file_that_changes_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "configs" / "model" / "mine.yaml"
    file.parent.mkdir(parents=True)
    for width in (8, 9):
        file.write_text(f"_target_: mine.Net\nwidth: {width}\n")
        assert compose(["model=mine"]).model.width == width
    file.rename(file.with_name("other.yaml"))
    assert compose(["model=other"]).model.width == 9
    with pytest.raises(Exception, match="mine"):
        compose(["model=mine"])
