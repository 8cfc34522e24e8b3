"""`dlrun summary`: the layers of a model, their outputs and parameters, without training it.

Of data in tables, it first says which columns were read as numbers and which as categories. Of a
convolution or pooling it shows how the size of the output follows: (W - F + 2P) / S + 1, with the side
of the input W, the side of the kernel F, the padding P and the stride S.
"""

from __future__ import annotations

from dlrun.commands._arguments import CommandParser, filled
from dlrun.commands._train_words import composed_run

_EPILOG = """\
One word without `=` means a run; anything else the model that `dlrun train` would train with these words.

examples
  dlrun summary model=cnn dataset=mnist
  dlrun summary model=cnn dataset=digits 'model.filters=[8,16,32]' model.padding=valid
  dlrun summary experiment=mnist_lstm
  dlrun summary last
"""


def main(argv: list[str]) -> int:
    """Print the table of layers."""
    parser = CommandParser("summary", __doc__, _EPILOG)
    parser.add_argument(
        "words",
        metavar="KEY=VALUE",
        nargs="*",
        type=filled,
        default=[],
        help="choices and values, as of `dlrun train`; or a run",
    )
    words: list[str] = parser.parse_intermixed_args(argv).words
    is_run = len(words) == 1 and "=" not in words[0] and words[0][0] not in "+~"
    print(_of_run(words[0]) if is_run else _of_config(words))
    return 0


def _of_config(words: list[str]) -> str:
    plain = composed_run(words)

    from dlrun.config import settings
    from dlrun.diagnostics.model_summary import layer_table
    from dlrun.training.build import assemble

    experiment = assemble(settings.parse(plain))
    return layer_table(experiment.engine.model, experiment.data.spec)


def _of_run(name: str) -> str:
    from dlrun.inference.load import load_trained, read_config
    from dlrun.storage.index import find_run

    run = find_run(name)
    trained = load_trained(run, read_config(run), which="best")

    from dlrun.diagnostics.model_summary import layer_table

    return layer_table(trained.model, trained.spec)
