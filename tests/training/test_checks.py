"""Batches that cannot be made of the data, or not be shared: refused before the first step."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dlrun.data.loaders import Split
from dlrun.errors import ConfigError
from dlrun.training.checks import check_batches


def checked(devices: int, *, samples: int = 100, streams: bool = False, **settings: Any) -> int:
    numbers: dict[str, Any] = {"batch_size": 8, "accumulate": 1, "drop_last": False} | settings
    trainer = SimpleNamespace(
        **numbers,
        samples_per_step=lambda n: n if numbers["batch_size"] == "full" else numbers["batch_size"],
    )
    part = Split(torch.zeros(samples, 1), torch.zeros(samples))
    data: Any = SimpleNamespace(train=part, spec=SimpleNamespace(carries_state=streams))
    return check_batches(trainer, data, devices)  # type: ignore[arg-type]


def test_a_batch_is_shared_by_as_many_devices_as_it_has_samples() -> None:
    assert checked(8) == 8
    assert checked(3) == 8
    assert checked(100, batch_size="full") == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "has only 8 samples to share: set it to that or less, or trainer.batch_size higher"),
        (
            {"streams": True},
            "has only 8 streams to share: set it to that or less, or trainer.batch_size higher",
        ),
        (
            {"batch_size": 1},
            "has only 1 sample to share: set it to that or less, or trainer.batch_size higher",
        ),
        ({"samples": 5}, "has only 5 samples to share: set it to that or less"),
        (
            {"samples": 5, "batch_size": "full"},
            "has only 5 samples to share: set it to that or less",
        ),
    ],
)
def test_more_devices_than_samples_of_a_batch_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        checked(9, **settings)
    assert str(refused.value).startswith("trainer.devices is 9, but a batch ")
    assert message in str(refused.value)
    assert ("batch_size" in str(refused.value)) == ("batch_size" in message)
