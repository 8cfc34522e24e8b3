"""`dlrun predict`: apply a run's model to new inputs.

Images are resized and converted to the run's own size and channels; rows and arrays hold raw values
as in the data set. All are scaled as in training. A .csv of the rows of a series is continued.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dlrun.commands._arguments import (
    add_checkpoint,
    check_output,
    path,
    run_parser,
    whole,
    writing_output,
)
from dlrun.config.metrics import MEDIAN
from dlrun.errors import ConfigError
from dlrun.storage.disk import writing
from dlrun.storage.index import find_run
from dlrun.storage.spreadsheets import cells
from dlrun.tracking.numbers import number_text

if TYPE_CHECKING:
    from dlrun.data.base import Spec
    from dlrun.data.series.history import History
    from dlrun.inference.load import Trained

_TYPED = (".parquet", ".feather", ".arrow", ".ipc", ".jsonl", ".ndjson")  # of --output
_AT_ONCE = 2**14  # inputs whose predictions are held at once; whole batches
_EPILOG = """\
examples
  dlrun predict last photo.png
  dlrun predict last photos/ --output predictions.csv
  dlrun predict iris rows.csv --output predictions.csv
  dlrun predict digits_cnn images.npy --output predictions.json
  dlrun predict airline_lstm passengers.csv --steps 24
