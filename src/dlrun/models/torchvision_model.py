"""Any classifier of torchvision, adapted to the data's channels and classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from dlrun.config.schema import Side
from dlrun.config.search_path import data_folder
from dlrun.data.base import Spec
from dlrun.errors import ConfigError, did_you_mean, first_line
from dlrun.models.requirements import describe_input, require_image


class TorchvisionModel(nn.Module):
    """A network of torchvision.models by name, such as resnet18 or vgg11_bn.

    Its last layer is replaced by one with the data's outputs, its first by one with the data's
    channels where those are not three; auxiliary heads are left out. With `weights`, all but the
    last start from torchvision's own training, a new first layer from the mean of its colours.
    `resize` scales the shorter side of images to so many pixels first: weights were trained on 224.

    Shapes: B batch, C outputs; images (B, channels, H, W) to scores (B, C).

    Raises:
        ConfigError: no images, or too small ones; an unknown name; weights that cannot be fetched.
    """

    def __init__(self, spec: Spec, *, name: str, weights: str | None, resize: Side | None) -> None:
        channels, _, _ = require_image(spec, model="torchvision")
        _check_names(name, weights)
        super().__init__()
        self.resize = resize
        self.net = _adapted(_build(name, None), channels, spec.num_outputs, pretrained=False)
        # Do the images fit? Asked before anything is fetched.
        _check_size(self.net, name, spec, resize)
        if weights is not None:
            net = _build(name, weights)
            self.net = _adapted(net, channels, spec.num_outputs, pretrained=True)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B, C) of `images` (B, channels, H, W)."""
        scores: Tensor = self.net(_resized(images, self.resize))
        return scores


def _resized(images: Tensor, side: int | None) -> Tensor:
    """The images with a shorter side of `side` pixels, in their own proportions."""
    if side is None:
        return images
    height, width = map(int, images.shape[2:])  # numbers, also where a graph of the model is drawn
    by = side / min(height, width)
    size = (round(height * by), round(width * by))
    return F.interpolate(images, size, mode="bilinear", antialias=by < 1)


def _check_names(name: str, weights: str | None) -> None:
    import torchvision.models as zoo

    names = zoo.list_models(module=zoo)
    if name not in names:
        raise ConfigError(
            f"model.name is {name}, which torchvision does not have{did_you_mean(name, names)}"
        )
    options = zoo.get_model_weights(name).__members__
    if weights is not None and weights not in options:
        raise ConfigError(
            f"model.weights is {weights}, which torchvision does not have for {name}"
            f"{did_you_mean(weights, options)}"
        )


def _build(name: str, weights: str | None) -> nn.Module:
    """The network as torchvision gives it: three channels, 1000 classes, fresh or trained."""
    from torchvision.models import get_model, get_model_weights

    if weights is None:
        warns = name in ("googlenet", "inception_v3")  # of a slow initialisation
        net: nn.Module = get_model(name, weights=None, **({"init_weights": False} if warns else {}))
        return net
    return _pretrained(name, get_model_weights(name)[weights])


def _pretrained(name: str, weights: Any) -> nn.Module:
    """The network with `weights`, from a file that is there or else fetched by torchvision into torch's cache.

    Raises:
        ConfigError: a file that cannot be read, or none that can be had.
    """
    from torchvision.models import get_model

    file = str(weights.url).rpartition("/")[2]
    folders = (data_folder(), Path(torch.hub.get_dir(), "checkpoints"))
    found = next((folder / file for folder in folders if (folder / file).is_file()), None)
    said, fresh = f"model.weights is {weights.name}", "set model.weights=null for fresh weights"
    try:
        with nullcontext() if found is None else _read_from(found, weights):
            return get_model(name, weights=weights)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        reason = first_line(error)
        raise ConfigError(
            f"{said}, but its file {file} is neither in {folders[0]} nor in {folders[1]}, and could not be fetched "
            f"from {weights.url} ({reason}); put it into one of these folders, or {fresh}"
            if found is None
            else f"{said}, but {found} cannot be read ({reason}); take it away, or {fresh}"
        ) from error


@contextmanager
def _read_from(file: Path, weights: Any) -> Iterator[None]:
    """Within this, `weights` are those in the file; nothing in it can run code."""
    weights.get_state_dict = lambda *_, **__: torch.load(
        file, map_location="cpu", weights_only=True
    )
    try:
        yield
    finally:
        del weights.get_state_dict  # the enum's own is there again


def _adapted(net: Any, channels: int, outputs: int, *, pretrained: bool) -> Any:
    """`net` with `channels` in, `outputs` out, and no auxiliary heads."""
    from torchvision.models import SqueezeNet

    for head in ("aux1", "aux2", "AuxLogits"):
        if hasattr(net, head):
            setattr(net, head, None)
            net.aux_logits = False
    if isinstance(net, SqueezeNet):
        net.classifier[2] = nn.Identity()  # a relu, which would leave no negative scores
    layers = [(path, m) for path, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    _replace(net, layers[-1][0], _with_outputs(layers[-1][1], outputs))
    if channels != 3:
        _replace(net, layers[0][0], _with_channels(layers[0][1], channels, pretrained=pretrained))
        net.transform_input = False  # where there is one, it rescales three colours
    return net


def _with_outputs(last: Any, outputs: int) -> nn.Module:
    if isinstance(last, nn.Linear):
        return nn.Linear(last.in_features, outputs, bias=last.bias is not None)
    return nn.Conv2d(last.in_channels, outputs, last.kernel_size)


def _with_channels(first: Any, channels: int, *, pretrained: bool) -> nn.Conv2d:
    shape = (first.kernel_size, first.stride, first.padding, first.dilation)
    conv = nn.Conv2d(channels, first.out_channels, *shape, bias=first.bias is not None)
    if pretrained:
        # A grey image, the same in all channels, then gives what it gave in three colours.
        mean = first.weight.mean(dim=1, keepdim=True) * 3 / channels
        filters = {"weight": mean.expand_as(conv.weight)}
        conv.load_state_dict(filters | ({} if first.bias is None else {"bias": first.bias}))
    return conv


def _replace(net: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(net.get_submodule(parent), name, layer)


@torch.no_grad()
def _check_size(net: nn.Module, name: str, spec: Spec, resize: int | None) -> None:
    """Refuse images that do not go through, found by one forward pass of shapes alone."""
    state = chain(net.named_parameters(), net.named_buffers())
    shapes = {path: tensor.to("meta") for path, tensor in state}
    images = torch.empty(2, *spec.input_shape, device="meta")
    net.eval()
    try:
        functional_call(net, shapes, _resized(images, resize))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"model.name is {name}, which cannot read {describe_input(spec)} ({reason}); "
            "choose another network, such as resnet18, or scale the images, as with model.resize=224"
        ) from error
    net.train()
