"""A GPU is not waited for from one logged point to the next: no step reads a number of the device, whatever the run."""

from __future__ import annotations

import pytest
import torch

from dlrun.data.ahead import ahead
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine
from dlrun.training.stretches import Stretches
from unread import META, HostWaits, Watched, on_device, watched

IRIS = ("dataset=iris", "model=mlp", "model.hidden=[8]", "trainer.batch_size=16")
DIGITS = ("dataset=digits", "model=cnn", "trainer.batch_size=16")
TEXTS = ("dataset=text_csv", "trainer.batch_size=4", "dataset.tokens.max_length=5")
OPTIMIZERS = (
    "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "lion",
    "schedule_free",
)  # fmt: skip

RUNS: list[tuple[str, ...]] = [
    *((*IRIS, f"optimizer={name}") for name in OPTIMIZERS),
    (*IRIS, "model.batch_norm=before", "trainer.ema_decay=0.9"),
    *(
        (*IRIS, "trainer.precision=fp16", f"optimizer={name}")
        for name in ("sgd", "rmsprop", "adadelta", "adagrad", "lion")
    ),
    (*DIGITS, "model.batch_norm=true", "model.dense_dropout=0.3"),
]


def steps(engine: Engine, count: int) -> Watched:
    """So many training steps, as `Engine.fit` makes them, of as many epochs as that takes."""
    engine.freezing.train(engine.model)
    with watched() as found:
        while count:
            epoch, position = divmod(engine.step, engine.steps_per_epoch)
            engine.begin_epoch(epoch, position)
            for batch in engine.batches.epoch(epoch, skip=position):
                engine.train_step(*batch)
                engine.step += 1
                count -= 1
                if not count:
                    break
    return found


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_steps_and_points_ask_the_device_for_nothing(words: tuple[str, ...]) -> None:
    engine = on_device(*words)
    count = min(engine.steps_per_epoch, 6) + 2
    steps(engine, count)
    assert len(engine.pending.losses) == count
    assert all(loss.device == META for loss in engine.pending.losses)
    with watched():
        point = engine._point()  # its numbers are read when the next one is due
    assert point is not None and point.numbers.read()[0].shape == (count,)


TOKENS = ("dataset=char_lm", "dataset.window=8", "model=char_lstm", "trainer.batch_size=16")


@pytest.mark.usefixtures("emulated_graphs")
@pytest.mark.parametrize("words", [*RUNS[:2], *RUNS[6:9], RUNS[10], RUNS[-1], TOKENS], ids=" ".join)
def test_what_a_graph_of_several_steps_holds_is_on_the_device(words: tuple[str, ...]) -> None:
    engine = on_device(*words)
    batches = ahead(engine.batches)
    assert batches is not None
    stretches = Stretches(engine, batches, required=True)
    taken = stretches.epoch(0, 0)
    with watched():
        for _ in range(3):
            engine.step += next(taken)
    stretches.carried, engine.pending = engine.carried, Pending()
    with watched() as found:
        left = stretches._work(4, batches.size(3))
    assert found.of_host == []
    assert all(tensor.device == META for tensor in left) and left[0].shape == (4,)


def test_what_a_gpu_would_have_to_be_waited_for_is_found() -> None:
    there, here = torch.ones(3, device=META), torch.ones(3)
    for wait in (
        lambda: there.sum().item(),
        lambda: bool(there.any()),
        lambda: there[there > 0],
        lambda: there.cpu(),
        lambda: there + here,
        lambda: there * torch.tensor(2.0),
        lambda: there[torch.tensor([0])],
        lambda: here.to(META),
        lambda: here.to(META, non_blocking=True),  # of memory that is not pinned
        lambda: there.copy_(here),
        lambda: torch.tensor([1.0], device=META),
        lambda: there.new_tensor([1.0]),
    ):
        with pytest.raises((HostWaits, RuntimeError, NotImplementedError)), watched():
            wait()
    with watched() as found:
        there[:2] + torch.full((), 2.0, device=META) * 3
        here.pin_memory().to(META, non_blocking=True)
    assert len(found.of_host) == 1  # the copy to pinned memory
