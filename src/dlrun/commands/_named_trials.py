"""The trials of a sweep under names that say what each sets, for TensorBoard's list of runs."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
import threading
from pathlib import Path

from dlrun.storage.run_summary import read_run
from dlrun.sweep.leaderboard import setting_name

_SECONDS = 2.0  # between two looks for trials that have begun
_LONGEST = 120  # characters of a name


class NamedTrials:
    """A folder outside of the sweep with a link to the event files of each trial: `3 lr=0.1 momentum=0.9`."""

    def __init__(self, sweep: Path) -> None:
        self.sweep = sweep.absolute()
        self.folder = Path(tempfile.mkdtemp(prefix="dlrun-"))
        self._linked: set[Path] = set()
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)

    def refresh(self) -> None:
        """Link the trials that have event files by now."""
        for events in (*self.sweep.glob("*/tensorboard"), *self.sweep.glob("*/seed*/tensorboard")):
            if events not in self._linked and (name := self._name(events.parent)):
                link = self.folder / name
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(events, target_is_directory=True)
                self._linked.add(events)

    def follow(self) -> None:
        """Go on refreshing, as long as this process lives."""
        wait = threading.Event()

        def look() -> None:
            while not wait.wait(_SECONDS):
                self.refresh()

        threading.Thread(target=look, daemon=True).start()

    def _name(self, run: Path) -> str:
        """`3 lr=0.1` or `3 lr=0.1/seed0`; empty before the run has said what it is."""
        swept = read_run(run).swept
        if not swept:
            return ""
        trial, *seed = run.relative_to(self.sweep).parts
        # No slash, which would be a folder, and nothing that a log folder's list would split at.
        setting = re.sub(r"[/\\:\0]", "_", setting_name(swept))
        return "/".join([f"{trial} {setting}"[:_LONGEST], *seed])
