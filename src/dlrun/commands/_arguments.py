"""The arguments of commands: a parser whose errors are one line, types of values, and what commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from dlrun.errors import ConfigError, command, did_you_mean
from dlrun.storage.disk import writing

_IS = "\0"  # marks where argparse's colon after the name of an option becomes `is`


class CommandParser(argparse.ArgumentParser):
    """The parser of the command `dlrun NAME`; a wrong command line is a ConfigError.

    Args:
        description: what stands above the arguments in its help; a leading `dlrun NAME`: is left out.
        epilog: what stands below them, its line breaks kept.
    """

    def __init__(self, name: str, description: str | None, epilog: str = "") -> None:
        super().__init__(
            f"dlrun {name}",
            description=_described(name, description),
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # what is cut short today may mean two options tomorrow
        )
        self._name = name

    def error(self, message: str) -> NoReturn:
        """Raise the ConfigError that says what is wrong, and where it is explained."""
        _, unknown, words = message.partition("unrecognized arguments: ")
        near = ""
        if unknown and words.startswith("-"):
            near = did_you_mean(words.split()[0].partition("=")[0], self._option_string_actions)
        hint = near if near.endswith("?") else f"; see `{command(self._name, '--help')}`"
        message = message.removeprefix("argument ").replace(f": {_IS}", " is ", 1)
        raise ConfigError(f"{message}{hint}")


def run_parser(command: str, description: str | None, epilog: str) -> argparse.ArgumentParser:
    """A parser for RUN and `--allow`, to be completed; parse with `parse_intermixed_args`."""
    parser = CommandParser(command, description, epilog)
    parser.add_argument(
        "run", metavar="RUN", type=filled, help="a directory, a unique part of its name, or `last`"
    )
    add_allow(parser)
    return parser


def add_allow(parser: argparse.ArgumentParser) -> None:
    """The option `--allow`: what is trusted of a stored config."""
    parser.add_argument(
        "--allow",
        metavar="TARGET",
        action="append",
        type=filled,
        default=[],
        help="call this _target_ of the run's config, although no config here offers it (repeatable)",
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The option `--checkpoint`: which of a run's weights a command applies; None for those that it reported."""
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last"),
        help="which weights (default: those of the run's own test metrics, the best ones "
        "unless trainer.early_stopping.restore_best is false)",
    )


def filled(text: str) -> str:
    """The type of a word that names something: it may not be empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{_IS}empty, but must name something")
    return text


def path(text: str) -> Path:
    """The type of an option that names a file or a folder."""
    return Path(filled(text))


def add_views(parser: argparse.ArgumentParser) -> None:
    """`--tta`."""
    parser.add_argument(
        "--tta",
        metavar="N",
        type=whole(1, 64),
        default=1,
        help="of images, average the predictions for N views: the image, its mirror images where the run was trained "
        "on them, and small moves (test-time augmentation)",
    )


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"{_IS}{text or 'empty'}, but must be a whole number from {least:,} to {most:,}"
            )
        return number

    return parse


def number(least: float, most: float, *, above: bool = False) -> Callable[[str], float]:
    """The type of an option that takes a number from `least` (or only `above` it) to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above and value == least):
            rule = f"a number above {least:g}" if above else f"a number of at least {least:g}"
            raise argparse.ArgumentTypeError(
                f"{_IS}{text or 'empty'}, but must be {rule} and at most {most:g}"
            )
        return value

    return parse


def check_output(file: Path | None) -> None:
    """Refuse a file that could not be written: before the work, not after it.

    Raises:
        ConfigError: its folder is missing, or one of the two may not be written to.
    """
    if file is None:
        return
    try:
        if file.is_dir():
            raise ConfigError(f"--output is {file}, which is a folder; give a file in it")
        folder = file.parent
        if not folder.is_dir():
            raise ConfigError(f"--output is {file}, but there is no folder {folder}; make it first")
        _try_to_write(file)
    except OSError as error:
        raise _unwritable(file, error.strerror) from error


def check_output_folder(folder: Path | None) -> None:
    """Refuse a folder that could not be made or written to.

    Raises:
        ConfigError: a file stands in its way, or there is no right to write.
    """
    if folder is None:
        return
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not there.is_dir():
            raise _unwritable(folder, f"{there} is a file")
        from tempfile import TemporaryDirectory  # for its time

        with TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise _unwritable(folder, error.strerror) from error


@contextmanager
def writing_output(place: Path) -> Iterator[None]:
    """While the file or folder of `--output` is written.

    Raises:
        ConfigError: it cannot be written to.
        DiskFull: there is no room for it.
    """
    try:
        with writing(place):
            yield
    except OSError as error:
        raise _unwritable(place, error.strerror) from error


def _described(name: str, description: str | None) -> str | None:
    text = (description or "").removeprefix(f"`dlrun {name}`: ")
    return f"{text[:1].upper()}{text[1:]}" or None


def _try_to_write(file: Path) -> None:
    """Try it: permissions do not say enough, nobody can make a file in /proc."""
    is_new = not file.exists()
    if is_new or file.is_file():  # a pipe would wait for its reader
        file.open("ab").close()
    if is_new:
        file.unlink()


def _unwritable(place: Path, reason: str | None) -> ConfigError:
    return ConfigError(
        f"--output is {place}, which cannot be written to ({reason}); choose another place"
    )
