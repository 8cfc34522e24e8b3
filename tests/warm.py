"""What the server of processes does before it forks the first: import what dlrun needs, and compose once."""

import importlib
import os

import pytest

from dlrun.config.compose import compose
from hydra_once import keep_steps

# The first folder is there for this module; the processes find the path as it was.
path = os.environ.pop("PYTHONPATH").partition(os.pathsep)[2]
if path:
    os.environ["PYTHONPATH"] = path

for module in (
    "dlrun.commands.resume",
    "dlrun.commands.train",
    "dlrun.data.arrays.scikit_learn",
    "dlrun.runner.start",
    "dlrun.storage.index",
    "dlrun.sweep.driver",
    "hydra.main",
):
    importlib.import_module(module)
keep_steps(pytest.MonkeyPatch())
compose([])
