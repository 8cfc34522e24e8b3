"""`dlrun generate`: write text with a language model, or draw images with a variational autoencoder.

A prompt may use the characters of the training part alone. Without one, a text begins as after an empty line.
In PROMPT and STRING, \\n is a line break. Images go to a picture, --output FILE.png; of the other options they
take --number and --seed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dlrun.commands._arguments import (
    add_checkpoint,
    check_output,
    number,
    path,
    run_parser,
    whole,
    writing_output,
)
from dlrun.errors import ConfigError
from dlrun.storage.index import find_run
from dlrun.storage.run_summary import full_name

if TYPE_CHECKING:
    from dlrun.inference.load import Trained

_EPILOG = """\
examples
  dlrun generate last --prompt "ROMEO:" --length 500
  dlrun generate shakespeare_lstm --prompt "O " --temperature 0.5 --top-k 5
  dlrun generate irish_tunes_lstm --prompt "X:" --check abc --number 10
  dlrun generate last --prompt "X:1\\nT:" --until "\\n\\n" --output tune.abc
  dlrun generate digits_vae --number 16 --output samples.png
"""
_MOST_CHARACTERS = 10**9
_MOST_IMAGES = 10_000  # of a picture
_OF_TEXTS = ("prompt", "length", "temperature", "top_k", "until", "check")
_BETWEEN = "\n" + "-" * 40 + "\n"


def main(argv: list[str]) -> int:
    """Print or write the texts, and how many are what they should be."""
    parser = _parser()
    arguments = parser.parse_intermixed_args(argv)
    _check(arguments)
    run = find_run(arguments.run)

    from dlrun.data.text.character_encoding import CharacterEncoding
    from dlrun.inference.ensemble import Predictor, read_stored
    from dlrun.inference.generate import Sampling, generate

    stored = read_stored(run, allowed=arguments.allow, which=arguments.checkpoint)
    predictor = Predictor.load(stored)
    if predictor.spec.beta is not None:
        of_texts = [name for name in _OF_TEXTS if vars(arguments)[name] != parser.get_default(name)]
        return _draw(predictor.reference, stored[0].plain, arguments, of_texts)
    if not isinstance(predictor.reference.preprocessing, CharacterEncoding):
        raise ConfigError(
            f"{full_name(run.path)} {_does(predictor.spec.task)}, and writes no text; "
            "use `dlrun predict`, or a run with dataset=char_lm"
        )
    trained = predictor.as_one()
    until = _unescaped(arguments.until)
    if until is None and arguments.check == "abc":
        until = "\n\n"  # where a tune ends
    sampling = Sampling(
        length=arguments.length,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        seed=arguments.seed,
        until=until,
    )
    prompt = _unescaped(arguments.prompt) or ""
    encoding = cast(CharacterEncoding, trained.preprocessing)
    texts = generate(trained.model, encoding, prompt, sampling, number=arguments.number)
    _deliver(texts, arguments.output)
    if arguments.check == "abc":
        _report_tunes(texts, until or "")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = run_parser("generate", __doc__, _EPILOG)
    parser.add_argument(
        "--prompt",
        metavar="PROMPT",
        default="",
        help="how each text begins (default: after an empty line)",
    )
    parser.add_argument(
        "--length",
        metavar="N",
        type=whole(1, 10**9),
        default=1000,
        help="at most N characters in each text, after the prompt (default: 1000)",
    )
    parser.add_argument(
        "--temperature",
        metavar="T",
        type=number(0, 1000),
        default=0.8,
        help="0 takes the most probable character, 1 samples with the model's probabilities (default: 0.8)",
    )
    parser.add_argument(
        "--top-k",
        metavar="K",
        type=whole(1, 10**9),
        help="sample only from the K most probable characters",
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=whole(0, 2**32 - 1),
        default=0,
        help="seed of the sampling (default: 0)",
    )
    parser.add_argument(
        "--number",
        metavar="M",
        type=whole(1, 10**6),
        default=1,
        help="the number of texts or images (default: 1)",
    )
    parser.add_argument("--until", metavar="STRING", help="end a text once it has STRING")
    parser.add_argument(
        "--check",
        choices=("abc",),
        help="say which of the texts are tunes in ABC notation; each then ends with its first tune",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=path, help="write to FILE instead of the screen"
    )
    add_checkpoint(parser)
    return parser


def _draw(
    trained: Trained, plain: dict[str, Any], arguments: argparse.Namespace, of_texts: list[str]
) -> int:
    """Write a picture of images that the decoder makes of codes from the prior."""
    from dlrun.config.settings import parse
    from dlrun.diagnostics.image_grid import image_grid
    from dlrun.inference.evaluate import task_of
    from dlrun.inference.samples import sample_inputs

    output: Path | None = arguments.output
    if of_texts:
        option = of_texts[0].replace("_", "-")
        raise ConfigError(f"--{option} is for texts, and this run draws images; leave it out")
    if trained.spec.kind != "image":
        raise ConfigError(
            f"the run has {trained.spec.kind}, of which nothing is drawn; use a run with images"
        )
    if output is None or output.suffix.lower() != ".png":
        raise ConfigError(f"--output is {output}, but must name a picture, as in samples.png")
    if arguments.number > _MOST_IMAGES:
        raise ConfigError(f"--number is {arguments.number:,}, but must be at most {_MOST_IMAGES:,}")
    task = task_of(trained, parse(plain))
    images = sample_inputs(trained.model, task, number=arguments.number, seed=arguments.seed)
    picture = image_grid(images.numpy(), [""] * len(images))
    with writing_output(output):
        output.write_bytes(picture.png)
    print(f"{len(images)} images in {output}" if len(images) > 1 else f"1 image in {output}")
    return 0


def _does(task: str) -> str:
    return {"regression": "predicts numbers", "reconstruction": "gives its inputs again"}.get(
        task, "classifies"
    )


def _check(arguments: argparse.Namespace) -> None:
    if arguments.until == "":
        raise ConfigError("--until is empty, but must be what a text ends with; leave it out")
    if arguments.length * arguments.number > _MOST_CHARACTERS:
        raise ConfigError(
            f"--length times --number is {arguments.length * arguments.number:,} characters, but may be "
            f"{_MOST_CHARACTERS:,} at most: set one of them lower"
        )
    check_output(arguments.output)


def _unescaped(text: str | None) -> str | None:
    """Line breaks and tabs as a shell lets them be typed."""
    return text if text is None else text.replace("\\n", "\n").replace("\\t", "\t")


def _deliver(texts: list[str], output: Path | None) -> None:
    if output is None:
        print(_BETWEEN.join(text.rstrip("\n") for text in texts))
        return
    with writing_output(output):
        text = "\n\n".join(text.rstrip("\n") for text in texts) + "\n"
        output.write_text(text, encoding="utf-8")
    print(f"{len(texts)} texts in {output}" if len(texts) > 1 else f"1 text in {output}")


def _report_tunes(texts: list[str], until: str) -> None:
    """On the error stream, so that what was generated can go through a pipe."""
    from dlrun.inference.abc_notation import NotATune, parse_tune

    faults = []
    for position, text in enumerate(texts, 1):
        if until not in text:
            faults.append(f"text {position}: not ended within --length")
            continue
        try:
            parse_tune(text.lstrip("\n").split("\n\n")[0])
        except NotATune as error:
            faults.append(f"text {position}: {error}")
    print(f"{len(texts) - len(faults)} of {len(texts)} are tunes in ABC notation", file=sys.stderr)
    for fault in faults:
        print(f"  {fault}", file=sys.stderr)
