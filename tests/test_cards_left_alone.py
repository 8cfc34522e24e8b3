"""A command that computes on the CPU makes no context on a graphics card: each would take its memory there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from dlrun.cli import main
from dlrun.storage import checkpoint

# Those of torch.cuda that talk to a card without asking first whether CUDA was begun.
EAGER = ("set_device", "current_device", "mem_get_info", "synchronize", "empty_cache")
IRIS = (
    "dataset=iris", "model=mlp", "model.hidden=[4]", "model.dropout=0.1", "trainer.max_epochs=2",
    "trainer.accelerator=cpu", "trainer.num_threads=1", "tracking.tensorboard=false",
)  # fmt: skip


def touches(name: str) -> Callable[..., NoReturn]:
    """What takes the place of a function, one for each: torch's compiler lists them."""

    def touched(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError(f"torch.cuda.{name} touched a card")

    return touched


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """torch counts two cards, and must make a context on neither."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for module in (torch.cuda, torch.cuda.random, torch.cuda.memory):
        monkeypatch.setattr(module, "_lazy_init", touches("_lazy_init"))
    for name in EAGER:
        monkeypatch.setattr(torch.cuda, name, touches(name))


def typed(*words: str) -> None:
    assert main(list(words)) == 0


@pytest.mark.usefixtures("two_cards")
def test_train_resume_eval_predict_and_the_profiler_leave_cards_alone() -> None:
    Path("rows.csv").write_text("5.1,3.5,1.4,0.2\n")
    typed("train", *IRIS, "hydra.run.dir=run", "trainer.profile=true", "trainer.ema_decay=0.9")
    typed("resume", "run", "trainer.max_epochs=3")
    typed("eval", "run")
    typed("predict", "run", "rows.csv")


@pytest.mark.usefixtures("two_cards")
@pytest.mark.parametrize("stack", ["on", "off"])
def test_a_sweep_leaves_cards_alone(stack: str) -> None:
    lr = "optimizer.lr=0.1,0.01"
    typed("train", "-m", *IRIS, lr, f"sweep.stack={stack}", "hydra.sweep.dir=sweep")


def taken(monkeypatch: pytest.MonkeyPatch, device: str) -> dict[str, Any]:
    """The states of a process on that device, where each card's state is its number."""

    def number(card: torch.device) -> torch.Tensor:
        return torch.tensor(card.index)

    monkeypatch.setattr(torch.cuda, "get_rng_state", number)
    return checkpoint.process_random_states(torch.device(device))


def test_a_checkpoint_has_the_state_of_the_runs_own_card_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "cuda" not in taken(monkeypatch, "cpu")
    assert taken(monkeypatch, "cuda:3")["cuda"] == [torch.tensor(3)]


class _Generator:
    """Stands for one on a card, which this machine need not have."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def get_state(self) -> torch.Tensor:
        return torch.zeros(3)


@pytest.mark.parametrize(
    ("stored", "device", "given"),
    [
        pytest.param([5], "cuda:2", 5, id="of its own card, resumed on another"),
        pytest.param([5, 6, 7], "cuda:1", 6, id="of all cards, as checkpoints were once"),
        pytest.param([5, 6], "cuda:2", 5, id="of fewer cards than there are now"),
        pytest.param([5, 6], "cuda", 6, id="of the card that torch has chosen"),
        pytest.param([5], "cpu", None, id="resumed on the CPU"),
    ],
)
def test_a_resume_gives_its_card_the_state_that_fits(
    stored: list[int], device: str, given: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, _: found.append(int(state)))
    states = checkpoint.random_states(torch.Generator())
    states |= {"cuda": [torch.tensor(state) for state in stored], "generator": torch.zeros(1)}
    generator: Any = _Generator(device)
    checkpoint.restore_random_states(states, generator)
    assert found == ([] if given is None else [given])
