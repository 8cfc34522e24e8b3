"""What tests leave out on a version of torch that is in the declared range, but lacks something."""

from __future__ import annotations

import pytest
import torch


def skip_without_muon(words: str) -> None:
    """Skip a test whose words ask for an optimizer that dlrun refuses on this version of torch."""
    if "muon" in words and not hasattr(torch.optim, "Muon"):
        pytest.skip("torch has Muon from version 2.9")
