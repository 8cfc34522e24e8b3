"""What a checkpoint holds of an engine, and how one goes on from it: at the number of ranks that saved it, or another.

The weights, and all that is decided, are the same on all ranks: rank 0's are stored. Each rank has its own random
states, and what the model remembers of its streams of a text; they stand under `ranks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlrun.data.share import Share
from dlrun.models.dropout import counts_of_masks, load_counts_of_masks
from dlrun.system.torch_internals import uncompiled
from dlrun.training.forward import State, advance, on_tensors
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine
from dlrun.training.sharding import load_weights, whole_states

Stored = dict[str, Any]

# What of an engine holds tensors, or names what does.
_OF_TENSORS = (
    *(
        "model",
        "averaged",
        "freezing",
        "descent",
        "replica",
        "balance",
        "batches",
        "data",
        "points",
    ),
    *("chosen", "task", "truth", "variance", "augmentation", "mixing", "generator", "evaluation"),
)


def engine_state(engine: Engine) -> Stored:
    """Everything that a resume needs, but for the random states of this process.

    Of several ranks on rank 0, after `Engine.gather`.
    """
    alone = engine.ranks.size == 1
    return {
        "step": engine.step,
        "steps_per_epoch": engine.steps_per_epoch,
        **(engine.unsharded or whole_states(engine.model, engine.averaged, engine.descent)),
        "waited": engine.waited,
        "best": dict(vars(engine.best)),
        "pending": engine.pending.state(),
        "carried": engine.carried if alone else None,
        "rarity": None if engine.balance is None else engine.balance.rarity,
        "latest": dict(engine.latest),
        "seconds": engine.seconds,
        **({} if alone else {"ranks": engine.of_ranks}),
        "masks": counts_of_masks(engine.model),
    }


def load_engine_state(engine: Engine, state: Stored) -> None:
    """Continue where `state` was taken."""
    engine.step, engine.waited, engine.seconds = state["step"], state["waited"], state["seconds"]
    load_weights(engine.model, state["model"])
    if counts := state.get("masks"):  # those of a run on a CPU are in the state of its generator
        load_counts_of_masks(engine.model, counts)
    if engine.averaged is not None and state["averaged"] is not None:
        load_weights(engine.averaged, state["averaged"])
    engine.descent.load_state_dict(state["descent"])
    move = partial(on_tensors, change=lambda tensor: tensor.to(engine.device.torch_device))
    kept = {name: [*map(move, values)] for name, values in state["pending"].items()}
    engine.pending = Pending(**kept)
    if engine.ranks.size > 1:
        engine.pending.begin_with_whole()
    engine.carried = move(_own_carried(engine, state))
    if engine.balance is not None:
        engine.balance.rarity = state.get("rarity")
    engine.best = replace(engine.best, **state["best"])
    engine.latest = dict(state["latest"])


def let_go(engine: Engine) -> None:
    """Name no tensor of a run that is over any more; its numbers, such as the step, can still be read."""
    if hasattr(engine, "model"):
        engine.close()
        uncompiled(engine.model)
    engine.best.weights = {}
    engine.pending, engine.carried = Pending(), None
    for name in _OF_TENSORS:
        vars(engine).pop(name, None)


def ranks_of(state: Stored) -> int:
    """How many ranks saved it."""
    return len(state.get("ranks") or (None,))


def random_states_for(share: Share, state: Stored) -> Stored | None:
    """The random states that a rank goes on with; None where those who saved `state` were fewer, for those it has."""
    if share.index == 0:
        own: Stored = state["random"]
        return own
    saved = state.get("ranks") or ()
    return saved[share.index]["random"] if share.index < len(saved) else None


def _own_carried(engine: Engine, state: Stored) -> State:
    """What the model remembers of this rank's streams; joined and shared anew where there are more ranks or fewer."""
    saved = state.get("ranks")
    parts = [state.get("carried")] if saved is None else [one["carried"] for one in saved]
    share = engine.ranks.share
    if len(parts) == share.count or parts[0] is None:
        return parts[share.index % len(parts)]
    streams = engine.batches.sizes(0)[0]
    parts = [part for at, part in enumerate(parts) if Share(at, len(parts)).of(streams)]
    own = share.of(streams) or range(1)  # one without streams reads the first with another

    def of_own(one: Tensor, two: Tensor, *saved: Tensor) -> Tensor:
        sizes = zip(one.shape, two.shape, strict=True)
        axis = next((at for at, (few, more) in enumerate(sizes) if few != more), None)
        if axis is None:  # the same for all streams
            return saved[0]
        return torch.cat(saved, axis).narrow(axis, own.start, len(own)).clone()

    return _on_each(of_own, [*_of_one_and_two_streams(engine), *parts])


def _of_one_and_two_streams(engine: Engine) -> list[State]:
    """What the model remembers of each: by their shapes one knows where the streams are."""
    model, spec = engine.model.eval(), engine.data.spec
    with torch.no_grad(), engine.device.autocast():
        found = [advance(model, engine.data.train.sample(n), None, spec)[1] for n in (1, 2)]
    engine.freezing.train(model)
    return [on_tensors(state, torch.Tensor.cpu) for state in found]


def _on_each(change: Any, states: Sequence[State]) -> State:
    """One tree of several alike: `change` of the tensors at each place, or what is the first's."""
    first = states[-1]
    if isinstance(first, Tensor):
        return change(*states)
    if isinstance(first, (tuple, list)):
        return tuple(_on_each(change, parts) for parts in zip(*states, strict=True))
    return first
