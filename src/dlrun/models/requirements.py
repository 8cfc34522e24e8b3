"""What a model requires of the data; where they do not have it, one line that says what to choose instead."""

from __future__ import annotations

from typing import NoReturn

from dlrun.data.base import Spec
from dlrun.errors import ConfigError

_MODEL_FOR = {"features": "mlp", "image": "cnn", "sequence": "lstm", "tokens": "text_cnn"}


def require_numbers(spec: Spec, *, model: str) -> int:
    """How many numbers one input has, flattened.

    Raises:
        ConfigError: the data has tokens, whose numbers are mere names.
    """
    if spec.kind == "tokens":
        _refuse(spec, f"model={model} reads numbers", "features, images or sequences")
    return spec.num_features


def require_features(spec: Spec, count: int, *, model: str, setting: str) -> None:
    """Of a model that is written down for `count` features and two classes.

    Raises:
        ConfigError: the data has others.
    """
    if spec.task != "binary" or spec.kind == "tokens" or spec.num_features != count:
        outputs = f"{spec.num_outputs} output{'s' * (spec.num_outputs > 1)}"
        reads = (
            f"model={model} reads {count} features in two classes, as many as {setting} has numbers"
        )
        _refuse(spec, reads, f"{count} features and two classes", has=f" and {outputs}")


def require_texts(spec: Spec, *, model: str) -> int:
    """How many tokens there are, padding included.

    Raises:
        ConfigError: the data has no texts to classify.
    """
    if not spec.padded:
        _refuse(spec, f"model={model} reads texts", "texts")
    return spec.vocabulary


def require_language(spec: Spec, *, model: str) -> int:
    """How many tokens there are to choose the next one from.

    Raises:
        ConfigError: the data is no text to continue.
    """
    if not spec.carries_state:
        _refuse(spec, f"model={model} reads a text to continue", "characters, such as irish_tunes")
    return spec.vocabulary


def require_image(spec: Spec, *, model: str) -> tuple[int, int, int]:
    """Channels, height and width of the images.

    Raises:
        ConfigError: the data has no images.
    """
    if spec.kind != "image":
        _refuse(spec, f"model={model} reads images", "images")
    channels, height, width = spec.input_shape
    return channels, height, width


def require_rows(spec: Spec, *, model: str) -> None:
    """Of a model that gives its inputs again.

    Raises:
        ConfigError: the data has neither images nor plain features.
    """
    if spec.kind not in ("image", "features"):
        _refuse(spec, f"model={model} reads images and rows of tables", "images or plain features")


def require_sequence(spec: Spec, *, model: str) -> int:
    """Features at each time step: those of a sequence, the pixels in one row of an image, one of a text.

    Raises:
        ConfigError: the data has no axis to read along, or asks to continue it.
    """
    if spec.kind == "features" or spec.carries_state:
        _refuse(spec, f"model={model} reads sequences", "images or sequences")
    if spec.padded:
        return 1
    if spec.kind == "image":
        channels, _, width = spec.input_shape
        return channels * width
    return spec.input_shape[-1]


def _refuse(spec: Spec, reads: str, wanted: str, *, has: str = "") -> NoReturn:
    fitting = "char_lstm" if spec.carries_state else _MODEL_FOR[spec.kind]
    raise ConfigError(
        f"{reads}, but the data has {describe_input(spec)}{has}; "
        f"choose model={fitting} or a dataset of {wanted}"
    )


def describe_input(spec: Spec) -> str:
    """One input in words, such as `30 plain features` or `images of 1x28x28`."""
    if spec.kind == "image":
        return f"images of {'x'.join(map(str, spec.input_shape))}"
    if spec.kind == "sequence":
        steps, features = spec.input_shape
        return f"sequences of {steps} steps with {features} features"
    if spec.carries_state:
        return f"a text to continue, of {spec.vocabulary} different characters"
    if spec.padded:
        return f"texts of at most {spec.input_shape[0]} tokens"
    return f"{spec.num_features} plain features"
