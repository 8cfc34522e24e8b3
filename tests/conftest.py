"""What every test module shares."""

from collections.abc import Iterator

import pytest
import torch

from dlrun.hints import forget_notes


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run side by side: more threads than cores would make each wait for the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    """What is said once a command is said in each test."""
    forget_notes()
