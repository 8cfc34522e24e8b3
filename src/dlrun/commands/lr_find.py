"""`dlrun lr-find`: suggest a learning rate, by the learning-rate range test.

The model is trained on a few hundred batches while the rate rises from step to step. The rate with the lowest
loss is almost too high: a tenth of it is suggested. If the loss still falls at the highest rate, higher rates
are to be tested first. The trained weights are not kept.
"""

from __future__ import annotations

import argparse
import secrets
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.commands._arguments import (
    CommandParser,
    check_output_folder,
    number,
    path,
    whole,
    writing_output,
)
from dlrun.commands._text import pairs
from dlrun.commands._train_words import composed_run
from dlrun.errors import ConfigError, command
from dlrun.storage.index import OUTPUTS
from dlrun.tracking.numbers import number_text

if TYPE_CHECKING:
    from dlrun.training.lr_range_test import RangeTest

_LEAST_RATE, _MOST_RATE = 1e-30, 1e6
_FEWEST_STEPS, _MOST_STEPS = 10, 10**6  # fewer show no curve
_NEXT_DECADE = 10
_EPILOG = """\
examples
  dlrun lr-find model=cnn dataset=mnist
  dlrun lr-find experiment=mnist_mlp optimizer=momentum --steps 300
  dlrun lr-find dataset=char_lm model=char_lstm --from 1e-5 --to 1
"""


def main(argv: list[str]) -> int:
    """Run the test, write its curve and print what follows."""
    arguments = _parser().parse_intermixed_args(argv)
    low, high, steps = arguments.low, arguments.high, arguments.steps
    if not low < high:
        raise ConfigError(
            f"--from is {low:g} and --to is {high:g}, but the rate must rise: set --from below --to"
        )
    check_output_folder(arguments.output)
    plain = composed_run(arguments.overrides)

    from dlrun.config.settings import parse
    from dlrun.training.build import assemble
    from dlrun.training.device_errors import memory_for_steps
    from dlrun.training.lr_range_test import draw_curve, range_test, write_curve

    settings = parse(plain)
    experiment = assemble(settings)
    started = time.perf_counter()
    samples, device = len(experiment.data.train), experiment.device.torch_device
    with memory_for_steps(settings.trainer, samples, device):
        test = range_test(experiment.engine, low=low, high=high, steps=steps)
    seconds = time.perf_counter() - started
    folder = arguments.output or _folder(settings.name)
    with writing_output(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_curve(test, folder / "lr_find.csv")
        draw_curve(test, folder / "lr_find.png", title=settings.name)
    rows = [
        *_rates(test),
        ("tested", f"{low:g} to {_rate(test.rates[-1])}, {_end(test)}"),
        ("took", f"{len(test.rates)} steps of {steps}, {seconds:.1f} s"),
        ("curve", f"{folder / 'lr_find.png'}, lr_find.csv beside it"),
        ("next", _next(test, arguments)),
    ]
    print(pairs(rows, indent=""))
    return 0


def _rates(test: RangeTest) -> list[tuple[str, str]]:
    if test.still_falls:
        return [("suggested", "none yet: test higher rates first")]
    return [
        ("suggested", f"{_rate(test.suggested_rate):<9} a tenth of the rate with the lowest loss"),
        ("steepest", f"{_rate(test.steepest_rate):<9} where the loss falls fastest"),
        (
            "lowest",
            f"{_rate(test.lowest_rate):<9} where the loss is lowest, close to divergence",
        ),
    ]


def _rate(rate: float) -> str:
    return number_text(rate, digits=2)


def _end(test: RangeTest) -> str:
    if test.diverged:
        return "where the loss diverged"
    return "where the loss still falls" if test.still_falls else "without divergence of the loss"


def _next(test: RangeTest, arguments: argparse.Namespace) -> str:
    words = [word for word in arguments.overrides if not word.startswith("optimizer.lr=")]
    if not test.still_falls:
        return command("train", *words, f"optimizer.lr={_rate(test.suggested_rate)}")
    asked = [] if arguments.output is None else ["--output", arguments.output]
    low, high = f"{arguments.low:g}", f"{_NEXT_DECADE * arguments.high:g}"
    return command(
        "lr-find", *words, "--from", low, "--to", high, "--steps", arguments.steps, *asked
    )


def _folder(name: str) -> Path:
    moment = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return OUTPUTS / "lr_find" / f"{moment}_{name}_{secrets.token_hex(3)}"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("lr-find", __doc__, _EPILOG)
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="choices and values, as of `dlrun train`",
    )
    parser.add_argument(
        "--from",
        dest="low",
        metavar="RATE",
        type=number(_LEAST_RATE, _MOST_RATE),
        default=1e-6,
        help="the first and lowest rate (default: 1e-6)",
    )
    parser.add_argument(
        "--to",
        dest="high",
        metavar="RATE",
        type=number(_LEAST_RATE, _MOST_RATE),
        default=10.0,
        help="the last and highest rate (default: 10)",
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        type=whole(_FEWEST_STEPS, _MOST_STEPS),
        default=200,
        help="at most N batches (default: 200)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=path,
        help="where the curve goes (default: outputs/lr_find/…)",
    )
    return parser
