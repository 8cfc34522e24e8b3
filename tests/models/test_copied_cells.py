"""Weights of recurrent layers in one piece of memory, as cuDNN reads them: also where a model was copied."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.models.cells import copied
from dlrun.stacked.stack import Stack
from dlrun.training.build import assemble
from dlrun.training.loop import Engine

WORDS = (
    "name=x", "dataset=digits", "model=lstm", "model.hidden_size=4", "trainer.batch_size=256",
    "trainer.num_threads=1",
)  # fmt: skip
LAYERS = "model.layers=2"
CPU = "trainer.accelerator=cpu"
CHUNK = "error:RNN module weights are not part of single contiguous chunk"

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def engine(*words: str) -> Engine:
    plain: Any = OmegaConf.to_container(compose([*WORDS, *words]), resolve=True)
    del plain["sweep"]  # no part of a run
    return assemble(settings.parse(plain)).engine


@pytest.fixture
def flattened(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The layers that were asked to bring their weights together, in order."""
    layers: list[nn.Module] = []
    monkeypatch.setattr(nn.RNNBase, "flatten_parameters", lambda layer: layers.append(layer))
    return layers


def cells(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.RNNBase)]


def test_a_copy_has_equal_weights_and_asks_for_one_piece_of_memory(
    flattened: list[nn.Module],
) -> None:
    model = nn.Sequential(nn.LSTM(3, 2), nn.ModuleList([nn.GRU(2, 2)]))
    flattened.clear()
    copy = copied(model)
    assert flattened == cells(copy)
    torch.testing.assert_close(copy.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert not {*map(id, copy.parameters())} & {*map(id, model.parameters())}


@pytest.mark.parametrize("word", ["trainer.ema_decay=0.9", "optimizer=schedule_free"])
def test_an_average_of_the_weights_is_such_a_copy(word: str, flattened: list[nn.Module]) -> None:
    run = engine(CPU, LAYERS, word)
    assert run.averaged is not None
    assert {*map(id, cells(run.averaged))} <= {*map(id, flattened)}


def test_weights_that_look_into_those_of_a_stack_stay_where_they_are(
    flattened: list[nn.Module],
) -> None:
    runs = [engine(CPU, f"seed={seed}") for seed in (0, 1)]
    stack = Stack(runs, eval_rows=64)
    flattened.clear()
    stack.train_step(*next(iter(stack.batches.epoch(0))))
    stack.validation_metrics()
    runs[1].test()
    assert flattened == []
    shared = stack.weights.values.untyped_storage().data_ptr()
    for run in runs:
        assert {p.untyped_storage().data_ptr() for p in run.model.parameters()} == {shared}


@gpu
@needs_cuda
@pytest.mark.filterwarnings(CHUNK)
@pytest.mark.parametrize("word", ["seed=0", "trainer.ema_decay=0.9", "optimizer=schedule_free"])
def test_on_a_gpu_no_step_and_no_evaluation_brings_weights_together_first(word: str) -> None:
    run = engine("trainer.accelerator=cuda", "trainer.cuda_graph=false", LAYERS, word)
    run.train_step(*next(iter(run.batches.epoch(0))))
    run.step += 1
    run.outputs(run.data.val)


@gpu
@needs_cuda
def test_on_a_gpu_a_run_that_was_stacked_is_tested_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "RNN module weights")
        runs = [engine("trainer.accelerator=cuda", f"seed={seed}") for seed in (0, 1)]
        Stack(runs, eval_rows=64)
        runs[1].test()
