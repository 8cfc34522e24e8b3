"""TensorBoard as `dlrun tensorboard` starts it: its own main, with names and columns that show what a sweep varies.

The trials of a sweep are named by what they set, and not by their numbers alone. TensorBoard's HParams tab would list
every scalar as a metric and show the first five by name: gradient norm, learning rate and speed. Here it lists only
the metrics that say how well a run did, with the sweep's objective first, and the settings that the sweep varies first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app
from tensorboard import default, main_lib, program
from tensorboard.plugins.base_plugin import FlagsError
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin

from dlrun.commands._named_trials import NamedTrials
from dlrun.storage.sweep_directory import is_sweep

_PARTS = ("val", "test", "train")
_PICTURES = 100  # of one tag; TensorBoard's own ten would make a decision boundary jump


def main(first: Sequence[str]) -> None:
    """Serve as the arguments in sys.argv say, until interrupted."""

    class Plugin(HParamsPlugin):
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self._context = _Context(context, first)

    main_lib.global_init()
    _name_trials()
    _show_motion()
    plugins = [Plugin if plugin is HParamsPlugin else plugin for plugin in default.get_plugins()]
    tensorboard = program.TensorBoard(plugins=plugins)
    try:
        app.run(tensorboard.main, flags_parser=tensorboard.configure)
    except FlagsError as error:
        sys.exit(f"Error: {error}")


class _Context(Context):
    """What all parts of the plugin take the columns from.

    Args:
        first: the settings and metrics to begin with, in their order.
    """

    def __init__(self, context: Any, first: Sequence[str]) -> None:
        super().__init__(context)
        self._first = first

    def experiment_from_metadata(self, *args: Any, **options: Any) -> Any:
        """The columns, as a message to fill in and pass on."""
        experiment = super().experiment_from_metadata(*args, **options)
        settings = sorted(experiment.hparam_infos, key=lambda info: self._place(info.name))
        metrics = [info for info in experiment.metric_infos if "/" in info.name.tag]
        metrics.sort(key=lambda info: (self._place(info.name.tag), _part(info.name.tag)))
        for field, infos in (("hparam_infos", settings), ("metric_infos", metrics)):
            experiment.ClearField(field)
            getattr(experiment, field).extend(infos)
        return experiment

    def _place(self, name: str) -> int:
        return self._first.index(name) if name in self._first else len(self._first)


def _part(metric: str) -> int:
    part = metric.partition("/")[0]
    return _PARTS.index(part) if part in _PARTS else len(_PARTS)


def _show_motion() -> None:
    """Keep as many pictures of a kind as a short run draws, where the user does not say how many."""
    if not any(word.startswith("--samples_per_plugin") for word in sys.argv):
        sys.argv += ["--samples_per_plugin", f"images={_PICTURES}"]


def _name_trials() -> None:
    """Let a log folder that is a sweep be one of links with names."""
    place = sys.argv.index("--logdir") + 1
    if is_sweep(Path(sys.argv[place])):
        trials = NamedTrials(Path(sys.argv[place]))
        trials.refresh()
        trials.follow()
        sys.argv[place] = str(trials.folder)


if __name__ == "__main__":
    main(sys.argv.pop(1).split(","))
