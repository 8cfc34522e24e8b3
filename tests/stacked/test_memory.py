"""How much memory stacks are expected to take, and what a card is found to have left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stacks import engine

from dlrun.stacked.memory import CardMemory, memory_of, run_bytes, sample_bytes
from dlrun.stacked.stack import Stack
from dlrun.training.device_errors import lacks_memory, step_too_large

CARD = torch.device("cuda", 0)
GIB = 2**30


def card(monkeypatch: pytest.MonkeyPatch, *, fraction: float = 1.0, **bytes_: int) -> CardMemory:
    """The memory of a card of 80 GiB of which these are free, allocated and reserved."""
    values = {"allocated": 0, "reserved": 0, **bytes_}
    answers: dict[str, Any] = {
        "mem_get_info": lambda device: (values["free"], 80 * GIB),
        "memory_allocated": lambda device: values["allocated"],
        "memory_reserved": lambda device: values["reserved"],
        "max_memory_allocated": lambda device: values["allocated"] + 3 * GIB,
        "max_memory_reserved": lambda device: values["reserved"] + 5 * GIB,
        "reset_peak_memory_stats": lambda device: None,
        "get_per_process_memory_fraction": lambda index: fraction,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer, raising=False)
    return CardMemory(CARD)


def test_what_torch_keeps_of_freed_blocks_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    found = card(monkeypatch, free=10 * GIB, allocated=20 * GIB, reserved=60 * GIB)
    assert found.free() == 50 * GIB


def test_what_other_processes_have_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert card(monkeypatch, free=1 * GIB).free() == 1 * GIB


@pytest.mark.parametrize(("fraction", "left"), [(0.5, 30), (0.1, 0)])
def test_a_limit_of_this_process_counts_from_what_it_has(
    fraction: float, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = card(
        monkeypatch, fraction=fraction, free=60 * GIB, allocated=10 * GIB, reserved=10 * GIB
    )
    assert found.free() == left * GIB


def test_where_torch_tells_no_limit_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = card(monkeypatch, free=60 * GIB)
    monkeypatch.delattr(torch.cuda, "get_per_process_memory_fraction")
    assert found.free() == 60 * GIB


def test_a_run_that_shares_its_card_is_told_of_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = engine("dataset=iris", "model=logistic", "trainer.accelerator=cpu").settings
    card(monkeypatch, fraction=0.45, free=GIB)
    said = str(step_too_large(trainer, 100, CARD))
    assert said.startswith(
        "out of memory on cuda:0, of which this process may take 45% (sweep.trials_per_gpu), with"
    )
    assert "may take" not in str(step_too_large(trainer, 100, torch.device("cpu")))


def test_what_graphs_keep_counts_as_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert card(monkeypatch, free=60 * GIB).taken() == 5 * GIB


def test_an_error_for_want_of_memory_is_known_by_what_it_was_raised_from() -> None:
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except torch.OutOfMemoryError as error:
            raise ValueError("model needs more memory") from error
    except ValueError as error:
        assert lacks_memory(error)
    assert not lacks_memory(ValueError("no such key"))


def test_weights_that_are_cast_for_each_step_are_not_counted_for_each_sample() -> None:
    words = ("dataset=digits", "model=mlp", "model.hidden=[256]", "trainer.accelerator=cpu")
    fp32, bf16 = (sample_bytes(engine(*words, f"trainer.precision={p}")) for p in ("fp32", "bf16"))
    numbers = 64 + 2 * 256 + 10  # inputs, the hidden layer before and after its activation, outputs
    assert bf16 <= 1.5 * fp32 <= 1.5 * 4 * 2 * numbers


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("hidden", [64, 512])
def test_a_stack_on_a_card_takes_no_more_than_is_expected(hidden: int) -> None:
    words = ("dataset=digits", "model=mlp", f"model.hidden=[{hidden}]", "trainer.accelerator=cuda")
    runs = [engine(*words, f"seed={seed}") for seed in range(16)]
    memory = memory_of(runs[0].device.torch_device)
    each = run_bytes(runs[0], sample_bytes(runs[0]))
    stack = Stack(runs, eval_rows=64)
    for inputs, targets in stack.batches.epoch(0):
        stack.train_step(inputs, targets)
    taken = memory.taken()
    assert taken is not None
    # Beside it: workspaces of cuBLAS, 32 MiB for each stream, and what is left over of the allocator's blocks.
    assert 0 < taken <= 16 * each + 2**28
