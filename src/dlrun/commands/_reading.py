"""What the commands that read a run back have in common."""

from __future__ import annotations

import argparse

from dlrun.commands._arguments import CommandParser, filled


def run_parser(command: str, description: str | None, epilog: str) -> argparse.ArgumentParser:
    """A parser for RUN and `--allow`, to be completed; parse with `parse_intermixed_args`."""
    parser = CommandParser(command, description, epilog)
    parser.add_argument(
        "run", metavar="RUN", type=filled, help="a directory, a unique part of its name, or `last`"
    )
    parser.add_argument(
        "--allow",
        metavar="TARGET",
        action="append",
        type=filled,
        default=[],
        help="call this _target_ of the run's config, although no config here offers it (repeatable)",
    )
    return parser


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The option `--checkpoint`: which of a run's weights a command applies; None for those that it reported."""
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last"),
        help="which weights (default: those of the run's own test metrics, the best ones "
        "unless trainer.early_stopping.restore_best is false)",
    )
