"""New inputs from a variational autoencoder: codes from the prior, and what the decoder makes of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlrun.training.reconstruction import Reconstruction
from dlrun.training.task import Task


def sample_inputs(model: nn.Module, task: Task, *, number: int, seed: int) -> Tensor:
    """`number` inputs (N, *input_shape), scaled as a model takes them; the same for the same seed.

    Of plain numbers alone. The means of what the decoder describes: without the noise of a pixel or a column.
    """
    assert isinstance(task, Reconstruction)
    spec, weight = task.spec, next(model.parameters())
    # On the CPU, one by one: the same on every device, and the first ones whatever the number.
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randn(spec.latent, generator=generator) for _ in range(number)])
    training = model.training
    model.eval()
    with torch.inference_mode():
        outputs = model.get_submodule("decoder")(codes.to(weight.device, weight.dtype))
        made = task.given_again(outputs).reshape(number, *spec.input_shape)
    model.train(training)
    return made
