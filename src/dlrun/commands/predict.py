"""`dlrun predict`: apply a run's model to new inputs.

Images are resized and converted to the run's own size and channels; rows and arrays hold raw values
as in the data set. All are scaled as in training. A .csv of the rows of a series is continued.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands._arguments import (
    add_checkpoint,
    add_views,
    check_output,
    filled,
    path,
    run_parser,
    whole,
)
from dlrun.commands._predictions_file import FORMS, Block, form_of, write
from dlrun.config.metrics import MEDIAN
from dlrun.errors import ConfigError
from dlrun.storage.index import find_run
from dlrun.tracking.numbers import number_text

if TYPE_CHECKING:
    from dlrun.data.base import Spec
    from dlrun.data.series.history import History
    from dlrun.inference.ensemble import Predictor
    from dlrun.inference.predictions import Cells

_EPILOG = """\
examples
  dlrun predict last photo.png
  dlrun predict last photos/ --output predictions.csv
  dlrun predict iris rows.csv --output predictions.csv
  dlrun predict last 'parts/*.parquet' --keep id --output predictions.parquet
  dlrun predict digits_cnn images.npy --output predictions.json
  dlrun predict airline_lstm passengers.csv --steps 24
"""


def main(argv: list[str]) -> int:
    """Print or write one prediction for each input."""
    arguments = _parser().parse_intermixed_args(argv)
    output: Path | None = arguments.output
    form = None if output is None else form_of(output)
    if arguments.raw_cells and (form is None or not form.is_text):
        raise ConfigError(
            "--raw-cells says how a .csv or .tsv is written: add --output FILE.csv, or leave it out"
        )
    check_output(output)
    run = find_run(arguments.run)

    from dlrun.inference.ensemble import Predictor, read_stored

    stored = read_stored(run, allowed=arguments.allow, which=arguments.checkpoint)
    stored = [replace(one, views=arguments.tta) for one in stored]
    blocks = _blocks(Predictor.load(stored, run), arguments)
    if output is None:
        for block in blocks:
            _print(list(block.records()), arguments.keep)
        return 0
    print(f"{write(blocks, output, raw=arguments.raw_cells)} predictions in {output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = run_parser("predict", __doc__, _EPILOG)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        type=Path,
        help="what the run was trained on: an image, rows of a table (.csv, .tsv, .parquet, .feather, .jsonl, .xlsx), "
        "texts, a series, a .npy or .npz; or a folder or a quoted glob of such files",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=path, help=f"write to FILE instead of the screen: {FORMS}"
    )
    parser.add_argument(
        "--keep",
        metavar="COLUMNS",
        type=_names,
        default=[],
        help="columns of the input, as in id,name, that name each prediction instead of its file and row",
    )
    parser.add_argument(
        "--no-probabilities",
        action="store_true",
        help="leave out the probability of each class",
    )
    parser.add_argument(
        "--raw-cells",
        action="store_true",
        help="leave cells of text files as they are; else those that a spreadsheet takes for a formula begin with '",
    )
    add_checkpoint(parser)
    add_views(parser)
    parser.add_argument(
        "--steps",
        metavar="N",
        type=whole(1, 10**6),
        help="rows of a series to forecast, after its last one (default: the run's horizon)",
    )
    return parser


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in filled(text).split(",")))
    return [filled(name) for name in names]


def _blocks(predictor: Predictor, arguments: argparse.Namespace) -> Iterator[Block]:
    """The predictions for the inputs in the files, or for the rows that series are continued by."""
    from dlrun.data.kinds import files_of, read_inputs, read_pieces
    from dlrun.data.series.scaling import SeriesScaling
    from dlrun.inference.predictions import predictions_of

    spec, preprocessing = predictor.spec, predictor.reference.preprocessing
    files = [file for given in arguments.inputs for file in files_of(given, spec, preprocessing)]
    if isinstance(preprocessing, SeriesScaling):
        if arguments.keep:
            raise ConfigError(
                "--keep is for rows of a table, and this run forecasts a series; leave it out"
            )
        for file in files:
            every = [read_inputs(file, one.spec, one.preprocessing) for one in predictor.members]
            for histories in _side_by_side(file, every):
                rows = _forecasts(file, histories, predictor, arguments.steps)
                yield Forecasts(list(rows))
        return
    if arguments.steps is not None:
        raise ConfigError(
            f"--steps continues a series, but this run was trained on {spec.kind}; leave it out"
        )
    if spec.task == "reconstruction":
        from dlrun.config.settings import parse
        from dlrun.inference.anomalies import anomalies

        settings = parse(predictor.stored[0].plain)
        pieces = read_pieces(files, spec, preprocessing, arguments.keep)
        yield from anomalies(predictor.reference, settings, pieces)
        return
    with_probabilities = not arguments.no_probabilities
    yield from predictions_of(
        predictor, files, arguments.keep, with_probabilities=with_probabilities
    )


def _side_by_side(file: Path, every: list[list[History]]) -> Iterable[tuple[History, ...]]:
    """Each series in a file as each member takes it."""
    names = [[history.series for history in histories] for histories in every]
    if any(own != names[0] for own in names):
        raise ConfigError(
            f"{file}: the members of the ensemble do not forecast the same series of it; predict with them one by one"
        )
    return zip(*every, strict=True)


@dataclass(frozen=True)
class Forecasts:
    """The rows that come after those of a file."""

    rows: Sequence[dict[str, Any]]

    def records(self) -> Iterator[dict[str, Any]]:
        """One for each row."""
        yield from self.rows

    def columns(self) -> dict[str, Cells]:
        """By name, each target's own among them."""
        from dlrun.inference.predictions import Cells

        rows = list(map(_flat, self.rows))
        return {name: Cells(type(rows[0][name]), [row[name] for row in rows]) for name in rows[0]}


