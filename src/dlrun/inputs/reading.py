"""New inputs for a trained model, read by what its own data were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlrun.data.arrays import Scaling
from dlrun.data.base import Preprocessing, Spec
from dlrun.data.character_encoding import CharacterEncoding
from dlrun.errors import ConfigError
from dlrun.hints import command
from dlrun.inputs.arrays import read_arrays


def read_inputs(path: Path, spec: Spec, preprocessing: Preprocessing) -> Any:
    """The inputs in one file, raw as `preprocessing.inputs` takes them; their number is its length.

    Raises:
        ConfigError: missing, unreadable, or not what this run was trained on.
    """
    if not path.exists():
        raise ConfigError(f"{path} is not a file")
    match preprocessing:
        case Scaling():
            return read_arrays(path, spec, preprocessing)
        case CharacterEncoding():
            raise ConfigError(
                "this run's model goes on writing a text rather than judging one; "
                f"use `{command('generate', 'RUN', '--prompt', 'TEXT')}`"
            )
    raise AssertionError(f"nothing reads inputs for {preprocessing.kind}")
