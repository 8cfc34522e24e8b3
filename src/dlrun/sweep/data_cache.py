"""One copy of the data for all trials of a process that use it alike, and what was in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from dlrun.config.settings import RunConfig
from dlrun.data.base import Dataset
from dlrun.data.changed_data import DataChanged, Kept, difference, refusal
from dlrun.data.fingerprint import Content, Fingerprint
from dlrun.errors import ConfigError
from dlrun.training.build import load_data
from dlrun.training.device import Device
from dlrun.training.device_errors import free_cache

# What of the trainer's settings decides how the data lies in memory.
_TRAINER = ("batch_size", "eval_batch_size", "channels_last", "fast_dev_run", "overfit_batches")

_alive: WeakValueDictionary[str, Dataset] = WeakValueDictionary()
_latest: list[Dataset] = []  # kept for the next trial, although no other trial uses it any more


def data_loader(config: RunConfig, place: Device, kept: Kept | None = None) -> Dataset:
    """The data, prepared once for as long as any trial has it; those of a resumed trial are checked."""
    trainer = [getattr(config.trainer, name) for name in _TRAINER]
    key = json.dumps([config.dataset, trainer, str(place)])
    data = _alive.get(key)
    if data is None or not (kept is None or kept.fits(data)):
        _latest.clear()  # before the next one is loaded: there may be room for one only
        data = _alive[key] = load_data(config, place, kept)
    _latest[:] = [data]
    return data


def forget_data() -> None:
    """Let go of the data of the last trial: other processes train those to come, and on a GPU they need the room."""
    _latest.clear()
    free_cache()


class RecordingLoader:
    """Loads as `data_loader` does, and records what is in the data of each setting.

    Attributes:
        found: the content of the parts by a name for how the data are set up, plain values.
    """

    def __init__(self) -> None:
        _latest.clear()  # what an earlier sweep of this process had may no longer be in the files
        _alive.clear()
        self.found: dict[str, dict[str, list[Any]]] = {}
        self._settings: dict[str, dict[str, Any]] = {}

    def __call__(self, config: RunConfig, place: Device, kept: Kept | None = None) -> Dataset:
        """The data of a run."""
        data = data_loader(config, place, kept)
        if data.origin is not None:
            name = str(Fingerprint().words([json.dumps(config.dataset, sort_keys=True)]))
            self.found[name] = {part: list(has) for part, has in data.origin.content.items()}
            self._settings[name] = config.dataset
        return data

    def refuse_other(self, before: Mapping[str, Content]) -> None:
        """Refuse data that are not those that a sweep began with, whose `found` was `before`.

        Raises:
            ConfigError: naming the data, and the parts that have changed.
        """
        for name, content in before.items():
            changed = difference(content, self.found.get(name, content), whose="sweep")
            if changed:
                raise ConfigError(refusal(DataChanged(changed), self._settings[name]))
