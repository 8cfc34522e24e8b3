"""What the commands that read a run back have in common."""

from __future__ import annotations

import argparse
import os
import sys


def add_allow(parser: argparse.ArgumentParser) -> None:
    """`--allow`: trust code that a run names and the own configs do not."""
    parser.add_argument(
        "--allow", metavar="TARGET", action="append", default=[],
        help="call this _target_ of the run's config, although no config here offers it (repeatable)",
    )  # fmt: skip


def import_from_here() -> None:
    """The working directory comes first on the import path: the user's own models lie there."""
    sys.path.insert(0, os.getcwd())
