"""What dlrun uses of torch that torch does not document: nothing else here names a private part of it.

Where a new version of torch moves or drops one of them, tests/system/test_library_internals.py says which.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import sys
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = [
    "AnyBatchNorm",
    "DispatchMode",
    "add_signs",
    "copy_all",
    "ddp_without_dynamo",
    "default_store",
    "elementwise_kernel",
    "fused_adam",
    "gamma",
    "graph_for_tensorboard",
    "in_torch_func",
    "is_view",
    "is_wrapped",
    "loss_scale",
    "move_towards",
    "norms",
    "replace_if",
    "skips_by_itself",
    "stop_allocating",
    "take_over_skips",
    "tree_flatten",
    "tree_leaves",
    "tree_unflatten",
    "uncompiled",
    "without_capturable_warning",
    "without_cards",
    "without_dynamo",
]

copy_all: Callable[..., Any] = torch._foreach_copy_
fused_adam: Callable[..., None] = torch._fused_adam_
gamma: Callable[..., Tensor] = (
    torch._standard_gamma
)  # which torch.distributions draws without a generator
norms = torch._foreach_norm
is_wrapped: Callable[[Tensor], bool] = (
    torch._C._functorch.is_functorch_wrapped_tensor
)  # by vmap, grad, ...
tree_flatten, tree_leaves, tree_unflatten = (
    _pytree.tree_flatten,
    _pytree.tree_leaves,
    _pytree.tree_unflatten,
)


class DispatchMode(TorchDispatchMode):
    """A base of classes whose `__torch_dispatch__` sees every operation; none of them is compiled."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """torch.compile need not be kept out: to do that, torch imports it, for about as long as itself."""
        return False


def add_signs(to: list[Tensor], of: list[Tensor], *, factor: float) -> None:
    """Add `factor` times the sign of each tensor to its partner, in place: two calls for all of them."""
    torch._foreach_add_(to, torch._foreach_sign(of), alpha=factor)


def move_towards(moved: list[Tensor], targets: list[Tensor], *, share: Tensor) -> None:
    """Move each tensor by a `share` of the way to its partner, in place; the share is a scalar on their device."""
    ways = torch._foreach_sub(targets, moved)
    torch._foreach_mul_(ways, share)
    torch._foreach_add_(moved, ways)


def replace_if(due: Tensor, replaced: list[Tensor], by: list[Tensor]) -> None:
    """Replace finite tensors by their partners, in place, if a scalar on their device is 1, and not if it is 0."""
    parts = torch._foreach_mul(by, due)
    torch._foreach_mul_(replaced, 1 - due)
    torch._foreach_add_(replaced, parts)


def in_torch_func() -> bool:
    """Whether vmap, grad, ... are at work. torch.compile cannot look, and leaves them when it draws."""
    return not torch.compiler.is_compiling() and bool(torch._C._functorch.peek_interpreter_stack())


def is_view(operation: Any) -> bool:
    """Whether an operation looks at its input in another way, and moves no bytes."""
    aliases = [a.alias_info for a in operation._schema.arguments if a.alias_info is not None]
    return bool(aliases) and not any(alias.is_write for alias in aliases)


def loss_scale(scaler: torch.amp.GradScaler) -> list[Tensor]:
    """What it changes in place: the scale, and how many steps in a row were finite; [] before the first step."""
    names = ("_scale", "_growth_tracker")
    return [one for name in names if (one := getattr(scaler, name, None)) is not None]


def without_dynamo(build: Callable[[], torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """The optimizer that `build` makes, without the wrappers that torch.compile has around optimizers.

    For one that is never compiled they only cost: they import torch._dynamo at their first call,
    which takes about as long as `import torch` itself, and open a profiler record at each step.
    """
    for name in ("add_param_group", "state_dict", "load_state_dict", "zero_grad"):
        function = inspect.unwrap(getattr(torch.optim.Optimizer, name))
        # torch looks here for the wrapped function before it imports dynamo to make one.
        function.__dict__["__dynamo_disable"] = function
    optimizer = without_cards(build())
    cls = type(optimizer)
    if cls.__module__.startswith(("torch.optim.", "dlrun.")):  # a user's may rely on its decorators
        bare_step: Callable[..., Any] = inspect.unwrap(cls.step)
        # Bound to a proxy: one that names itself would keep its tensors until Python looks for cycles.
        own: Any = weakref.proxy(optimizer)
        optimizer.step = types.MethodType(torch.no_grad()(bare_step), own)  # type: ignore[method-assign]
    return optimizer


def uncompiled(model: torch.nn.Module) -> None:
    """Undo `model.compile()`, by which a model names itself and its tensors wait for Python to look for cycles."""
    model._compiled_call_impl = None


def without_cards(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimizer, which asks no GPU whether it records a graph where all that it moves is on the CPU.

    torch asks at each step where there is a GPU, which makes a context there: some hundred megabytes of its memory.
    """
    groups = optimizer.param_groups
    if all(p.device.type == "cpu" for group in groups for p in group["params"]):
        for name in ("_cuda_graph_capture_health_check", "_accelerator_graph_capture_health_check"):
            vars(optimizer)[name] = _nothing
    return optimizer


