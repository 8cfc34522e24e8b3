"""With trainer.channels_last the channels of a pixel lie side by side in memory, from the data through all layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlrun.commands._train_words import composed_run
from dlrun.config.settings import parse
from dlrun.data.images.augment import Augmentation
from dlrun.data.images.mixing import Mixing
from dlrun.data.loaders import Split
from dlrun.training.build import assemble
from dlrun.training.loop import Engine

WORDS = (
    "name=x", "dataset=digits", "trainer.accelerator=cpu", "trainer.batch_size=8",
    "trainer.channels_last=true", "trainer.precision=bf16",
)  # fmt: skip
LAST = torch.channels_last
AUGMENT = (
    "flip: true", "vertical_flip: true", "shift: 1", "rotation: 10", "crop: 0.5", "colour: 0.3", "noise: 0.1",
    "cutout: 2", "erase: 0.5",
)  # fmt: skip


def engine_of(*words: str) -> Engine:
    return assemble(parse(composed_run([*WORDS, *words]))).engine


def is_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=LAST)


@pytest.fixture
def colours() -> Tensor:
    """(6, 3, 8, 8)"""
    return torch.randn(6, 3, 8, 8).to(memory_format=LAST)


@pytest.mark.parametrize(
    "model",
    [
        "cnn",
        "cnn model.batch_norm=true",
        "resnet",
        pytest.param("torchvision", marks=pytest.mark.slow),
    ],
)
def test_every_layer_reads_and_gives_images_with_the_channels_last(model: str) -> None:
    engine = engine_of(*f"model={model}".split(), "dataset.augment={rotation: 5, erase: 0.2}")
    seen: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.extend(x for x in (*inputs, output) if x.ndim == 4)

    for module in engine.model.modules():
        if not [*module.children()]:
            module.register_forward_hook(note)
    engine.train_step(*next(engine.batches.epoch(0)))
    assert len(seen) > 6 and all(map(is_last, seen))
    weights = [weight for weight in engine.model.parameters() if weight.ndim == 4]
    assert all(is_last(weight) and is_last(weight.grad) for weight in weights)


@pytest.mark.parametrize("how", AUGMENT)
def test_an_augmentation_keeps_the_layout_of_the_images(how: str, colours: Tensor) -> None:
    augmentation = engine_of("model=linear", f"dataset.augment={{{how}}}").augmentation
    assert isinstance(augmentation, Augmentation)
    scaling = replace(augmentation.scaling, mean=np.full(3, 0.4), std=np.full(3, 0.3))
    change = replace(augmentation, scaling=scaling)
    found = [change(x, torch.Generator().manual_seed(0)) for x in (colours, colours.contiguous())]
    assert is_last(found[0])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("mixing", [Mixing(1.0, 0.0), Mixing(0.0, 1.0), Mixing(1.0, 1.0)])
def test_mixing_keeps_the_layout_of_the_images(mixing: Mixing, colours: Tensor) -> None:
    mixed, _ = mixing(colours, torch.arange(6), torch.Generator())
    assert is_last(mixed)


def test_batches_keep_the_layout_of_the_images(colours: Tensor) -> None:
    split = Split(colours.contiguous(), torch.arange(6)).to(
        torch.device("cpu"), torch.float32, channels_last=True
    )
    for shuffle in (True, False):
        batches = split.batches(4, seed=0, shuffle=shuffle, drop_last=False)
        assert all(is_last(inputs) for inputs, _ in batches.epoch(0))
    assert all(is_last(inputs) for inputs, _ in split.in_order(4))


@pytest.mark.parametrize("model", ["cnn", "mlp", "vae", "tabm", "transformer"])
def test_losses_and_metrics_are_computed_in_single_precision(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = "iris" if model == "tabm" else "digits"
    engine = engine_of(f"dataset={dataset}", f"model={model}", "trainer.channels_last=false")
    given: list[torch.dtype] = []
    loss = engine.task.loss

    def noted(outputs: Tensor, targets: Tensor) -> Tensor:
        given.append(outputs.dtype)
        return loss(outputs, targets)

    monkeypatch.setattr(engine.task, "loss", noted)
    engine.train_step(*next(engine.batches.epoch(0)))
    seen = [*engine.pending.losses, *engine.pending.outputs, engine.outputs(engine.data.val)]
    assert {*given, *(x.dtype for x in seen)} == {torch.float32}