def _forecasts(
    path: Path, histories: Sequence[History], predictor: Predictor, steps: int | None
) -> Iterable[dict[str, Any]]:
    """The rows that come after those of a series in a file, numbered on from its own."""
    history = histories[0]
    forecast, by_quantile = _continued(histories, predictor, steps)
    names = history.scaling.target_columns
    series = {"series": history.series} if history.series else {}
    for ahead, values in enumerate(forecast, 1):
        time = {} if history.ahead is None else {"time": history.ahead.time(ahead)}
        row = history.known + ahead - 1
        yield {
            "input": str(path),
            **series,
            "row": row,
            **time,
            "targets": names,
            **_values(values, by_quantile, ahead - 1, predictor.spec),
        }


def _continued(
    histories: Sequence[History], predictor: Predictor, steps: int | None
) -> tuple[Any, Any]:
    """The values (steps, D) that follow and their quantiles (steps, D, Q) or None: the averages over the members.

    Beyond the horizon each member goes on from its own forecasts.
    """
    import numpy as np

    from dlrun.data.series.history import continued
    from dlrun.inference.averaging import places_in
    from dlrun.inference.evaluate import predict

    names, found = histories[0].scaling.target_columns, []
    for history, member in zip(histories, predictor.members, strict=True):
        own = replace(member, preprocessing=history.scaling)
        values, quantiles = continued(
            history.rows_RC, history.scaling, steps=steps, predict=partial(predict, own)
        )
        at = places_in(names, history.scaling.target_columns)
        found.append((values[:, at], None if quantiles is None else quantiles[:, at]))
    if not predictor.is_ensemble:
        return found[0]
    every, spreads = zip(*found, strict=True)
    mean = np.average(every, 0, predictor.shares)
    return mean, None if spreads[0] is None else np.average(spreads, 0, predictor.shares)


def _values(predicted_D: Any, quantiles_NDQ: Any, at: int, spec: Spec) -> dict[str, Any]:
    """The predicted values of sample `at`, and its quantiles by name where there are any."""
    values = {"prediction": predicted_D.tolist()}
    if quantiles_NDQ is None:
        return values
    names = [f"{quantile:g}" for quantile in spec.quantiles]
    columns = quantiles_NDQ[at].T.tolist()
    return {**values, "quantiles": dict(zip(names, columns, strict=True))}


def _print(records: list[dict[str, Any]], keep: Sequence[str]) -> None:
    """A line each: the prediction and, of a classifier, the three likeliest classes."""
    names = _printed_names(records, keep)
    width = max(map(len, names))
    for name, record in zip(names, records, strict=True):
        print(f"{name:<{width}}  {_printed(record)}")


def _printed_names(records: list[dict[str, Any]], keep: Sequence[str]) -> list[str]:
    if keep:
        return [", ".join(str(record[name]) for name in keep) for record in records]
    many = {record["input"] for record in records if record["row"] > 0}
    return [
        f"{record['input']}[{record['row']}]" if record["input"] in many else record["input"]
        for record in records
    ]


def _printed(record: dict[str, Any]) -> str:
    if "anomaly_score" in record:
        score = f"anomaly score {number_text(record['anomaly_score'])}"
        return f"{score}  (anomaly)" if record.get("anomaly") == "yes" else score
    prediction = record["prediction"]
    if prediction is None:
        return "(no text)"
    if isinstance(prediction, list | dict):
        when = [record[key] for key in ("series", "time") if key in record]
        return "  ".join([*when, *_shown(record)])
    if "probabilities" not in record:
        return str(prediction)
    likeliest = sorted(record["probabilities"].items(), key=lambda item: -item[1])[:3]
    shown = "  ".join(f"{label} {chance:.1%}" for label, chance in likeliest)
    return f"{prediction}  ({shown})"


def _shown(record: dict[str, Any]) -> Iterator[str]:
    """Each prediction of a sample, after the name of its target, before the probability of yes or other quantiles."""
    prediction = record["prediction"]
    several = isinstance(prediction, dict)
    names = [*prediction] if several else record.get("targets", [""] * len(prediction))
    digits = 6 if several or "targets" in record else 4
    for place, (name, value) in enumerate(
        zip(names, prediction.values() if several else prediction, strict=True)
    ):
        key = name if several else place
        more = [
            f"{quantile}: {number_text(values[key], digits=digits)}"
            for quantile, values in record.get("quantiles", {}).items()
            if quantile != f"{MEDIAN:g}"
        ]
        if "probabilities" in record:
            more = [
                f"p({name}) {record['probabilities'][name]:.1%}"
            ]  # as in a table of predictions
        shown = value if isinstance(value, str) else number_text(value, digits=digits)
        yield f"{name} {shown}".strip() + (f" ({', '.join(more)})" if more else "")


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        key: record[key] for key in ("input", "series", "row", "time") if key in record
    }
    names = record["targets"]
    columns |= dict(zip(names, record["prediction"], strict=True))
    for quantile, values in record.get("quantiles", {}).items():
        columns |= {f"{name}_q{quantile}": v for name, v in zip(names, values, strict=True)}
    return columns