"""


def main(argv: list[str]) -> int:
    """Print or write one prediction for each input."""
    arguments = _parser().parse_intermixed_args(argv)
    output: Path | None = arguments.output
    if output is not None and output.suffix not in (".csv", ".json", *_TYPED):
        raise ConfigError(
            f"--output is {output}, but must end in .csv or .json, or one of {', '.join(_TYPED)}"
        )
    if arguments.raw_cells and (output is None or output.suffix != ".csv"):
        raise ConfigError(
            "--raw-cells says how a .csv is written: add --output FILE.csv, or leave it out"
        )
    check_output(output)
    run = find_run(arguments.run)

    from dlrun.inference.load import load_trained, read_config

    trained = load_trained(
        run, read_config(run, allowed=arguments.allow), which=arguments.checkpoint
    )
    records = _predictions(trained, arguments.inputs, arguments.steps)
    _deliver(records, output, raw=arguments.raw_cells)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = run_parser("predict", __doc__, _EPILOG)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        type=Path,
        help="an image, a folder of them, or a .npy, .npz or .csv of rows",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=path,
        help="write to FILE, .csv, .json, .jsonl, .parquet or .feather, instead of the screen",
    )
    parser.add_argument(
        "--raw-cells",
        action="store_true",
        help="leave cells of a .csv as they are; else those that a spreadsheet takes for a formula begin with '",
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--steps",
        metavar="N",
        type=whole(1, 10**6),
        help="rows of a series to forecast, after its last one (default: the run's horizon)",
    )
    return parser


def _predictions(
    trained: Trained, inputs: list[Path], steps: int | None
) -> Iterator[dict[str, Any]]:
    """A record for each input in the files, or for each row that a series is continued by."""
    from dlrun.data.kinds import files_of, read_inputs
    from dlrun.data.series.scaling import SeriesScaling

    files = [
        file for given in inputs for file in files_of(given, trained.spec, trained.preprocessing)
    ]
    for file in files:
        raw = read_inputs(file, trained.spec, trained.preprocessing)
        if isinstance(trained.preprocessing, SeriesScaling):
            for history in raw:
                yield from _forecasts(file, history, trained, steps)
        elif steps is not None:
            raise ConfigError(
                f"--steps continues a series, but this run was trained on {trained.spec.kind}; leave it out"
            )
        else:
            yield from _labels_or_values(file, raw, trained)


def _labels_or_values(path: Path, raw: Any, trained: Trained) -> Iterator[dict[str, Any]]:
    """A record for each input of a file, in its order; an empty one where a line has no text."""
    from dlrun.inference.evaluate import predict

    names = trained.spec.class_names
    blank = {"prediction": None, "probabilities": dict.fromkeys(names)}
    asked = [row for row, text in enumerate(raw) if text] if isinstance(raw, list) else None
    count, next_row = len(raw) if asked is None else len(asked), 0
    for start in range(0, count, _AT_ONCE):
        if asked is None:
            rows: Any = range(start, min(start + _AT_ONCE, count))
            some = raw[rows.start : rows.stop]
        else:
            rows = asked[start : start + _AT_ONCE]
            some = [raw[row] for row in rows]
        for record in _records(path, rows, *predict(trained, some), trained):
            for row in range(next_row, record["row"]):
                yield {"input": str(path), "row": row, **blank}
            next_row = record["row"] + 1
            yield record
    for row in range(next_row, len(raw)):
        yield {"input": str(path), "row": row, **blank}


def _deliver(records: Iterable[dict[str, Any]], output: Path | None, *, raw: bool) -> None:
    """Print the records, or write them to the file `output` as they come: it is there when all of them are."""
    if output is None:
        _print(list(records))
        return
    place = output.resolve()
    regular = place.is_file() or not place.exists()
    temporary = place.with_name(f".{place.name}.{os.getpid()}") if regular else place
    with writing_output(output), writing(output, temporary if regular else None):
        if output.suffix in _TYPED:
            count = _write_typed(list(records), temporary, output.suffix)
        else:
            write = partial(_write_csv, raw=raw) if output.suffix == ".csv" else _write_json
            with temporary.open(
                "w", newline="", encoding="utf-8", errors="backslashreplace"
            ) as file:
                count = write(records, file)
        if regular:
            os.replace(temporary, place)
    print(f"{count} predictions in {output}")


def _forecasts(
    path: Path, history: History, trained: Trained, steps: int | None
) -> Iterable[dict[str, Any]]:
    """The rows that come after those of a series in a file, numbered on from its own."""
    from dlrun.data.series.history import continued
    from dlrun.inference.evaluate import predict

    own = replace(trained, preprocessing=history.scaling)
    forecast, by_quantile = continued(
        history.rows_RC, history.scaling, steps=steps, predict=lambda rows: predict(own, rows)
    )
    names, last = history.scaling.targets_told, history.last_time
    series = {"series": history.series} if history.series else {}
    for ahead, values in enumerate(forecast, 1):
        after = {} if last is None else {"after": f"{last} +{ahead}"}
        row = history.known + ahead - 1
        yield {
            "input": str(path),
            **series,
            "row": row,
            **after,
            "targets": names,
            **_values(values, by_quantile, ahead - 1, trained.spec),
        }


def _records(
    path: Path, rows: Iterable[int], predicted: Any, chances: Any, trained: Trained
) -> Iterable[dict[str, Any]]:
    """`chances` are probabilities of classes, or quantiles; as `predict` gives both."""
    spec = trained.spec
    targets = spec.target_names or trained.preprocessing.target_names
    for at, row in enumerate(rows):
        record: dict[str, Any] = {"input": str(path), "row": row}
        if spec.labels:
            answers = zip(targets, spec.classes, predicted[at], strict=True)
            record["prediction"] = {name: labels[int(answer)] for name, labels, answer in answers}
            record["probabilities"] = dict(zip(targets, map(float, chances[at]), strict=True))
        elif not spec.num_classes:
            record |= _values(predicted[at], chances, at, spec, targets)
        else:
            record["prediction"] = spec.class_names[int(predicted[at])]
            record["probabilities"] = dict(zip(spec.class_names, chances[at].tolist(), strict=True))
        yield record


def _values(
    predicted_D: Any, quantiles_NDQ: Any, at: int, spec: Spec, targets: Sequence[str] = ()
) -> dict[str, Any]:
    """The predicted values of sample `at`, and its quantiles by name where there are any; by target where those are."""

    def named(values: Any) -> Any:
        return dict(zip(targets, values.tolist(), strict=True)) if targets else values.tolist()

    record = {"prediction": named(predicted_D)}
    if quantiles_NDQ is not None:
        columns = zip(spec.quantiles, quantiles_NDQ[at].T, strict=True)
        record["quantiles"] = {f"{quantile:g}": named(values) for quantile, values in columns}
    return record


def _print(records: list[dict[str, Any]]) -> None:
    """A line each: the prediction and, of a classifier, the three likeliest classes."""
    many = {record["input"] for record in records if record["row"] > 0}
    names = [
        f"{record['input']}[{record['row']}]" if record["input"] in many else record["input"]
        for record in records
    ]
    width = max(map(len, names))
    for name, record in zip(names, records, strict=True):
        if isinstance(record["prediction"], list | dict):
            when = [record[key] for key in ("series", "after") if key in record]
            print(f"{name:<{width}}  " + "  ".join([*when, *_shown(record)]))
            continue
        if record["prediction"] is None:
            print(f"{name:<{width}}  (no text)")
            continue
        likeliest = sorted(record["probabilities"].items(), key=lambda item: -item[1])[:3]
        shown = "  ".join(f"{label} {chance:.1%}" for label, chance in likeliest)
        print(f"{name:<{width}}  {record['prediction']}  ({shown})")


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
            more = [f"{record['probabilities'][name]:.1%}"]
        shown = value if isinstance(value, str) else number_text(value, digits=digits)
        yield f"{name} {shown}".strip() + (f" ({', '.join(more)})" if more else "")


def _write_csv(records: Iterable[dict[str, Any]], file: TextIO, *, raw: bool) -> int:
    """Write them, and say how many they were; columns are those of the first."""
    writer, names, count = csv.writer(file), dict[str, Any](), 0
    for count, record in enumerate(records, 1):
        row = _flat(record)
        if count == 1:
            names = row
            writer.writerow(cells(names, raw=raw))
        writer.writerow(cells((row.get(name, "") for name in names), raw=raw))
    return count


def _write_json(records: Iterable[dict[str, Any]], file: TextIO) -> int:
    """As `json.dump` writes a list of them."""
    count = 0
    file.write("[")
    for count, record in enumerate(records, 1):
        text = json.dumps(record, indent=1).replace("\n", "\n ")
        file.write(f"{',' * (count > 1)}\n {text}")
    file.write("\n]\n" if count else "]\n")
    return count


def _write_typed(records: list[dict[str, Any]], place: Path, form: str) -> int:
    """As a file whose columns have types, in the form that its name is to end in; how many they were."""
    import polars as pl  # other outputs do without

    frame = pl.DataFrame(list(map(_flat, records)), infer_schema_length=None)
    if form == ".parquet":
        frame.write_parquet(place)
    elif form in (".jsonl", ".ndjson"):
        frame.write_ndjson(place)
    else:
        frame.write_ipc(place)
    return len(records)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    prediction = record["prediction"]
    columns: dict[str, Any] = {
        key: record[key] for key in ("input", "series", "row", "after") if key in record
    }
    if isinstance(prediction, list):
        several = [f"prediction_{i}" for i in range(len(prediction))]
        names = record.get("targets") or (several if len(prediction) > 1 else ["prediction"])
        columns |= dict(zip(names, prediction, strict=True))
        for quantile, values in record.get("quantiles", {}).items():
            columns |= {f"{name}_q{quantile}": v for name, v in zip(names, values, strict=True)}
        return columns
    values = {"prediction": prediction}
    if isinstance(prediction, dict):
        values = {f"prediction_{target}": value for target, value in prediction.items()}
        for quantile, of in record.get("quantiles", {}).items():
            values |= {f"prediction_{target}_q{quantile}": value for target, value in of.items()}
    return columns | values | {f"p({k})": v for k, v in record.get("probabilities", {}).items()}
