"""One copy of the data for all trials of a process that use it alike."""

from __future__ import annotations

import json
from weakref import WeakValueDictionary

from dlrun.assemble import load_data
from dlrun.config import RunConfig
from dlrun.data.base import Dataset
from dlrun.data.kept import Kept
from dlrun.device import Device

# What of the trainer's settings decides how the data lies in memory.
_TRAINER = ("batch_size", "eval_batch_size", "channels_last", "fast_dev_run", "overfit_batches")

_alive: WeakValueDictionary[str, Dataset] = WeakValueDictionary()
_latest: list[Dataset] = []  # kept for the next trial, whoever else has let go of it


def data_loader(config: RunConfig, place: Device, kept: Kept | None = None) -> Dataset:
    """The data, prepared once for as long as any trial has it; those of a trial carried on are checked."""
    trainer = [getattr(config.trainer, name) for name in _TRAINER]
    key = json.dumps([config.dataset, trainer, str(place)])
    data = _alive.get(key)
    if data is None or not (kept is None or kept.fits(data)):
        _latest.clear()  # before the next one is loaded: there may be room for one only
        data = _alive[key] = load_data(config, place, kept)
    _latest[:] = [data]
    return data
