"""`dlrun eval`: measure a run's model on a part of its data set again."""

from __future__ import annotations

import json

from dlrun.commands._places import find_run
from dlrun.commands._reading import import_from_here, run_parser
from dlrun.errors import ConfigError
from dlrun.numbers import column_texts
from dlrun.runs import full_name

_EPILOG = """\
examples
  dlrun eval last                  the test part, with the best weights
  dlrun eval digits_cnn split=val
  dlrun eval last checkpoint=last --json
"""


def main(argv: list[str]) -> int:
    """Print the metrics of RUN on one split."""
    parser = run_parser("eval", __doc__, _EPILOG)
    parser.add_argument("choices", nargs="*", metavar="split=test|val|train checkpoint=best|last")
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object instead of a table"
    )
    arguments = parser.parse_intermixed_args(argv)
    choices = _choices(arguments.choices)

    from dlrun.restore import read_config

    import_from_here()
    run = find_run(arguments.run)
    plain = read_config(run, allowed=arguments.allow)

    from dlrun.evaluation import evaluate

    metrics, confusion, class_names = evaluate(
        run, plain, split=choices["split"], which=choices["checkpoint"]
    )
    if arguments.json:
        print(
            json.dumps(
                {"run": str(run.path), **choices, "metrics": metrics, "confusion": confusion}
            )
        )
        return 0
    width = max(map(len, metrics))
    print(
        f"{full_name(run.path)}: {choices['checkpoint']} checkpoint on the {choices['split']} part"
    )
    for name, text in zip(metrics, column_texts([*metrics.values()]), strict=True):
        print(f"  {name:<{width}}  {text}")
    if confusion and len(class_names) <= 20:
        print(_confusion_table(confusion, class_names))
    return 0


def _choices(words: list[str]) -> dict[str, str]:
    options = {"split": ("test", "val", "train"), "checkpoint": ("best", "last")}
    choices = {"split": "test", "checkpoint": "best"}
    for word in words:
        key, _, value = word.partition("=")
        if key not in options:
            raise ConfigError(
                f"{word}: dlrun eval takes split=… and checkpoint=…; to change settings, use dlrun resume"
            )
        if value not in options[key]:
            raise ConfigError(
                f"{key} is {value or 'empty'}, but must be one of {', '.join(options[key])}"
            )
        choices[key] = value
    return choices


def _confusion_table(confusion: list[list[int]], class_names: tuple[str, ...]) -> str:
    """Rows are true classes, columns predicted ones."""
    cell = max(len(str(max(map(max, confusion)))), *(min(len(name), 6) for name in class_names))
    label = max(map(len, class_names))
    head = " ".join(f"{name[:6]:>{cell}}" for name in class_names)
    rows = [
        f"  {name:>{label}}  " + " ".join(f"{count or '·':>{cell}}" for count in row)
        for name, row in zip(class_names, confusion, strict=True)
    ]
    return "\n".join(["", f"  {'true':>{label}}  {head}  (predicted)", *rows])
