"""`dlrun resume`: continue a stopped, killed or finished run from its last checkpoint."""

from __future__ import annotations

from dlrun.commands._reading import import_from_here, run_parser
from dlrun.runs import find_run

_EPILOG = """\
examples
  dlrun resume last
  dlrun resume outputs/runs/2026-01-31_12-00-00_digits_cnn_1a2b3c trainer.max_epochs=40
  dlrun resume digits_cnn optimizer.lr=1e-4
"""


def main(argv: list[str]) -> int:
    """Resume RUN with changed values; the exit code of training."""
    parser = run_parser("resume", __doc__, _EPILOG)
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="values to change from here on"
    )
    arguments = parser.parse_intermixed_args(argv)

    from dlrun.restore import override, read_config

    import_from_here()
    run = find_run(arguments.run)
    plain = read_config(run, allowed=arguments.allow)
    if arguments.overrides:
        plain = override(plain, arguments.overrides)
    from dlrun import experiment

    return experiment.resume(plain, run, overrides=arguments.overrides)
