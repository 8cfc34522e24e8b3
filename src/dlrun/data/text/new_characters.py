"""A new text for a language model, which only evaluates on it: `dlrun generate` continues one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

from dlrun.data.base import Spec
from dlrun.data.changed_data import Kept
from dlrun.data.files import locate_file
from dlrun.data.kind import TEST_PATH, Labelled, NewInputs, one_path
from dlrun.data.text.character_encoding import CharacterEncoding, next_characters, note_unseen
from dlrun.data.text.characters import read_characters
from dlrun.errors import ConfigError, command


class NewCharacters(NewInputs):
    """A file is one text."""

    preparing = "the place of each character in characters, from 1, and 0 for one that is not there"

    def read(self, path: Path, spec: Spec, preprocessing: CharacterEncoding) -> NoReturn:
        raise ConfigError(
            "this run's model continues a text and predicts no class; "
            f"use `{command('generate', 'RUN', '--prompt', 'TEXT')}`"
        )

    def labelled(self, given: Any, kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
        path = locate_file(TEST_PATH, one_path(given))
        encoding_given, limit = str(dataset.get("encoding", "utf-8")), dataset.get("memory_limit")
        text = read_characters(path, encoding_given, limit)
        if len(text) < 2:
            raise ConfigError(
                f"{path} holds one character, after which nothing comes; give a longer text"
            )
        encoding = cast(CharacterEncoding, kept.preprocessing)
        numbers = encoding.numbers(text, range(len(text)))
        note_unseen(str(path), {"new": numbers})
        return Labelled(next_characters(numbers, kept.spec.input_shape[0]))
