"""`dlrun inspect`: what is in a file or a folder of data, and the command that trains on it.

It finds the kind of data and reads it as `dlrun train` does: tables, one series or several, labelled texts, one long
text, images in a folder for each class, and images that a table names.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_args

from dlrun.commands._arguments import CommandParser, filled
from dlrun.commands._inspect_page import page
from dlrun.data.inspection.findings import DataKind, Inspection, Request
from dlrun.data.inspection.inspect import inspect
from dlrun.data.inspection.plan import check_name, write_option
from dlrun.errors import ConfigError

KINDS: tuple[str, ...] = get_args(DataKind)
TAKEN = ("path", "target", "test_path")  # settings that FILE, --target and --test give
_EPILOG = """\
Other settings of the dataset are given as for `dlrun train`, and become part of the command at the end.

examples
  dlrun inspect people.csv
  dlrun inspect people.csv --target income --test people_test.csv
  dlrun inspect homes.csv --target price,rent
  dlrun inspect people.csv dataset.delimiter=semicolon --write people
  dlrun inspect sales.csv --time month
  dlrun inspect 'sales/*.parquet' --json
  dlrun inspect photos/
  dlrun inspect photos/labels.csv --target age
"""


def main(argv: list[str]) -> int:
    """Print what was found; 0 also where something is wrong with the data."""
    parser = CommandParser("inspect", __doc__, _EPILOG)
    parser.add_argument(
        "file", metavar="FILE", type=filled, help="a file, a folder or a glob of parts of data"
    )
    parser.add_argument(
        "words", metavar="dataset.KEY=VALUE", nargs="*", default=[], help="settings of the dataset"
    )
    parser.add_argument(
        "--target",
        metavar="COLUMN",
        type=filled,
        help="the column to predict, or several: price,rent",
    )
    parser.add_argument("--time", metavar="COLUMN", type=filled, help="the times of a series")
    parser.add_argument(
        "--test",
        metavar="FILE",
        type=filled,
        help="a test file or folder: what stands in both is counted",
    )
    parser.add_argument(
        "--as",
        dest="kind",
        choices=KINDS,
        help="the kind of data, where it is not found",
    )
    parser.add_argument(
        "--write", metavar="NAME", type=filled, help="write configs/dataset/NAME.yaml: dataset=NAME"
    )
    parser.add_argument("--json", action="store_true", help="all that was found, as JSON")
    given = parser.parse_intermixed_args(argv)
    file = None if given.write is None else check_name(given.write)
    settings = _settings(given.words)
    found = inspect(given.file, Request(given.target, given.time, given.test, given.kind, settings))
    if file is not None:
        if found.plan is None or found.error:
            reason = found.error or "there is no column to predict"
            raise ConfigError(f"--write is {given.write}, but {reason}; nothing is written")
        write_option(found.plan, file, given.file)
    command = found.plan.train_command(given.write) if found.plan else None
    print(_as_json(found, command) if given.json else page(found, command, file))
    return 0


def _settings(words: list[str]) -> dict[str, Any]:
    """Settings of the dataset by name.

    Raises:
        ConfigError: a word that is none.
    """
    if not words:
        return {}
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from dlrun.config.overrides import readable

    settings: dict[str, Any] = {}
    for word in words:
        key, equals, _ = word.partition("=")
        name = key.removeprefix("dataset.")
        if not equals or name == key or name in TAKEN:
            raise ConfigError(
                f"{word}: only settings of the dataset are taken, as dataset.KEY=VALUE; FILE, --target and --test "
                "give path, target and test_path"
            )
        try:
            override = OverridesParser.create().parse_override(readable(word))
        except HydraException:
            raise ConfigError(f"{word}: it cannot be read as dataset.KEY=VALUE") from None
        first, dot, second = name.partition(".")
        value = override.value()
        settings[first] = {**settings.get(first, {}), second: value} if dot else value
    return settings


def _as_json(found: Inspection, command: str | None) -> str:
    content = {**dataclasses.asdict(found), "command": command}
    content["leaks"] = [leak._asdict() for leak in found.leaks]
    return json.dumps(content, indent=2, ensure_ascii=False)
