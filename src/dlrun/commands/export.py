"""`dlrun export`: write a run's model as one file for programs without dlrun.

A JSON file beside it says what such a program must know: inputs and outputs with their shapes, how raw
values become inputs (scaling, vocabulary, categories), and the names of the classes. Then the written model
is read again and applied to samples of the run's data set: its outputs must be those of the run's model.

Many programs read onnx; to write it needs `pip install 'dlrun[export]'`. Only torch reads torch_export
(torch.export.load).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands._arguments import add_checkpoint, check_output, path, run_parser, writing_output
from dlrun.errors import ConfigError
from dlrun.storage.disk import writing
from dlrun.storage.index import find_run
from dlrun.storage.links import refuse_links
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.run_summary import full_name

if TYPE_CHECKING:
    from dlrun.inference.ensemble import Predictor
    from dlrun.inference.export import Exported, Format
    from dlrun.inference.load import Trained

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_BATCHES = (1, 2, 5, 16)
_TOKENS = 8  # of each of several texts
_EPILOG = """\
examples
  dlrun export last
  dlrun export digits_cnn --format torch_export
  dlrun export last --output model.onnx --checkpoint last
"""


def main(argv: list[str]) -> int:
    """Write RUN's model and its description, and check it."""
    arguments = _parser().parse_intermixed_args(argv)
    _refuse_missing(arguments.format)
    run = find_run(arguments.run)
    output = _output(arguments, run)

    from dlrun.data.files import settings_read_back
    from dlrun.inference.ensemble import Predictor, read_stored

    stored = read_stored(run, allowed=arguments.allow, which=arguments.checkpoint)
    predictor = Predictor.load(stored, run)
    with settings_read_back():
        samples = _samples(predictor)
    about = output.with_name(f"{output.name}.json")
    exported = _write(predictor, run, samples, output, about, how=arguments.format)
    shapes = ", ".join(f"{name} {_shown(shape)}" for name, shape in exported.inputs.items())
    sizes = ", ".join(map(str, exported.batch_sizes))
    print(f"model    {output} ({output.stat().st_size / 1e6:.2g} MB), takes {shapes}")
    print(f"about    {about}")
    print(
        f"checked  on batches of {sizes}: outputs differ by {exported.largest_difference:.1e} at most"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = run_parser("export", __doc__, _EPILOG)
    parser.add_argument(
        "--format",
        choices=("onnx", "torch_export"),
        default="onnx",
        help="of the file (default: onnx)",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=path,
        help="where it goes, .onnx or .pt2 (default: RUN/export/model.onnx or model.pt2)",
    )
    add_checkpoint(parser)
    return parser


def _output(arguments: argparse.Namespace, run: RunDirectory) -> Path:
    """The file to write.

    Raises:
        ConfigError: its name or its place will not do.
    """
    from dlrun.inference.export import SUFFIXES

    suffix = SUFFIXES[arguments.format]
    output: Path = arguments.output or run.path / "export" / f"model{suffix}"
    if output.suffix != suffix:
        raise ConfigError(f"--output is {output}, but must end in {suffix} for {arguments.format}")
    check_output(arguments.output)
    if any("\ud800" <= sign <= "\udfff" for sign in str(output)):
        raise ConfigError(
            f"{output} is not UTF-8, which torch and ONNX Runtime cannot write to; give another place with --output"
        )
    return output


def _write(
    predictor: Predictor,
    run: RunDirectory,
    samples: list[list[Any]],
    output: Path,
    about: Path,
    *,
    how: Format,
) -> Exported:
    """Write the model, check it, and write its description."""
    from dlrun.inference.export import description, export

    trained, others = predictor.as_one(), _others(predictor)
    with writing_output(output):
        if output.parent.is_relative_to(run.path):
            refuse_links(run.path)
        output.parent.mkdir(parents=True, exist_ok=True)
        specs = [one.spec for one in others]
        exported = export(trained, output, how=how, samples=samples, others=specs)
        facts = {"format": how, "run": full_name(run.path), **_weights(predictor)}
        about_it = facts | description(trained, exported, others)
        text = json.dumps(about_it, indent=1, ensure_ascii=False)
        with writing(about):
            about.write_text(f"{text}\n", encoding="utf-8")
    return exported


def _others(predictor: Predictor) -> list[Trained]:
    """Of an ensemble, a member for each way to prepare raw inputs, after the first."""
    distinct, _ = predictor.prepared_alike()
    return [predictor.members[at] for at in distinct[1:]]


def _weights(predictor: Predictor) -> dict[str, Any]:
    """Which weights the model has."""
    if predictor.is_ensemble:
        return {"members": [{"run": one.name, "share": one.share} for one in predictor.stored]}
    trained = predictor.reference
    return {"checkpoint": trained.which, "epoch": trained.epoch, "step": trained.step}


def _refuse_missing(how: str) -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if how == "onnx" and missing:
        raise ConfigError(
            f"--format onnx needs {', '.join(missing)}: pip install 'dlrun[export]', or use --format torch_export"
        )


def _samples(predictor: Predictor) -> list[list[Any]]:
    """Batches of several sizes of the part of the data that the run was tested on, as each input takes them.

    Raises:
        ConfigError: the data set is not here, or no longer what the run was trained on.
    """
    from dlrun.inference.ensemble_evaluation import same_rows

    parts = same_rows(predictor)
    if predictor.spec.carries_state:
        (part,) = parts
        sizes = [size for size in _BATCHES if size * _TOKENS <= len(part)]
        return [[part.inputs[: size * _TOKENS].view(size, _TOKENS).long()] for size in sizes]
    return [[next(part.in_order(size))[0] for part in parts] for size in _BATCHES]


def _shown(shape: list[Any]) -> str:
    return "×".join(map(str, shape))
