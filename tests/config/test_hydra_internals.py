"""Hydra composes a config once, unless the user's own words or files may set its mode."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra._internal.hydra import Hydra

from dlrun.config.hydra_internals import composing_once

ASKED = Hydra.get_mode


@pytest.mark.parametrize(
    ("words", "text", "asks"),
    [
        (["trainer.mode=min", "experiment=mine"], "", False),
        ([], "trainer:\n  mode: max\n", False),
        (["hydra.mode=MULTIRUN"], "", True),
        (["hydra.searchpath=[file://elsewhere]"], "", True),
        ([], "hydra:\n  mode: MULTIRUN\n", True),
        ([], "hydra: {mode: RUN}\n", True),
        ([], 'hydra: {"mode": ${oc.env:MODE}}\n', True),
        ([], "hydra:\n  searchpath: [file://elsewhere]\n", True),
    ],
)
def test_hydra_looks_for_its_mode_only_where_something_may_set_it(
    words: list[str], text: str, asks: bool, tmp_path: Path
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(f"# @package _global_\n{text}")
    with composing_once(words, [tmp_path]):
        assert (Hydra.get_mode is ASKED) == asks
    assert Hydra.get_mode is ASKED
