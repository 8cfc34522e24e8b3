"""What a recording that fails leaves to others."""

from __future__ import annotations

import pytest
import torch

from dlrun.training.graph import Recorder
from emulated_graphs import emulate


def test_graphs_of_before_a_recording_that_failed_are_not_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulate(monkeypatch)
    one, other = Recorder([]), Recorder([])
    with pytest.raises(RuntimeError):
        other.record(lambda: torch.ones(1).item())
    assert not one.is_sound  # its generators have other states now
    one.begin_anew()
    assert one.is_sound
