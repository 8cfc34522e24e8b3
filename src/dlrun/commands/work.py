"""`dlrun work`: train trials of a sweep, beside any number of other processes, until none is left."""

from __future__ import annotations

from dlrun.commands._arguments import CommandParser, add_allow, filled, number, whole
from dlrun.storage.index import find_sweep
from dlrun.storage.shared_locks import at_work

_MOST_TRIALS, _MOST_MINUTES = 10**6, 10**6
_EPILOG = """\
Start it in a second terminal, by ssh, or as jobs of a cluster: wherever the folder of the sweep is seen, from the
folder with the same configs. Each trial is trained by one process. One that dies costs its trials the time since
their last checkpoint: another goes on with them. It ends when the sweep is over, and the last one prints the result.

examples
  dlrun train sweep=random 'optimizer.lr=interval(0.01,0.5)' --no-driver
  dlrun work last
  dlrun work last --trials 1
  dlrun work last --minutes 110
  CUDA_VISIBLE_DEVICES=1 dlrun work last
"""


def main(argv: list[str]) -> int:
    """Train trials of SWEEP; the exit code, 1 where one failed."""
    parser = CommandParser("work", __doc__, _EPILOG)
    parser.add_argument(
        "sweep",
        metavar="SWEEP",
        type=filled,
        help="a directory, a unique part of its name, or `last`",
    )
    parser.add_argument(
        "--trials", metavar="N", type=whole(1, _MOST_TRIALS), help="train at most so many here"
    )
    parser.add_argument(
        "--minutes",
        metavar="M",
        type=number(0, _MOST_MINUTES, above=True),
        help="stop after so long: what is trained then is saved, and others go on with it",
    )
    parser.add_argument(
        "--forever",
        action="store_true",
        help="when the sweep is over, wait for `dlrun resume SWEEP sweep.trials=...` to add trials, until a signal",
    )
    add_allow(parser)
    arguments = parser.parse_args(argv)
    sweep = find_sweep(arguments.sweep)
    # Counted from now on, before anything heavy is loaded: who starts at the same time is to share the trials.
    with at_work(sweep):
        from dlrun.commands.resume import rerun
        from dlrun.sweep.quota import Limits, acting_as

        limits = Limits(arguments.trials, arguments.minutes, forever=arguments.forever)
        with acting_as(limits):
            return rerun(sweep, [], arguments.allow, launching=False)
