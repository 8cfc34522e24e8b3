"""Optimizers in the form that a CUDA graph can hold move weights as they do in torch's."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from dlrun.training.capturable import can_be_captured, make_capturable
from dlrun.training.skipped_steps import skip_without_asking
from unread import built

WORDS = (
    "dataset=iris", "model=mlp", "model.hidden=[8,6]", "trainer.batch_size=16", "schedule=cosine",
    "optimizer.weight_decay=0.1",
)  # fmt: skip
OWN_FORMS = {
    "adagrad": ("optimizer.lr_decay=0.1", "optimizer.initial_accumulator=0.1"),
    "lion": (),
    "muon": (),
    "muon by the size of AdamW's steps": ("optimizer.adjust_lr=match_rms_adamw", "optimizer.nesterov=false"),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN_FORMS)
def test_steps_by_tensors_are_those_by_numbers(name: str) -> None:
    optimizer = name.partition(" ")[0]
    if optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    runs = [built(*WORDS, f"optimizer={optimizer}", *OWN_FORMS[name]) for _ in range(2)]
    assert can_be_captured(runs[1].descent.optimizer)
    make_capturable(runs[1].descent, torch.device("cpu"))
    for run in runs:
        for batch in run.batches.epoch(0):
            run.train_step(*batch)
            run.step += 1
    weights = [run.model.state_dict() for run in runs]
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["adagrad", "adagrad in fp16"])
def test_an_optimizer_that_is_let_go_of_is_gone(name: str) -> None:
    run = built(*WORDS, "optimizer=adagrad")
    optimizer = run.descent.optimizer
    if "fp16" in name:
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        skip_without_asking(optimizer)
    else:
        make_capturable(run.descent, torch.device("cpu"))
    gone = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer, run.descent
        assert gone() is None
    finally:
        gc.enable()


def test_adagrad_by_tensors_still_skips_steps_whose_gradients_are_not_finite() -> None:
    run = built(*WORDS, "optimizer=adagrad")
    optimizer = run.descent.optimizer
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]  # as on a GPU
    skip_without_asking(optimizer)
    make_capturable(run.descent, torch.device("cpu"))
    run.descent.schedule(0)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(sum(p.sum() for p in run.model.parameters()) * float("inf")).backward()
    before = [p.detach().clone() for p in run.model.parameters()]
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    for weights, kept in zip(run.model.parameters(), before, strict=True):
        assert torch.equal(weights, kept)


def test_muon_with_another_iteration_is_not_captured() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    optimizer = built(*WORDS, "optimizer=muon").descent.optimizer
    optimizer.inner[0].param_groups[0]["ns_steps"] = 3  # type: ignore[attr-defined]
    assert not can_be_captured(optimizer)
