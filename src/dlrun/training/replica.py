"""A rank's copy of the model that is trained: how its gradients become those of the whole batch.

A `Replica` exists only where a run has several ranks. The engine's model is the plain one all the same: what evaluates,
saves or averages it need not know of the others.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dlrun.data.base import Spec
from dlrun.data.loaders import Feed
from dlrun.models.cells import copied
from dlrun.storage.checkpoint import random_states, restore_random_states
from dlrun.system.torch_internals import ddp_without_dynamo
from dlrun.training.device import Device
from dlrun.training.forward import advance
from dlrun.training.freezing import Freezing
from dlrun.training.ranks import Ranks
from dlrun.training.sharding import has_shards
from dlrun.training.sync_batch_norm import left_out

Compute = Callable[..., tuple[Tensor, Tensor]]  # of a part of a batch: its loss, and what is kept

_WELL_KNOWN = ("dlrun", "torch", "torchvision")


class Replica:
    """The model of one rank among those of a run.

    Of a batch of n samples, n_r of them on rank r of R, the gradient is the sum of n_r / n times those of the ranks.
    DistributedDataParallel takes their mean; so the loss of a rank is multiplied by R * n_r / n, or where losses are
    sums by R. A rank whose share of a batch is empty computes the first sample all the same, with the weight 0, so
    that no other waits for it.

    Args:
        generator: that the model draws from.

    Attributes:
        counts: whether this rank has samples of its own in the batch.
        least: samples that each rank computes, at least.
    """

    def __init__(
        self,
        ranks: Ranks,
        freezing: Freezing,
        batches: Feed,
        *,
        mean: bool,
        spec: Spec,
        device: Device,
        generator: Generator,
    ) -> None:
        self.ranks, self.freezing, self.batches = ranks, freezing, batches
        self.mean, self.spec, self.device, self.generator = mean, spec, device, generator
        self.model = freezing.model
        self._learner: nn.Module | None = None
        self._stage = 0
        self._sizes: Sequence[int] = ()
        self.factor, self.counts, self.least = 1.0, True, 1

    def enter(self, epoch: int) -> bool:
        """Be ready for an epoch, of which all is frozen that is to be; whether that took time."""
        self._sizes = self.batches.sizes(epoch)
        if self._learner is not None and self._stage == self.freezing.stage:
            return False
        if self._learner is not None:
            self._learner = None
            gc.collect()  # its hooks on the parameters end with it
        self._learner, self._stage = self._wrapped(), self.freezing.stage
        return True

    def begin_batch(self, position: int) -> None:
        """The next batch is the one at this position of the epoch."""
        whole = self._sizes[position]
        own = len(self.ranks.share.of(whole))
        self.counts, self.least = own > 0, max(1, whole // self.ranks.size)
        self.factor = self.ranks.size * (own / whole if self.mean else float(self.counts))

    def loss(self, compute: Compute, *part: Any, last: bool) -> tuple[Tensor, Tensor]:
        """What `compute` makes of a part of a batch; after the `last` part the gradients of all ranks are added up."""
        assert self._learner is not None
        # As `no_sync` has it, which would have to be open until the backward pass is over.
        self._learner.require_backward_grad_sync = last  # type: ignore[assignment]
        with nullcontext() if self.counts else left_out(self.model):
            loss, kept = self._learner(compute, *part)
        return loss, kept

    def weighted(self, loss: Tensor) -> Tensor:
        """The loss to go back from."""
        return loss if self.factor == 1 else loss * self.factor

    def _wrapped(self) -> nn.Module:
        """What computes losses and adds up gradients: called with a `Compute` and what that takes.

        The parameters to train must be known; so this is done anew where some are released. Those of a model of which
        each rank has a part add up their gradients themselves, after each part of a batch. The buffers are told by
        rank 0 at each step only where a layer of the user's own may read them in training; those of batch norm are
        told before each evaluation.
        """
        if has_shards(self.model):
            return _Learner(self.model)
        known = is_well_known(self.model)
        unused = not known or self._leaves_some_unused()
        learner = ddp_without_dynamo(
            _Learner(self.model), find_unused_parameters=unused, gradient_as_bucket_view=True
        )
        # The parameter of this name is deprecated, and its successor new.
        learner.broadcast_buffers = not known
        # What torch advises for speed: nothing that a user could follow.
        warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        if not unused:  # else it leaves them as they are
            _settle(learner)
        return learner

    def _leaves_some_unused(self) -> bool:
        """Whether the outputs depend on all that is trained; found on a copy, no random state is touched."""
        states = random_states(self.generator)
        model = copied(self.model)
        self.freezing.train(model)
        inputs = self.batches.split.sample(2)
        with self.device.autocast():
            outputs, _ = advance(model, inputs, None, self.spec)
        outputs.float().sum().backward()
        restore_random_states(states, self.generator)
        return any(p.grad is None for p in model.parameters() if p.requires_grad)


def is_well_known(model: nn.Module) -> bool:
    """Whether every layer is dlrun's, torch's or torchvision's: their steps do the same work each time."""
    return all(type(m).__module__.partition(".")[0] in _WELL_KNOWN for m in model.modules())


class _Learner(nn.Module):
    """From a part of a batch to its loss: all that the gradients go back from, so that no other output counts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Compute | None = None, *part: Any) -> Any:
        """As `compute`; without it, a number that all parameters have a gradient of."""
        if compute is not None:
            return compute(*part)
        return torch.stack([p.sum().float() for p in self.parameters() if p.requires_grad]).sum()


def _settle(learner: nn.Module) -> None:
    """Let torch put the gradients into the groups that it adds up now, which it does after the first step.

    The order of additions depends on the group: a resumed run would else add up its first step in another order.
    """
    learner().backward()
    for parameter in learner.parameters():
        parameter.grad = None