def _nothing() -> None:
    """In place of a check."""


def ddp_without_dynamo(module: torch.nn.Module, **settings: Any) -> DistributedDataParallel:
    """DistributedDataParallel of a module that is never compiled, without the import of torch._dynamo.

    It asks there how it would be compiled, and wraps a function against it; that takes about as long as `import torch`.
    """
    bare = inspect.unwrap(vars(DistributedDataParallel)["_inside_ddp_forward"])
    bare.__dict__["__dynamo_disable"] = bare  # as in `without_dynamo`
    if "torch._dynamo" in sys.modules:
        return DistributedDataParallel(module, **settings)
    answers = types.SimpleNamespace(get_optimize_ddp_mode=lambda: "ddp_optimizer")
    torch._dynamo = types.SimpleNamespace(utils=answers)  # type: ignore[assignment]
    try:
        return DistributedDataParallel(module, **settings)
    finally:
        del torch._dynamo


def without_capturable_warning(optimizer: torch.optim.Optimizer) -> None:
    """Let a capturable optimizer make steps that are not captured as well, and not warn of them."""
    optimizer._warned_capturable_if_run_uncaptured = True


def skips_by_itself(optimizer: torch.optim.Optimizer) -> bool:
    """Whether GradScaler tells it which steps to skip, and does not ask the device itself."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def take_over_skips(optimizer: torch.optim.Optimizer, step: Callable[[Tensor], None]) -> None:
    """Have GradScaler call `step` with whether a gradient is not finite, a scalar of booleans on the device."""
    told: Any = weakref.proxy(optimizer)  # as in `without_dynamo`

    def step_unless_told() -> None:
        found, scale = told.found_inf, told.grad_scale
        del told.found_inf, told.grad_scale  # of which torch's own steps on the device know nothing
        step(found > 0)
        told.found_inf, told.grad_scale = found, scale

    optimizer._step_supports_amp_scaling = True  # type: ignore[attr-defined]
    optimizer.step = step_unless_told  # type: ignore[method-assign, assignment]


def elementwise_kernel(code: str) -> Callable[..., Tensor]:
    """A function of tensors on a GPU that broadcasts them and applies C++ `code` to each element, in one launch."""
    kernel: Callable[..., Tensor] = torch.cuda.jiterator._create_jit_fn(code)
    return kernel


def stop_allocating(pool: Any) -> None:
    """Let a recording that failed take no more memory of `pool`: torch forgets to where CUDA ends the recording.

    Until then its allocator gives nothing back to the GPU, and asks a graph that is gone.
    """
    for name in ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool"):
        if hasattr(torch._C, name):
            with contextlib.suppress(RuntimeError):  # it did end
                getattr(torch._C, name)(torch.cuda.current_device(), pool)
            return


def graph_for_tensorboard(model: torch.nn.Module, example: Tensor) -> tuple[bytes, bytes]:
    """The graph of `model` in TensorBoard's form, and the devices and times of its nodes, serialised."""
    from torch.utils.tensorboard._pytorch_graph import graph

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # Tracing is deprecated in torch, and TensorBoard has nothing newer.
        warnings.simplefilter("ignore")
        # A copy leaves torch.compile behind, which cannot be traced. Traced here and not by TensorBoard,
        # whose comparison of a second trace imports torch's distributed tensors: 0.6 s.
        traced = torch.jit.trace(copy.deepcopy(model).eval(), example, check_trace=False)
        definition, statistics = graph(traced, example)
    return definition.SerializeToString(), statistics.SerializeToString()


def default_store() -> Any:
    """The store by which the ranks of the default process group met."""
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()
