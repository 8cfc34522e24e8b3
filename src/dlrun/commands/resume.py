"""`dlrun resume`: continue a run from its last checkpoint, or a sweep with the trials that are missing."""

from __future__ import annotations

from pathlib import Path

from dlrun.commands._reading import import_from_here, run_parser
from dlrun.errors import ConfigError
from dlrun.runs import LAST, OUTPUTS, find_run, run_paths
from dlrun.sweep.directory import SweepDirectory, is_sweep
from dlrun.sweep.finding import find_sweep, sweep_paths

_EPILOG = """\
A SWEEP is its directory, any unique part of its name, or `last` if its trials are the newest runs. It
goes on with the trials that are missing, inside those that were under way; none runs twice. What it asks
cannot change, but how far it goes: sweep.trials, sweep.fail_fast, hydra/launcher and the launcher's settings.

examples
  dlrun resume last
  dlrun resume outputs/runs/2026-01-31_12-00-00_digits_cnn_1a2b3c trainer.max_epochs=40
  dlrun resume digits_cnn optimizer.lr=1e-4
  dlrun resume outputs/sweeps/2026-01-31_12-00-00_digits_1a2b3c sweep.trials=100
"""


def main(argv: list[str]) -> int:
    """Resume RUN, or the sweep of that name, with changed values; the exit code of training."""
    parser = run_parser("resume", __doc__, _EPILOG)
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="values to change from here on"
    )
    arguments = parser.parse_intermixed_args(argv)
    import_from_here()
    from dlrun.overrides import readable_words

    words = readable_words(arguments.overrides)
    if (sweep := _sweep(arguments.run)) is not None:
        return _resume_sweep(sweep, words, arguments.allow)

    from dlrun.restore import override, read_config

    run = find_run(arguments.run)
    plain = read_config(run, allowed=arguments.allow)
    if words:
        plain = override(plain, words)
    from dlrun import experiment

    return experiment.resume(plain, run, overrides=words)


def _sweep(text: str) -> SweepDirectory | None:
    """The sweep that `text` means, None where it means a run."""
    if text == LAST:
        newest = find_run(LAST).path
        above = (folder for folder in list(newest.parents)[:2] if is_sweep(folder))
        return next((SweepDirectory(folder) for folder in above), None)
    if is_sweep(Path(text)):
        return SweepDirectory(Path(text))
    if not any(text in path.name for path in sweep_paths()):
        return None
    sweep = find_sweep(text)
    if any(text in path.name for path in run_paths(OUTPUTS) if sweep.path not in path.parents):
        raise ConfigError(f"{text} fits {sweep.path} and a run: give more of the name")
    return sweep


def _resume_sweep(sweep: SweepDirectory, words: list[str], allowed: list[str]) -> int:
    """Type the sweep's own command again, with its directory and the changed `words`."""
    from dlrun.commands import train
    from dlrun.restore import trusting_only
    from dlrun.sweep.again import command_words, config_folders
    from dlrun.sweep.grammar import text_of

    again = command_words(sweep, words, allowed=allowed)
    with trusting_only(allowed, folders=config_folders(allowed)):
        return train.main([*again, f"hydra.sweep.dir={text_of(str(sweep.path))}"])
