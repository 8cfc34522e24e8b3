"""Test-time augmentation: the mean of the predictions for views of an image, each the same for all images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.cli import main
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.inference.load import Trained, read_config
from dlrun.inference.views import on_views, views_of
from dlrun.storage.index import find_run

SCALING = Scaling([[[0.0]]], [[[1.0]]], [], [], pixel_max=1.0)
SHAPE = (1, 8, 8)
WORDS = (
    "train", "dataset=digits", "model=logistic", "trainer.max_epochs=1", "tracking.tensorboard=false",
    "trainer.accelerator=cpu", "trainer.num_threads=1", "dataset.augment.flip=true",
)  # fmt: skip


def views(count: int, **augment: Any) -> list[Any]:
    return views_of(augment, SCALING, SHAPE, count, seed=3)


def test_the_first_view_is_the_image_then_its_mirror_images_then_moves_of_either() -> None:
    images = torch.rand(4, *SHAPE)
    first, mirrored, turned, *moved = [
        v.of(images) for v in views(6, flip=True, vertical_flip=True)
    ]
    assert torch.equal(first, images)
    assert torch.equal(mirrored, images.flip(3))
    assert torch.equal(turned, images.flip(2))
    assert all(not torch.equal(x, images) for x in moved)


def test_views_mirror_as_flips_that_alternate_and_shift_as_the_run_does() -> None:
    images = torch.rand(4, *SHAPE) + 1
    first, mirrored, *moved = [
        v.of(images) for v in views(8, flip="alternating", shift=2, shift_padding="reflect")
    ]
    assert torch.equal(first, images)
    assert torch.equal(mirrored, images.flip(3))
    assert all(x.min() >= 1 for x in moved)
    assert views(8, flip="alternating", shift=2)[3].of(images).min() == 0


def test_a_view_is_the_same_for_every_image_and_every_time() -> None:
    images = torch.rand(5, 3, 8, 8)
    for view in views(5, rotation=20.0, crop=0.3, shift=2):
        together = view.of(images)
        assert together.shape == images.shape
        for number in range(5):
            torch.testing.assert_close(view.of(images[number : number + 1])[0], together[number])
    last = views(3, rotation=20.0)[2]
    assert not torch.allclose(last.of(images), views(2, rotation=20.0)[1].of(images))


def test_a_run_without_moves_is_seen_shifted_by_a_pixel_and_without_noise() -> None:
    images = torch.zeros(1, 1, 8, 8)
    images[0, 0, 4, 4] = 1
    for view in views(12, noise=1.0, cutout=3, mixup=1.0):
        row, column = view.of(images)[0, 0].nonzero()[0].tolist()
        assert max(abs(row - 4), abs(column - 4)) <= 1


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel", "regression"])
def test_probabilities_are_averaged_and_values_as_well(task: Any) -> None:
    outputs = 1 if task in ("binary", "regression") else 3
    spec = Spec(task=task, kind="image", input_shape=SHAPE, num_outputs=outputs, class_names=())
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)).eval()
    scaling = Scaling([[[0.0]]], [[[1.0]]], [2.0], [3.0], pixel_max=1.0)
    plain = read_config_of_digits()
    plain["dataset"]["augment"]["flip"] = True
    x = torch.rand(6, *SHAPE)
    meant = {
        "multiclass": lambda s: s.softmax(1), "regression": lambda s: s,
    }.get(task, torch.sigmoid)  # fmt: skip
    with torch.no_grad():
        found = meant(on_views(Trained(model, spec, scaling, 1, 1), plain, 2).model(x))
        expected = (meant(model(x)) + meant(model(x.flip(3)))) / 2
    torch.testing.assert_close(found.float(), expected)


def read_config_of_digits() -> dict[str, Any]:
    from omegaconf import OmegaConf

    from dlrun.config.compose import compose

    plain: Any = OmegaConf.to_container(compose(["name=x", "dataset=digits"]), resolve=True)
    del plain["sweep"]
    return dict(plain)


def test_eval_and_predict_average_over_views(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS]) == 0
    np.save("images.npy", np.random.default_rng(0).integers(0, 17, (3, 1, 8, 8)).astype(np.float32))
    capsys.readouterr()
    losses = []
    for words in ((), ("--tta", "1"), ("--tta", "2")):
        assert main(["eval", "last", "--json", *words]) == 0
        losses.append(json.loads(capsys.readouterr().out)["metrics"]["test/loss"])
    assert losses[0] == losses[1] != losses[2]
    assert main(["eval", "last", "--tta", "2"]) == 0
    assert "2 views of each image" in capsys.readouterr().out
    for views in ("1", "3"):
        assert (
            main(["predict", "last", "images.npy", "--tta", views, "--output", f"{views}.json"])
            == 0
        )
    one, three = (json.loads(Path(f"{views}.json").read_text()) for views in (1, 3))
    assert one != three
    capsys.readouterr()
    assert main(["eval", "last", "--tta", "2", "--threshold", "f1"]) == 2
    assert "--tta and --threshold are given" in capsys.readouterr().err
    assert read_config(find_run("last"))["dataset"]["augment"]["flip"] is True


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Spec(task="multiclass", kind="features", input_shape=(4,), num_outputs=3), "are features"),
        (
            Spec(task="reconstruction", kind="image", input_shape=SHAPE, num_outputs=64),
            "are to be reconstructed",
        ),
    ],
)
def test_views_of_what_is_no_image_with_targets_are_refused(spec: Spec, said: str) -> None:
    trained = Trained(nn.Identity(), spec, SCALING, 1, 1)
    with pytest.raises(
        ConfigError, match=f"--tta is for images with targets, but the inputs {said}"
    ):
        on_views(trained, {}, 2)
