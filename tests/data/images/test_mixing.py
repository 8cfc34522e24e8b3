"""Mixup and cutmix against what they are made of, and the loss of two targets in the same shares."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional as F

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.data.images.mixing import Mixed, Mixing
from dlrun.errors import ConfigError
from dlrun.training.build import assemble
from dlrun.training.loop import Engine

BATCH = 12


def mixed(seed: int, **alphas: float) -> tuple[Tensor, Mixed]:
    """Images that are their own number all over, which are their targets as well."""
    numbers = torch.arange(1.0, BATCH + 1, dtype=torch.float64)
    images = numbers.view(-1, 1, 1, 1).expand(BATCH, 2, 8, 10)
    mixing = Mixing(**({"mixup": 0.0, "cutmix": 0.0} | alphas))
    return mixing(images, numbers, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(5))
def test_mixup_blends_each_image_with_its_partner_in_one_share(seed: int) -> None:
    images, second = mixed(seed, mixup=0.4)
    share = second.share.item()
    assert 0.5 <= share <= 1
    assert sorted(second.targets.tolist()) == list(range(1, BATCH + 1))
    expected = share * torch.arange(1.0, BATCH + 1) + (1 - share) * second.targets
    torch.testing.assert_close(images[:, 1, 3, 4], expected)
    assert images.flatten(1).std(1).max() < 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_takes_a_rectangle_from_the_partner_and_its_area_is_the_share(seed: int) -> None:
    images, second = mixed(seed, cutmix=1.0)
    own = torch.arange(1.0, BATCH + 1).view(-1, 1, 1)
    foreign = images[:, 0] != own
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.where(foreign, second.targets.view(-1, 1, 1), own).equal(images[:, 0])
    inside = foreign[(second.targets != own.flatten()).nonzero()[0, 0]]
    assert torch.equal(inside, inside.any(1)[:, None] & inside.any(0))
    assert second.share.item() == pytest.approx(1 - inside.double().mean().item())


def test_shares_are_those_of_the_beta_distribution_folded_at_a_half() -> None:
    shares = torch.stack([mixed(seed, mixup=0.4)[1].share for seed in range(400)])
    drawn = torch.distributions.Beta(0.4, 0.4).sample((20_000,))
    expected = torch.maximum(drawn, 1 - drawn)
    assert shares.mean().item() == pytest.approx(expected.mean().item(), abs=0.03)
    assert shares.std().item() == pytest.approx(expected.std().item(), abs=0.03)


def test_with_both_a_batch_has_either() -> None:
    spread = [mixed(seed, mixup=1.0, cutmix=1.0)[0].flatten(1).std(1).max() for seed in range(40)]
    of_mixup = sum(bool(value < 1e-9) for value in spread)
    assert 8 < of_mixup < 32


def built(*words: str) -> Engine:
    given = ["name=x", "trainer.accelerator=cpu", "trainer.num_threads=1", *words]
    plain: Any = OmegaConf.to_container(compose(given), resolve=True)
    del plain["sweep"]
    return assemble(settings.parse(plain)).engine


DIGITS = ("dataset=digits", "model=mlp", "model.hidden=[8]", "trainer.precision=fp64")


@pytest.mark.parametrize("parts", [1, 3])
def test_the_training_loss_is_that_of_both_targets_in_their_shares(parts: int) -> None:
    engine = built(*DIGITS, "dataset.augment.mixup=0.4", f"trainer.accumulate={parts}")
    inputs, targets = next(engine.batches.epoch(0))
    state = engine.generator.get_state()
    assert engine.mixing is not None
    x, second = engine.mixing(inputs, targets, engine.generator)
    outputs = engine.model(x)
    chances = F.one_hot(targets, 10) * second.share + F.one_hot(second.targets, 10) * (
        1 - second.share
    )
    expected = F.cross_entropy(outputs, chances)
    gradient = torch.autograd.grad(expected, engine.model.parameters())[0]
    engine.generator.set_state(state)
    engine.train_step(inputs, targets)
    torch.testing.assert_close(engine.pending.losses[0], expected.detach())
    torch.testing.assert_close(engine.descent.parameters[0].grad, gradient)
    # Metrics are against the image with the greater share.
    assert torch.equal(torch.cat(engine.pending.targets), targets)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("dataset=text_lines", "model=text_cnn", "dataset.augment.mixup=0.2"),
            "dataset.augment.mixup is for images, but the inputs are tokens; set it to 0",
        ),
        (
            ("dataset=text_lines", "model=text_cnn", "dataset.augment.flip=true"),
            "dataset.augment.flip is for images, but the inputs are tokens; set it to false",
        ),
        (
            (*DIGITS, "dataset.augment.word_dropout=0.2"),
            "dataset.augment.word_dropout is for texts, but the inputs are images; set it to 0",
        ),
        ((*DIGITS, "dataset.augment.crop=1"), "dataset.augment.crop is 1, but must be"),
        ((*DIGITS, "dataset.augment.policy=auto"), "dataset.augment.policy is auto, but must be"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        built(*words)
    assert said in str(refused.value)


def test_words_become_unknown_in_their_share_and_padding_stays() -> None:
    engine = built("dataset=text_lines", "model=text_cnn", "dataset.augment.word_dropout=0.3")
    tokens = torch.randint(2, 50, (40, 60))
    tokens[:, 50:] = 0
    assert engine.augmentation is not None
    dropped = engine.augmentation(tokens, torch.Generator().manual_seed(0))
    assert torch.equal(dropped[:, 50:], tokens[:, 50:])
    unknown = dropped[:, :50] == 1
    assert 0.26 < unknown.float().mean() < 0.34
    assert torch.equal(dropped[:, :50][~unknown], tokens[:, :50][~unknown])
    engine.train_step(*next(engine.batches.epoch(0)))
    assert engine.pending.losses[0].isfinite()
