"""Does the model read this kind of data? If not, one line that says what to choose instead."""

from __future__ import annotations

from dlrun.data.base import Spec
from dlrun.errors import ConfigError

_MODEL_FOR = {"features": "mlp", "image": "cnn", "sequence": "lstm"}


def require_image(spec: Spec, *, model: str) -> tuple[int, int, int]:
    """Channels, height and width of the images.

    Raises:
        ConfigError: the data has no images.
    """
    if spec.kind != "image":
        raise ConfigError(
            f"model={model} reads images, but the data has {describe_input(spec)}; "
            f"choose model={_MODEL_FOR[spec.kind]} or a dataset of images"
        )
    channels, height, width = spec.input_shape
    return channels, height, width


def require_sequence(spec: Spec, *, model: str) -> int:
    """Features at each time step: those of a sequence, or the pixels in one row of an image.

    Raises:
        ConfigError: the data has no axis to read along.
    """
    if spec.kind == "features":
        raise ConfigError(
            f"model={model} reads sequences, but the data has {describe_input(spec)}; "
            f"choose model={_MODEL_FOR[spec.kind]} or a dataset of images or sequences"
        )
    if spec.kind == "image":
        channels, _, width = spec.input_shape
        return channels * width
    return spec.input_shape[-1]


def describe_input(spec: Spec) -> str:
    """One input in words, such as `30 plain features` or `images of 1x28x28`."""
    if spec.kind == "image":
        return f"images of {'x'.join(map(str, spec.input_shape))}"
    if spec.kind == "sequence":
        steps, features = spec.input_shape
        return f"sequences of {steps} steps with {features} features"
    return f"{spec.num_features} plain features"
