"""`dlrun resume`: continue a run from its last checkpoint, or a sweep with the trials that are missing."""

from __future__ import annotations

from dlrun.commands._arguments import run_parser
from dlrun.errors import ConfigError
from dlrun.storage.index import find_run_or_sweep
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.sweep_directory import SweepDirectory

_EPILOG = """\
A SWEEP is named like a run: by its directory, a unique part of its name, or `last` if it is the newest. The
missing trials are trained, and the interrupted ones are resumed; no trial runs twice. What is searched does
not change. These can be changed:
  how far it goes     sweep.trials, sweep.budget, sweep.patience, sweep.fail_fast
  how it is trained   hydra/launcher and its settings, sweep.trials_per_gpu, sweep.stack, sweep.max_stack
  what its end shows  sweep.columns, sweep.ranking, sweep.report, sweep.raw_cells

examples
  dlrun resume last
  dlrun resume outputs/runs/2026-01-31_12-00-00_digits_cnn_1a2b3c trainer.max_epochs=40
  dlrun resume digits_cnn optimizer.lr=1e-4
  dlrun resume outputs/sweeps/2026-01-31_12-00-00_digits_1a2b3c sweep.trials=100
  dlrun resume outputs/sweeps/2026-01-31_12-00-00_digits_1a2b3c sweep.budget=4h
"""


def main(argv: list[str]) -> int:
    """Resume RUN, or the sweep of that name, with changed values; the exit code of training."""
    parser = run_parser("resume", __doc__, _EPILOG)
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="values to change from here on",
    )
    parser.add_argument(
        "--no-driver",
        action="store_true",
        help="of a sweep: change it, as in sweep.trials=60, and leave the training to `dlrun work`",
    )
    arguments = parser.parse_intermixed_args(argv)
    from dlrun.config.overrides import note_repeated, readable_words, refuse_unreadable

    refuse_unreadable(arguments.overrides)
    note_repeated(arguments.overrides)
    words = readable_words(arguments.overrides)
    place = find_run_or_sweep(arguments.run)
    if isinstance(place, SweepDirectory):
        from dlrun.sweep.quota import acting_as

        drives = not arguments.no_driver
        with acting_as("drive" if drives else "prepare"):
            return rerun(place, words, arguments.allow, launching=drives)
    if arguments.no_driver:
        raise ConfigError(f"--no-driver is for a sweep, but {arguments.run} is a run: leave it out")
    from dlrun.data.files import settings_read_back

    with settings_read_back():
        return _resume_run(place, words, arguments.allow)


def _resume_run(run: RunDirectory, words: list[str], allowed: list[str]) -> int:
    from dlrun.inference.load import override, read_config

    plain = read_config(run, allowed=allowed)
    if words:
        plain = override(plain, words)
    from dlrun.runner import launch

    return launch.go_on(plain, run, overrides=words)


def rerun(
    sweep: SweepDirectory, words: list[str], allowed: list[str], *, launching: bool = True
) -> int:
    """Run the sweep's own command once more, with its directory and the changed `words`.

    Args:
        launching: with the launcher that it had, if any.
    """
    from dlrun.commands import train
    from dlrun.config.trust import trusting_only
    from dlrun.data.files import settings_read_back
    from dlrun.sweep.resume import allowed_folders, command_words
    from dlrun.sweep.space.grammar import text_of

    first = command_words(sweep, words, allowed=allowed, launching=launching)
    with settings_read_back(), trusting_only(allowed, folders=allowed_folders(allowed)):
        return train.run_hydra([*first, f"hydra.sweep.dir={text_of(str(sweep.path))}"])
