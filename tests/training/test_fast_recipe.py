"""The recipe of experiment=cifar10_fast at a small size: graphs, resumes and stacks take the steps of a run alone."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.data.ahead import ahead
from dlrun.errors import ConfigError
from dlrun.stacked.grouping import why_alone
from dlrun.training.build import assemble
from dlrun.training.engine_state import engine_state, load_engine_state
from dlrun.training.loop import Engine
from dlrun.training.stretches import Stretches
from emulated_graphs import Emulation

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
# 96 of the digits: 3 steps an epoch.
SMALL = (
    "experiment=cifar10_fast", "dataset=digits", "dataset.val_fraction=0.89", "dataset.test_fraction=0.5",
    "model.widths=[6,8]", "optimizer.lookahead={every_steps: 2, share: 0.3, power: 3}", "trainer.batch_size=32",
    "trainer.drop_last=true", "trainer.num_threads=1",
)  # fmt: skip
ON_CPU = (*SMALL, "trainer.accelerator=cpu", "trainer.precision=bf16")


def plain(*words: str) -> dict[str, Any]:
    whole: Any = OmegaConf.to_container(compose(list(words)), resolve=True)
    del whole["sweep"]
    return dict(whole)


def built(*words: str) -> Engine:
    return assemble(settings.parse(plain(*words))).engine


def take(engine: Engine, steps: int) -> None:
    """So many steps, from where the engine is, as `Engine.fit` takes them."""
    engine.freezing.train(engine.model)
    end = engine.step + steps
    engine.intervals = replace(engine.intervals, total_steps=end)
    while engine.step < end:
        epoch, position = divmod(engine.step, engine.steps_per_epoch)
        engine.begin_epoch(epoch, position)
        for count in engine.steps(epoch, position):
            engine.step += count
            if engine.step == end:
                return


def assert_equal_runs(first: Engine, second: Engine, **tolerance: float) -> None:
    losses = [torch.stack(engine.pending.losses) for engine in (first, second)]
    torch.testing.assert_close(*losses, **tolerance)
    states = [dict(engine.model.state_dict()) for engine in (first, second)]
    torch.testing.assert_close(*states, **tolerance)
    assert first.descent.lookahead is not None and second.descent.lookahead is not None
    torch.testing.assert_close(
        first.descent.lookahead.slow, second.descent.lookahead.slow, **tolerance
    )


EXACT = {"rtol": 0.0, "atol": 0.0}


def test_replayed_steps_are_those_taken_one_by_one(emulated_graphs: Emulation) -> None:
    alone, replayed = built(*ON_CPU), built(*ON_CPU)
    assert alone.steps_per_epoch == 3
    batches = ahead(replayed.batches)
    assert batches is not None
    replayed.captured = Stretches(replayed, batches, required=True)
    take(alone, 12)
    take(replayed, 12)
    assert emulated_graphs.replays == (12 - 3) / 3  # whole epochs, but for the first
    assert_equal_runs(alone, replayed)


@pytest.mark.parametrize("stop", [4, 5, 6])
def test_a_run_resumed_in_an_epoch_of_either_side_goes_on_bit_for_bit(stop: int) -> None:
    whole, first, second = built(*ON_CPU), built(*ON_CPU), built(*ON_CPU)
    take(whole, 10)
    take(first, stop)
    load_engine_state(second, copy.deepcopy(engine_state(first)))
    second.generator.set_state(first.generator.get_state())
    take(second, 10 - stop)
    assert_equal_runs(whole, second, **EXACT)


def test_the_generator_draws_nothing_for_flips_that_alternate() -> None:
    """So that only the shifts of a run with and without them are drawn, and are the same."""
    first, second = built(*ON_CPU), built(*ON_CPU, "dataset.augment.flip=false")
    take(first, 4)
    take(second, 4)
    assert torch.equal(first.generator.get_state(), second.generator.get_state())
    assert not torch.equal(first.pending.losses[0], second.pending.losses[0])


def test_the_setting_that_keeps_such_runs_from_being_stacked_is_named() -> None:
    assert why_alone(plain(*ON_CPU)) == "optimizer.lookahead"
    assert why_alone(plain(*ON_CPU, "optimizer.lookahead=null")) is None


def test_lookahead_is_refused_where_each_rank_has_a_part_of_the_weights() -> None:
    with pytest.raises(ConfigError, match=r"fsdp, which does not go with optimizer\.lookahead"):
        settings.parse(plain(*ON_CPU, "trainer.strategy=fsdp", "trainer.channels_last=false"))


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize(
    ("precision", "channels_last"), [("bf16", "true"), ("bf16", "false"), ("fp16", "true")]
)
def test_on_a_gpu_graphs_take_the_steps_taken_one_by_one(
    precision: str, channels_last: str
) -> None:
    words = (
        *SMALL, "trainer.accelerator=cuda", f"trainer.precision={precision}",
        f"trainer.channels_last={channels_last}",
    )  # fmt: skip
    alone = built(*words, "trainer.cuda_graph=false")
    captured = built(*words, "trainer.cuda_graph=true")
    assert captured.captured is not None
    take(alone, 9)  # kernels may be chosen anew, whose differences grow from step to step
    take(captured, 9)
    assert torch.stack(captured.pending.losses).isfinite().all()
    weights = dict(captured.model.named_parameters())["blocks.0.4.weight"]
    in_order = weights.is_contiguous(memory_format=torch.channels_last)
    assert in_order is (channels_last == "true")
    assert_equal_runs(alone, captured, rtol=5e-2, atol=5e-2)
