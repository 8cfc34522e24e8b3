"""What a person sees while a run trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta

from dlrun.system.terminal import itself
from dlrun.tracking.numbers import number_text

log = logging.getLogger(__name__)


class Progress:
    """Shows steps, losses, metric, rate and time left of one run.

    Args:
        start_step, total_steps: where this process begins, and the end.
        quiet: only the log is told.
    """

    def __init__(
        self, *, start_step: int, total_steps: int, steps_per_epoch: int, quiet: bool = False
    ) -> None:
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.start_step, self.started = start_step, time.monotonic()
        self.quiet = quiet
        self.bar = _bar(start_step, total_steps) if sys.stderr.isatty() and not quiet else None
        self.values: dict[str, float] = {}
        self.show(start_step, {})

    def advance(self) -> None:
        """One more step."""
        if self.bar is not None:
            self.bar.update()

    def show(self, step: int, values: dict[str, float]) -> None:
        """New training values; only a live bar shows them."""
        self.values |= values
        if self.bar is not None:
            text = f"{self._position(step)}  {format_values(self.values)}"
            self.bar.set_description_str(text, refresh=False)

    def report(self, step: int, values: dict[str, float]) -> None:
        """The values of an evaluation: a line in the log, and on the screen where there is no bar."""
        self.show(step, values)
        line = f"{self._position(step)}  {format_values(self.values)}  {self._left(step)}"
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

    def _left(self, step: int) -> str:
        done = max(1, step - self.start_step)
        seconds = (time.monotonic() - self.started) / done * (self.total_steps - step)
        return f"{timedelta(seconds=round(seconds))} left"


def format_values(values: dict[str, float]) -> str:
    """`12,345 samples/s  train/loss 0.123  val/accuracy 0.987`: the rate, then what was learned."""
    rate = values.get("samples_per_second")
    words = [f"{name} {number_text(value)}" for name, value in values.items() if "/" in name]
    return "  ".join([*([f"{rate:,.0f} samples/s"] if rate else []), *words])


def _bar(start_step: int, total_steps: int):  # type: ignore[no-untyped-def]
    from tqdm import tqdm

    return tqdm(
        total=total_steps,
        initial=start_step,
        unit="step",
        dynamic_ncols=True,
        file=itself(sys.stderr),
        bar_format="{percentage:3.0f}% |{bar:20}| {remaining} left  {desc}",
    )
