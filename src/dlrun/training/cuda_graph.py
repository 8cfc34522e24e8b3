"""Which runs are trained by CUDA graphs, which spare small models the launch of each kernel."""

from __future__ import annotations

from torch import nn

from dlrun.data.ahead import ahead
from dlrun.errors import ConfigError
from dlrun.training.augmentation import is_on_device
from dlrun.training.capturable import can_be_captured
from dlrun.training.evaluation import Repeated
from dlrun.training.loop import Engine
from dlrun.training.losses.users import UsersLoss
from dlrun.training.replica import is_well_known
from dlrun.training.stretches import Stretches


def choose(engine: Engine) -> Stretches | None:
    """What takes the steps of `engine` by graphs, where its setting trainer.cuda_graph wants some.

    Raises:
        ConfigError: it is true, and the run has a part that cannot be captured.
    """
    wanted = engine.settings.cuda_graph
    reason = why_not(engine)
    if wanted is True and reason:
        raise ConfigError(f"trainer.cuda_graph is true, but {reason}; use auto or false")
    # What a layer or a loss of the user's does in Python, such as counting steps, a replay would leave out.
    known = is_well_known(engine.model) and not isinstance(engine.task.criterion, UsersLoss)
    if not wanted or reason or (wanted == "auto" and not known):
        return None
    batches = ahead(engine.batches)
    assert batches is not None, "a reason not to"
    return Stretches(engine, batches, required=wanted is True)


def choose_evaluation(engine: Engine) -> Repeated | None:
    """What evaluates the validation part of `engine` by a graph, where its steps are taken by graphs."""
    part, settings = engine.data.val, engine.settings
    if engine.captured is None or not Repeated.fits(part, settings.eval_batch_size):
        return None
    required = settings.cuda_graph is True
    return Repeated(part, engine.generator, settings.precision, required=required)


def why_not(engine: Engine) -> str | None:
    """What keeps steps of this run from being captured, in words, or None."""
    return _why_not_its_step(engine) or (
        None
        if can_be_captured(engine.descent.optimizer)
        else f"the optimizer {type(engine.descent.optimizer).__name__} reads settings or memory outside the GPU"
    )


def may_be_stacked(engine: Engine) -> bool:
    """Whether a stack of runs like this one may be trained by graphs, for which the optimizer has a rule of its own."""
    known = is_well_known(engine.model)
    return bool(engine.settings.cuda_graph) and known and _why_not_its_step(engine) is None


def _why_not_its_step(engine: Engine) -> str | None:
    """What but its optimizer keeps steps of a run from being captured."""
    settings, device = engine.settings, engine.device.torch_device
    reasons = {
        f"the run is on the device {device}, which has no CUDA graphs": device.type != "cuda",
        "its batches are not read from tensors in memory, all of one shape": (
            ahead(engine.batches) is None
        ),
        "its gradients are those of several devices": engine.ranks.size > 1,
        "trainer.compile makes graphs of its own": settings.compile,
        "trainer.profile is to see single operations": settings.profile,
        "trainer.precision is fp64, and learning rates that a graph reads are of 32 bits": (
            settings.precision == "fp64"
        ),
        "layers that read texts in both directions at once ask the GPU for the lengths at each step": (
            engine.data.spec.padded and _packs(engine.model)
        ),
        "dataset.augment.policy draws outside the GPU": not is_on_device(engine.augmentation),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _packs(model: nn.Module) -> bool:
    """Whether it has recurrent layers in one that read in both directions: of dlrun's they alone need lengths."""
    layers = (m for m in model.modules() if isinstance(m, nn.RNNBase))
    return any(layer.bidirectional and layer.num_layers > 1 for layer in layers)
