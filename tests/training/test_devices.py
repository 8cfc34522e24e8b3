"""Which devices a run is trained on: what is refused before torch is loaded, and after."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dlrun.commands._train_words import composed_run
from dlrun.config.settings import TrainerSettings, parse
from dlrun.errors import ConfigError
from dlrun.stacked.grouping import why_alone
from dlrun.training.device import choose, count_processes, index_of


@pytest.fixture(scope="module")
def plain() -> dict:
    """The config of today's defaults."""
    return composed_run([])


@pytest.fixture
def settings(plain: dict) -> TrainerSettings:
    return parse(plain).trainer


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """(count) -> torch says that so many are here."""

    def have(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)

    return have


@pytest.mark.parametrize(
    ("devices", "accelerator", "words"),
    [
        ([], "auto", r"trainer.devices is \[\], but must name a GPU"),
        ([0, 0], "auto", r"trainer.devices is \[0,0\], which names GPU 0 twice"),
        ([0, 1], "cpu", r"trainer.devices is \[0,1\], which names GPUs, but trainer.accelerator"),
        (0, "auto", "trainer.devices is 0, but must be a whole number of at least 1"),
        (-1, "auto", "trainer.devices is -1, but must be"),
        (True, "auto", "trainer.devices is true, but must be"),
        ([-1], "auto", "trainer.devices"),
        ("some", "auto", "trainer.devices is some, but must be"),
        (10**6, "auto", "trainer.devices is 1000000, but must be"),
    ],
)
def test_devices_that_cannot_be_are_refused(plain: dict, devices, accelerator, words: str) -> None:
    trainer = {**plain["trainer"], "devices": devices, "accelerator": accelerator}
    with pytest.raises(ConfigError, match=words):
        parse({**plain, "trainer": trainer})


@pytest.mark.parametrize(
    ("there", "devices", "accelerator", "processes"),
    [
        (0, 1, "auto", 1),
        (0, 4, "auto", 4),
        (0, "all", "auto", 1),
        (2, 1, "auto", 1),
        (2, 2, "cuda", 2),
        (2, "all", "cuda", 2),
        (2, [1], "auto", 1),
        (2, [1, 0], "auto", 2),
        (2, 8, "cpu", 8),
        (1, "all", "auto", 1),
    ],
)
def test_a_run_has_a_process_for_each_device(
    settings: TrainerSettings, gpus, there: int, devices, accelerator: str, processes: int
) -> None:
    gpus(there)
    asked = replace(settings, devices=devices, accelerator=accelerator)
    assert count_processes(asked) == processes


@pytest.mark.parametrize(
    ("there", "devices", "words"),
    [
        (0, [0], r"trainer.devices is \[0\], but there is no GPU here"),
        (1, 2, "trainer.devices is 2, but there is one GPU, 0, here"),
        (2, 3, "trainer.devices is 3, but there are GPUs 0 to 1 here"),
        (2, [7], r"trainer.devices is \[7\], but there"),
    ],
)
def test_more_gpus_than_there_are_is_refused(
    settings: TrainerSettings, gpus, there: int, devices, words: str
) -> None:
    gpus(there)
    with pytest.raises(ConfigError, match=words):
        count_processes(replace(settings, devices=devices))


def test_several_devices_of_mps_are_refused(
    settings: TrainerSettings, gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=r"trainer.devices is 2, but MPS is one device"):
        count_processes(replace(settings, devices=2))
    assert count_processes(replace(settings, devices="all")) == 1


def test_a_process_takes_the_gpu_of_its_place(settings: TrainerSettings, gpus) -> None:
    gpus(4)
    listed = replace(settings, devices=[3, 1])
    assert [index_of(listed, local) for local in (None, 0, 1)] == [3, 3, 1]
    assert index_of(listed, 2) == 2  # more were started than the list names
    assert [index_of(replace(settings, devices=2), local) for local in (None, 1)] == [None, 1]
    assert choose("auto", "fp32", 3).torch_device == torch.device("cuda", 3)
    assert choose("auto", "fp32").torch_device == torch.device("cuda")
    with pytest.raises(ConfigError, match="GPU 4 is asked for"):
        choose("auto", "fp32", 4)


def test_a_run_of_several_devices_is_not_stacked(plain: dict) -> None:
    trainer = {**plain["trainer"], "devices": 2}
    assert why_alone(plain) is None
    assert why_alone({**plain, "trainer": trainer}) == "trainer.devices"
