"""A model of which each rank holds a part (trainer.strategy=fsdp), for models larger than one device.

torch's FSDP2 (`fully_shard`; Zhao et al., 2023) does the work: a block of the model has its whole weights for as long
as it computes. All else here is for checkpoints: whole weights, as any number of devices reads and writes them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dlrun.errors import ConfigError, first_line

State = dict[str, Any]
Batch = TypeVar("Batch", bound=tuple[Tensor, ...])
_KNOWN = ("dlrun.", "torch.")
_MOST_AXES = 8  # of a sample
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def shard(model: nn.Module, averaged: AveragedModel | None, device: torch.device) -> None:
    """Leave this rank its part of each weight of `model`, which then stands on `device`; others have the rest.

    Its average, where there is one, is parted alike. Every forward pass is then one of all ranks together.

    Raises:
        ConfigError: torch cannot part it.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if all(type(module).__module__.startswith(_KNOWN) for module in model.modules()):
        # They change no output of a block in place, of which torch warns.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module")
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    try:
        for one in (model,) if averaged is None else (model, averaged.module):
            for part in (*blocks(one), one):
                # The root too: what is whole after an evaluation would not be a part where weights are saved.
                fully_shard(part, mesh=mesh, reshard_after_forward=True)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"trainer.strategy is fsdp, which cannot part this model ({first_line(error)}): take trainer.strategy=ddp"
        ) from error


def blocks(model: nn.Module) -> list[nn.Module]:
    """What is to be whole at a time: the outermost modules of which the model has several of one class.

    Such are the blocks of a transformer or a residual network; of a plain stack of layers, each layer. One with less
    than a hundredth of the weights of the largest is not worth a message of its own. One that shares weights with
    the rest of the model stays whole with that.
    """
    uses = _uses(model)
    candidates = (m for m in _candidates(model) if all(uses[p] == n for p, n in _uses(m).items()))
    sizes = {module: sum(p.numel() for p in module.parameters()) for module in candidates}
    large = [module for module, size in sizes.items() if 100 * size >= max(sizes.values())]
    counted = Counter(map(type, large))
    repeated = {module for module in large if counted[type(module)] > 1}
    inner = {part for block in repeated for part in block.modules() if part is not block}
    return [module for module in large if module in repeated - inner]


def has_shards(model: nn.Module) -> bool:
    """Whether each rank has a part of `model`."""
    return any(map(is_sharded, model.parameters()))


def is_sharded(tensor: Tensor) -> bool:
    """Whether this rank has only a part of it."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every rank: all must ask for it, where it is sharded."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def made_whole(state: Any, *, first: bool) -> Any:
    """The same tree with whole tensors in place of those of which each rank has a part, which all ranks must ask for.

    They stand on the CPU of the `first` rank; the others have their shapes alone, which take no memory.
    """
    if isinstance(state, Tensor):
        if not is_sharded(state):
            return state
        full = whole(state.detach())
        return full.cpu() if first else torch.empty_like(full, device="meta")
    if isinstance(state, Mapping):
        return {key: made_whole(value, first=first) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(made_whole(value, first=first) for value in state)
    return state


def whole_states(
    model: nn.Module, averaged: nn.Module | None, descent: Any, *, first: bool = True
) -> State:
    """The states of what is trained, as `made_whole` has them."""
    parts = {"model": model, "averaged": averaged, "descent": descent}
    states = {name: None if part is None else part.state_dict() for name, part in parts.items()}
    return {name: made_whole(state, first=first) for name, state in states.items()}


def kept_weights(module: nn.Module, *, first: bool) -> State:
    """The weights of `module` as they are now, for later: as `made_whole` has them where each rank has a part."""
    state = module.state_dict()
    parts = {name: made_whole(value, first=first) for name, value in state.items()}
    return {n: p.detach().clone() if p is state[n] else p for n, p in parts.items()}


def load_weights(module: nn.Module, weights: State) -> None:
    """Give `module` weights as `made_whole` made them; of sharded ones rank 0's count, and all ranks must do it.

    Raises:
        RuntimeError: they are of another model.
    """
    if has_shards(module):
        own = module.state_dict()
        weights = {n: parted(value, own[n]) if n in own else value for n, value in weights.items()}
    module.load_state_dict(weights)


def load_optimizer(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Give `optimizer` a state as `made_whole` made it: what it remembers of a weight is parted as that is."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if any(map(is_sharded, parameters)):
        remembered = {
            at: {name: parted(value, parameters[at]) for name, value in values.items()}
            for at, values in state["state"].items()
        }
        state = {**state, "state": remembered}
    optimizer.load_state_dict(state)


def without_gradients(model: nn.Module) -> AbstractContextManager[Any]:
    """The context of an evaluation."""
    # What is made_whole under inference_mode could not be written to in the training that follows.
    return torch.no_grad() if has_shards(model) else torch.inference_mode()


def in_step(
    model: nn.Module, batches: Iterable[Batch], idle_pass: Callable[[tuple[int, ...]], object]
) -> Iterator[Batch]:
    """The batches of this rank; of a sharded model, then passes that nobody needs as long as others have batches.

    For each forward pass gathers the parts of all ranks, so that all must make as many, of samples of one shape: a
    model may read a long one piece by piece.
    """
    if not has_shards(model):
        yield from batches
        return
    for batch in batches:
        _largest_sample(batch[0])
        yield batch
    while shape := _largest_sample(None):
        idle_pass(shape)


def parted(value: Any, like: Tensor) -> Any:
    """This rank's part of a whole tensor, where `like` is sharded and of the same shape; anything else as it is."""
    if not isinstance(value, Tensor) or not is_sharded(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    full = torch.empty_like(value, device=like.device) if value.is_meta else value.to(like.device)
    return distribute_tensor(full, like.device_mesh, like.placements)  # type: ignore[attr-defined]


def _largest_sample(inputs: Tensor | None) -> tuple[int, ...]:
    """The shape of a sample that some rank has the inputs of, the largest on each axis; empty where none has any."""
    shape = (0,) * _MOST_AXES if inputs is None else inputs.shape[1:]
    told = torch.tensor([*shape, *(0,) * (_MOST_AXES - len(shape)), int(inputs is not None)])
    torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
    *sides, has_more = told.tolist()
    return tuple(side for side in sides if side) or (1,) * has_more


def _candidates(model: nn.Module) -> Iterator[nn.Module]:
    """Modules made of others; and layers in containers, as others may read the weights of their layers themselves."""
    for parent in model.modules():
        for module in parent.children():
            if isinstance(module, _CONTAINERS) or not _has_weights(module):
                continue
            if isinstance(parent, _CONTAINERS) or any(map(_has_weights, module.children())):
                yield module


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _uses(module: nn.Module) -> Counter[nn.Parameter]:
    """How many places each weight stands in."""
    return Counter(parameter for _, parameter in module.named_parameters(remove_duplicate=False))
