"""`dlrun report`: what a sweep found, as one page to read and as pictures to use."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from dlrun.commands._arguments import CommandParser, filled
from dlrun.errors import ConfigError
from dlrun.storage.index import find_sweep

_EPILOG = """\
The page, report.html, works offline and can be passed on as one file: the best setting with the command
that trains it again, the ten best trials, learning curves, and what each parameter did. The same
figures lie beside it as PNG, in report/.

The report of a running sweep has the trials up to now; call it again later for more.

examples
  dlrun report last                         the sweep that was just trained
  dlrun report last --open                  and show it in the browser
  dlrun report outputs/sweeps/SWEEP
"""


def main(argv: list[str]) -> int:
    """Write the report of the sweep that the arguments name."""
    arguments = _parser().parse_args(argv)
    sweep = find_sweep(arguments.sweep)
    _check_writable(sweep.path)
    from dlrun.sweep.report.page import write_report

    written = write_report(sweep)
    print(f"report    {written.page}")
    if written.pictures:
        count = len(written.pictures)
        print(f"pictures  {sweep.report_folder}/ ({count} PNG)")
    if arguments.open:
        import webbrowser

        if not webbrowser.open(written.page.resolve().as_uri()):
            print("No browser was found to open it with.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "report", "Write the results of a sweep as one web page, and its figures as PNG.", _EPILOG
    )
    help_sweep = "its directory, a unique part of its name, or `last`"
    parser.add_argument("sweep", metavar="SWEEP", type=filled, help=help_sweep)
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


def _check_writable(folder: Path) -> None:
    """Refuse a sweep's folder in which no report can be written, before the work.

    Raises:
        ConfigError: there is no right to write in it, or its disk takes nothing.
    """
    try:
        with TemporaryDirectory(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written to ({error.strerror}), and a report is written in the sweep's folder: copy "
            "the sweep to a place of your own, and report the copy"
        ) from error
