"""What a download that failed leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun.data.arrays.torchvision import _download
from dlrun.errors import ConfigError


def test_only_its_own_empty_folders_are_taken_away(tmp_path: Path) -> None:
    (tmp_path / "mine/empty").mkdir(parents=True)

    def fetch() -> None:
        (tmp_path / "MNIST/raw").mkdir(parents=True)
        raise OSError("no network")

    with pytest.raises(ConfigError, match="no network"):
        _download("MNIST", tmp_path, ["MNIST/raw/x.gz"], fetch)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["mine", "empty"]
