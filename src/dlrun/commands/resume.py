"""`dlrun resume`: continue a stopped, killed or finished run from its last checkpoint."""

from __future__ import annotations

import argparse

from dlrun.commands._reading import add_allow, import_from_here
from dlrun.runs import find_run

_EPILOG = """\
examples
  dlrun resume last
  dlrun resume outputs/runs/2026-01-31_12-00-00_digits_cnn_1a2b3c trainer.max_epochs=40
  dlrun resume digits_cnn optimizer.lr=1e-4
"""


def main(argv: list[str]) -> int:
    """Resume RUN with changed values; the exit code of training."""
    parser = argparse.ArgumentParser(
        "dlrun resume",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", metavar="RUN", help="a directory, a unique part of its name, or `last`"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="values to change from here on"
    )
    add_allow(parser)
    arguments = parser.parse_intermixed_args(argv)

    from dlrun.restore import override, read_config

    import_from_here()
    run = find_run(arguments.run)
    plain = read_config(run, allowed=arguments.allow)
    if arguments.overrides:
        plain = override(plain, arguments.overrides)
    from dlrun import experiment

    return experiment.resume(plain, run, overrides=arguments.overrides)
