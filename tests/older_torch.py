"""What tests leave out on a version of torch that is in the declared range, but lacks something."""

from __future__ import annotations

import pytest
import torch


def _has_rules_for_meta() -> bool:
    """Whether tensors without numbers go through all that dlrun does: what it draws from came last of that."""
    try:
        torch._standard_gamma(torch.ones(1, device="meta"))
    except NotImplementedError:
        return False
    return True


needs_rules_for_meta = pytest.mark.skipif(
    not _has_rules_for_meta(), reason="this version of torch has fewer rules for meta tensors"
)


def skip_without_muon(words: str) -> None:
    """Skip a test whose words ask for an optimizer that dlrun refuses on this version of torch."""
    if "muon" in words and not hasattr(torch.optim, "Muon"):
        pytest.skip("torch has Muon from version 2.9")
