"""What a person sees while a run trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from dlrun.system.terminal import make_console
from dlrun.tracking.numbers import number_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

log = logging.getLogger(__name__)

_REDRAW_SECONDS = 0.2  # a drawing takes 0.4 ms, as long as several steps of a small model
_BAR_COLUMNS = 20  # at most; an eighth of a narrow terminal


class Progress:
    """Shows steps, losses, metric, rate and time left of one run.

    Args:
        start_step, total_steps: where this process begins, and the end.
        quiet: values go to the log alone.
    """

    def __init__(
        self, *, start_step: int, total_steps: int, steps_per_epoch: int, quiet: bool = False
    ) -> None:
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.start_step, self.started = start_step, time.monotonic()
        self.quiet = quiet
        self.values: dict[str, float] = {}
        self.bar = None if quiet else _bar(start_step, total_steps)
        self.show(start_step, {})

    def advance(self, steps: int) -> None:
        """So many more steps."""
        if self.bar is not None:
            self.bar.advance(steps)

    def show(self, step: int, values: dict[str, float]) -> None:
        """New training values; only a live bar shows them."""
        self.values |= values
        if self.bar is not None:
            self.bar.text = f"{self._position(step)}  {format_values(self.values)}"

    def report(self, step: int, values: dict[str, float]) -> None:
        """The values of an evaluation: a line in the log, and on the screen where there is no bar."""
        self.show(step, values)
        left = _time_left(self.started, step - self.start_step, self.total_steps - step)
        line = f"{self._position(step)}  {format_values(self.values)}  {left}"
        log.info(line)
        if self.bar is None and not self.quiet:
            print(line, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()

    def _position(self, step: int) -> str:
        epoch = -(-step // self.steps_per_epoch)
        epochs = -(-self.total_steps // self.steps_per_epoch)
        return (
            f"epoch {epoch:>{len(str(epochs))}}/{epochs}  step {step:>{len(str(self.total_steps))}}"
        )


class Bar:
    """A bar with a text beside it, on one line of a terminal that is drawn again in place."""

    def __init__(self, console: Console, step: int, total_steps: int) -> None:
        from rich.live import Live

        self.text = ""
        self._first, self._step, self._total = step, step, total_steps
        self._console, self._started = console, time.monotonic()
        # Streams are not redirected: rich would break other lines where the terminal ends.
        self._live = Live(
            console=console,
            get_renderable=self._line,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start(refresh=True)
        self._drawn = self._started
        console.show_cursor(True)  # as it is to be after a kill as well

    def advance(self, steps: int) -> None:
        """More steps, which show when the bar is drawn next."""
        self._step += steps
        now = time.monotonic()
        if now - self._drawn >= _REDRAW_SECONDS:
            self._live.refresh()
            self._drawn = now

    def close(self) -> None:
        """Draw the last state, and go to the next line."""
        self._live.stop()

    def _line(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(width=4)
        line.add_column(width=min(_BAR_COLUMNS, self._console.width // 8))
        line.add_column(ratio=1, no_wrap=True, overflow="crop")
        done = ProgressBar(total=self._total, completed=self._step)
        text = self.text
        if steps := self._step - self._first:
            text = f"{_time_left(self._started, steps, self._total - self._step)}  {text}"
        line.add_row(f"{self._step / self._total:4.0%}", done, Text(text))
        return line


def _bar(step: int, total_steps: int) -> Bar | None:
    """A bar on a terminal that can draw one in place."""
    if not sys.stderr.isatty():
        return None
    console = make_console(sys.stderr, force_terminal=True)
    return None if console.is_dumb_terminal else Bar(console, step, total_steps)


def _time_left(started: float, done: int, to_do: int) -> str:
    """How long the steps `to_do` will take if they take as long as those `done` since `started`."""
    seconds = (time.monotonic() - started) / max(1, done) * to_do
    return f"{timedelta(seconds=round(seconds))} left"


def format_values(values: dict[str, float]) -> str:
    """`12,345 samples/s  train/loss 0.123  val/accuracy 0.987`: the rate, then what was learned, over all targets."""
    rate = values.get("samples_per_second")
    words = [
        f"{name} {number_text(value)}" for name, value in values.items() if name.count("/") == 1
    ]
    return "  ".join([*([f"{rate:,.0f} samples/s"] if rate else []), *words])
