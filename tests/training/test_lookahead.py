"""Lookahead against its formula by hand, with any optimizer, and what a resumed run knows of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.config.settings import LookaheadSettings
from dlrun.errors import ConfigError
from dlrun.training.build import assemble
from dlrun.training.engine_state import engine_state, load_engine_state
from dlrun.training.lookahead import Lookahead
from dlrun.training.loop import Engine

IRIS = (
    "name=test", "dataset=iris", "model=mlp", "model.hidden=[8]", "trainer.batch_size=16", "trainer.max_epochs=2",
    "trainer.accelerator=cpu", "trainer.num_threads=1",
)  # fmt: skip
LOOKAHEAD = "optimizer.lookahead={every_steps: 5, share: 0.3, power: 2}"


def built(*words: str) -> Engine:
    plain: Any = OmegaConf.to_container(compose([*IRIS, *words]), resolve=True)
    del plain["sweep"]
    return assemble(settings.parse(plain)).engine


def train(engine: Engine, steps: int) -> None:
    while engine.step < steps:
        epoch, position = divmod(engine.step, engine.steps_per_epoch)
        inputs, targets = next(engine.batches.epoch(epoch, skip=position))
        engine.train_step(inputs, targets)
        engine.step += 1


@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slow_weights_go_a_share_of_the_way_every_few_steps_and_at_the_last(
    power: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    moves = torch.randn(8, 3, generator=generator, dtype=dtype)
    fast = torch.zeros(3, dtype=dtype)
    lookahead = Lookahead([fast], LookaheadSettings(3, 0.4, power), total_steps=8)
    expected, slow = torch.zeros(3, dtype=dtype), torch.zeros(3, dtype=dtype)
    for number, move in enumerate(moves, start=1):
        fast += move
        expected = expected + move
        if number in (3, 6, 8):
            slow = slow + (1 - 0.6 * (number / 8) ** power) * (expected - slow)
            expected = slow
        before = fast.clone()
        lookahead.follow()
        torch.testing.assert_close(fast, expected)
        if number not in (3, 6, 8):
            assert torch.equal(fast, before)


@pytest.mark.parametrize("optimizer", ["nesterov", "adam", "lion"])
def test_it_goes_with_any_optimizer(optimizer: str) -> None:
    words = (f"optimizer={optimizer}", "schedule=cosine")
    plain, engine = built(*words), built(*words, LOOKAHEAD)
    start = [p.detach().clone() for p in plain.model.parameters()]
    train(plain, 4)
    train(engine, 4)
    pairs = list(zip(plain.model.parameters(), engine.model.parameters(), strict=True))
    assert all(torch.equal(*pair) for pair in pairs)
    train(plain, 5)
    train(engine, 5)
    share = 1 - 0.7 * (5 / 12) ** 2
    for (fast, found), slow in zip(pairs, start, strict=True):
        torch.testing.assert_close(found, slow + share * (fast - slow))


def test_running_statistics_follow_as_weights_do() -> None:
    engine = built(
        "model.batch_norm=after", "optimizer.lookahead={every_steps: 2, share: 0.5, power: 0}"
    )
    plain = built("model.batch_norm=after")
    train(plain, 2)
    train(engine, 2)
    pairs = zip(plain.model.named_buffers(), engine.model.named_buffers(), strict=True)
    for (name, fast), (_, found) in pairs:
        start = {"running_mean": 0.0, "running_var": 1.0}.get(name.rpartition(".")[2])
        expected = fast if start is None else (start + fast) / 2
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_a_resumed_run_goes_on_as_one_that_was_not_stopped(stop: int) -> None:
    whole = built(LOOKAHEAD)
    train(whole, 12)
    first, second = built(LOOKAHEAD), built(LOOKAHEAD)
    train(first, stop)
    load_engine_state(second, engine_state(first))
    train(second, 12)
    for expected, found in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(expected, found)


def test_a_run_that_had_none_begins_it_from_its_weights_as_they_are() -> None:
    before, after = built(), built(LOOKAHEAD)
    train(before, 4)
    load_engine_state(after, engine_state(before))
    train(after, 4)
    lookahead = after.descent.lookahead
    assert lookahead is not None
    for weights, slow in zip(before.model.parameters(), lookahead.slow, strict=True):
        assert torch.equal(weights, slow)


def test_it_is_refused_where_the_optimizer_averages_itself() -> None:
    pytest.importorskip("schedulefree")
    with pytest.raises(
        ConfigError, match=r"optimizer\.lookahead is set, but optimizer=schedule_free"
    ):
        built("optimizer=schedule_free", LOOKAHEAD)


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lookahead\.share is 2, but must be"):
        built("optimizer.lookahead={every_steps: 5, share: 2, power: 0}")
