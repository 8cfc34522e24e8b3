"""How a file would be trained on: a dataset option with its settings, tried out as train reads it. No torch here."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dlrun.config import plain_yaml
from dlrun.config.instantiate import component
from dlrun.config.schema import check_settings
from dlrun.config.search_path import config_folders, option_file, options, packaged_configs
from dlrun.config.settings import DataSettings
from dlrun.data.packed import GZIP
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column_roles import ColumnRoles
from dlrun.data.tables.csv_format import CsvFormat, quoted
from dlrun.data.tables.read import table_of
from dlrun.data.tables.sources import find
from dlrun.data.tables.table_files import refuse_settings_of_texts
from dlrun.data.tables.target_column import DROP_MISSING, Labelling
from dlrun.data.text_files import marked_encoding, unmarked_utf_16
from dlrun.errors import ConfigError, collected_notes, command

TABLE = "table"
OPTIONS = (
    *(TABLE, "series", "text_table", "text_lines", "text_folder", "char_lm", "image_folder"),
    "image_table",
)  # that may be found
_SHARED = {one.name for one in fields(DataSettings)}
_NAME = re.compile(r"[A-Za-z][\w-]*")
_PLAIN_WORD = re.compile(r"[A-Za-z/.][\w./-]*|(?:packaged|plotly):[\w./-]+|-?\d+(\.\d+)?")
_CHUNK = 2**24  # bytes
_SETTING = re.compile(r"'dataset\.(\w+=[^']+)'|dataset\.(\w+=[^\s;,]+)")
HOW_WRITTEN = ("missing", "thousands", "decimal", "delimiter", "comment", "header")
_MENDS = (*HOW_WRITTEN, "dates", DROP_MISSING)  # of which a refusal that offers one is heeded
_MOST_MENDED = 4


@dataclass(frozen=True)
class Plan:
    """A dataset option, the settings of it that are not its defaults, and a model that can learn from it.

    Attributes:
        run_settings: others that the run needs, by key.
    """

    option: str
    settings: Mapping[str, Any]
    model: str
    run_settings: Mapping[str, Any] = field(default_factory=dict)

    def train_command(self, name: str | None = None) -> str:
        """The command to type; `name` is the option that the settings were written to."""
        words = [f"dataset={name or self.option}"]
        if name is None:
            words += [f"dataset.{key}={_typed(value)}" for key, value in self.settings.items()]
        others = (f"{key}={_typed(value)}" for key, value in self.run_settings.items())
        return command("train", *words, f"model={self.model}", *others)

    def as_yaml(self, source: str) -> str:
        """The option as a file; `source` is what was inspected."""
        values = yaml.safe_dump(dict(self.settings), sort_keys=False, allow_unicode=True)
        return f"# {source}, as `dlrun inspect` found it\ndefaults:\n  - {self.option}\n  - _self_\n\n{values}"


class Trial(NamedTuple):
    """What train will say as it reads the data.

    Attributes:
        raw: the data; None where train refuses them.
        error: why it does; empty otherwise.
        mended: why it does without the settings that were added.
        plan: with those settings; None where none was.
    """

    raw: Any
    notes: list[str]
    error: str
    mended: Sequence[str] = ()
    plan: Plan | None = None


def option_settings(option: str) -> dict[str, Any]:
    """All settings of a dataset option, as its file has them, and those that every dataset has."""
    file = option_file("dataset", option, config_folders())
    assert file is not None, "the option comes with dlrun"
    of_all = packaged_configs() / "_shared.yaml"
    shared, own = (plain_yaml.load(one.read_text(encoding="utf-8")) for one in (of_all, file))
    return {**shared["dataset"], **own}


def settings_of(option: str, changed: Mapping[str, Any]) -> dict[str, Any]:
    """The same, some of them `changed`, without those that every dataset has."""
    settings = option_settings(option)
    for key, value in changed.items():
        nested = isinstance(value, Mapping) and isinstance(settings.get(key), Mapping)
        settings[key] = {**settings[key], **value} if nested else value
    return {key: value for key, value in settings.items() if key not in _SHARED}


def try_out(plan: Plan, cells: Cells | None = None) -> Trial:
    """Read the data as train does, with the settings that its refusals offer; of a table, from its `cells`.

    Raises:
        ConfigError: a setting that the option does not have, or a value that it cannot have.
    """
    trial = first = _try(plan, cells)
    mended: list[str] = []
    while trial.error and len(mended) < _MOST_MENDED:
        offered = offered_setting(trial.error)
        if offered is None or offered[0] in plan.settings:
            break
        plan = replace(plan, settings={**plan.settings, offered[0]: offered[1]})
        mended.append(trial.error)
        trial = _try(plan, None)  # which reads the file anew, as it may hold other cells now
    if trial.error or not mended:
        return first
    return trial._replace(plan=plan, mended=mended)


def offered_setting(error: str) -> tuple[str, Any] | None:
    """The first setting that a refusal offers to type, if it is one that mends the reading."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # of 0.2 s

    for quoted_word, word in _SETTING.findall(error):
        key, _, value = (quoted_word or word).partition("=")
        if key in _MENDS:
            return key, OverridesParser.create().parse_override(f"x={value}").value()
    return None


def _try(plan: Plan, cells: Cells | None) -> Trial:
    made = component("dataset", settings_of(plan.option, plan.settings), also_allowed=(*_SHARED,))
    shared = {**option_settings(plan.option), "split_seed": 0, **plan.settings}
    check_settings("dataset", {key: shared[key] for key in _SHARED}, DataSettings)
    with collected_notes() as notes:
        try:
            raw = made() if cells is None else _table(cells, made.arguments)
        except ConfigError as error:
            return Trial(None, notes, str(error))
    return Trial(raw, list(dict.fromkeys(notes)), "")


def _table(cells: Cells, settings: dict[str, Any]) -> Any:
    test = None if settings["test_path"] is None else find("--test", settings["test_path"])
    refuse_settings_of_texts(settings, cells.path, test)
    return table_of(
        cells,
        test,
        CsvFormat.of(settings, missing=[str(word) for word in settings["missing"]]),
        ColumnRoles.of(settings),
        Labelling.of(settings),
        fill=settings["fill"],
        rare_below=settings["rare_below"],
    )


def check_name(name: str) -> Path:
    """The file of the new dataset option `name`.

    Raises:
        ConfigError: no name of an option, or there is one of this name.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--write is {name}, but must be a name of letters, digits, - and _ that begins with a letter"
        )
    file = Path("configs", "dataset", f"{name}.yaml")
    if file.exists():
        raise ConfigError(f"--write is {name}, but {file} exists; choose another name")
    if name in options("dataset", config_folders()):
        raise ConfigError(
            f"--write is {name}, which is a dataset option of dlrun; choose another name"
        )
    return file


def write_option(plan: Plan, file: Path, source: str) -> None:
    """Write the plan into the new `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8") as stream:
        stream.write(plan.as_yaml(source))


def encoding_of(path: Path) -> str:
    """The encoding of a file of text: by its mark or its NUL bytes, utf-8 where it can be, or else cp1252."""
    with path.open("rb") as file:
        head = file.read(4096)
        if wide := marked_encoding(head) or unmarked_utf_16(head):
            return wide
        if head.startswith(GZIP):
            return "utf-8"
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def _typed(value: Any) -> str:
    """A value as Hydra reads it on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_typed(one)}" for key, one in value.items()) + "}"
    text = str(value)
    plain = not isinstance(value, str) or _PLAIN_WORD.fullmatch(text)
    return (
        text
        if plain and text.lower() not in ("null", "true", "false", "nan", "inf")
        else quoted(text)
    )
