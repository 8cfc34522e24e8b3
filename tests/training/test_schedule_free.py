"""Schedule-free AdamW against the library, used as its documentation says: train() and eval() around what is judged."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.errors import ConfigError
from dlrun.training.build import assemble
from dlrun.training.engine_state import engine_state, load_engine_state
from dlrun.training.gradients import gradient_norm
from dlrun.training.loop import Engine

schedulefree = pytest.importorskip("schedulefree")

WORDS = (
    "name=x", "dataset=iris", "model=mlp", "model.hidden=[8]", "optimizer=schedule_free", "optimizer.lr=0.01",
    "optimizer.beta1=0.8", "optimizer.weight_decay=0.1", "schedule.warmup_steps=3", "trainer.accelerator=cpu",
    "trainer.precision=fp64", "trainer.num_threads=1", "trainer.batch_size=16",
)  # fmt: skip


def built(*words: str) -> Engine:
    plain: Any = OmegaConf.to_container(compose([*WORDS, *words]), resolve=True)
    del plain["sweep"]
    return assemble(settings.parse(plain)).engine


def train(engine: Engine, *, until: int) -> Engine:
    while engine.step < until:
        epoch, skip = divmod(engine.step, engine.steps_per_epoch)
        for inputs, targets in engine.batches.epoch(epoch, skip=skip):
            if engine.step < until:
                engine.train_step(inputs, targets)
                engine.step += 1
    return engine


def test_weights_and_those_to_judge_are_the_librarys() -> None:
    engine, other = built(), built()
    optimizer = schedulefree.AdamWScheduleFree(
        other.model.parameters(), lr=0.01, betas=(0.8, 0.999), weight_decay=0.1, warmup_steps=3
    )
    optimizer.train()
    for inputs, targets in other.batches.epoch(0):
        optimizer.zero_grad()
        other.task.loss(other.model(inputs), targets).backward()
        optimizer.step()
    train(engine, until=engine.steps_per_epoch)
    trained = list(zip(engine.model.parameters(), other.model.parameters(), strict=True))
    for own, expected in trained:
        torch.testing.assert_close(own, expected)
    optimizer.eval()
    judged = zip(engine.evaluated.parameters(), other.model.parameters(), strict=True)
    for own, expected in judged:
        torch.testing.assert_close(own, expected)
    assert not any(torch.allclose(own, expected) for own, expected in trained)


def test_looking_at_the_average_changes_no_bit_and_a_resume_goes_on_as_if_never_interrupted() -> (
    None
):
    whole = train(built(), until=11)
    first = train(built(), until=4)
    first.outputs(first.data.val)
    resumed = built("optimizer.weight_decay=0.1")
    load_engine_state(resumed, engine_state(first))
    train(resumed, until=11)
    for one, other in ((resumed.model, whole.model), (resumed.evaluated, whole.evaluated)):
        pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_the_logged_norm_is_that_of_the_gradients_and_not_of_what_the_library_leaves() -> None:
    engine = built("optimizer.clip_norm=0.01")
    train(engine, until=2)
    assert gradient_norm(engine.descent.parameters).item() == pytest.approx(0.01, rel=1e-3)


def test_an_average_of_an_average_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"ema_decay is 0\.9, but optimizer=schedule_free averages"
    ):
        built("trainer.ema_decay=0.9")


def test_without_the_library_a_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(ConfigError, match=r"needs: pip install 'dlrun\[schedule_free\]'"):
        built()
