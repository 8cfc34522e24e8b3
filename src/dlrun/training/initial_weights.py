"""Weights of another run as those that a model begins with: what has the same name and shape, tokens by their text."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dlrun.data.base import Dataset
from dlrun.data.prepare import kept_from
from dlrun.errors import ConfigError, listed
from dlrun.storage.stored_run import (
    initial_run,
    read_plain,
    read_state,
    reported_weights,
    weights_of,
)
from dlrun.training.axis_labels import Known, Labelled, labels

_NAMED = 4  # tensors in a line


def initialise(model: nn.Module, data: Dataset, name: str) -> str:
    """Give `model` the weights that the run called `name` has reported; what was taken, in a line.

    A tensor is taken where one of the same name has the same shape; running statistics come along. Of embeddings of
    tokens and categories, and of the scores of tokens, the places are taken that stand for the same in both runs. All
    else stays as it was initialised.

    Raises:
        ConfigError: there is no such run, it has no weights, or none of them can be taken.
    """
    run = initial_run(name)
    which = reported_weights(run, read_plain(run))
    state = read_state(run, which)
    try:
        kept, weights = kept_from(state, str(run.path)), weights_of(state)
        epoch = state.get("epoch", -(-state["step"] // state.get("steps_per_epoch", 1)))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{run.checkpoints} lacks what a model needs ({error})") from error
    ours, theirs = Known(data.spec, data.preprocessing), Known(kept.spec, kept.preprocessing)
    taken, new = transfer(model, weights, labels(model, ours, theirs))
    if not taken:
        raise ConfigError(
            f"init_from is {run.path}, which has no tensor that fits this model, by name and shape "
            f"(there {_shapes(weights)}; here {_shapes(dict(model.named_parameters()))}): "
            "choose the same model with the same sizes, or init_from=null"
        )
    fresh = f"; new {'are' if len(new) > 1 else 'is'} {listed(new, most=_NAMED)}" if new else ""
    return (
        f"weights of {run.path} ({which}, epoch {epoch}): {len(taken)} of {len(taken) + len(new)} tensors are taken"
        f"{fresh}{_of_parts(taken)}{_other_columns(ours, theirs)}"
    )


@torch.no_grad()
def transfer(
    model: nn.Module, weights: Mapping[str, Tensor], labelled: Mapping[str, Labelled]
) -> tuple[dict[str, str], list[str]]:
    """Copy what fits into `model`: the parameters taken, with how much of them in words, and those that stay new."""
    parameters = {name for name, _ in model.named_parameters()}
    taken: dict[str, str] = {}
    for name, tensor in model.state_dict().items():
        label = labelled.get(name)
        source = weights.get(label.source if label else name)
        if not isinstance(source, Tensor):
            continue
        if label and label.ours != label.theirs:
            if shared := _copy_places(tensor, source, label):
                taken[name] = f"{shared:,} of {len(label.ours):,}"
        elif source.shape == tensor.shape:
            tensor.copy_(source)
            taken[name] = ""
    kept = {name: part for name, part in taken.items() if name in parameters}
    return kept, [name for name, _ in model.named_parameters() if name not in kept]


def _copy_places(tensor: Tensor, source: Tensor, label: Labelled) -> int:
    """Copy what stands for the same in both along the axis; how many places that are, none where other axes differ."""
    shape, there = list(tensor.shape), list(source.shape)
    if (shape.pop(label.axis), there.pop(label.axis)) != (len(label.ours), len(label.theirs)):
        return 0
    known = {text: place for place, text in enumerate(label.theirs)}
    pairs = [(place, known[text]) for place, text in enumerate(label.ours) if text in known]
    if shape != there or not pairs:
        return 0
    here, from_there = torch.tensor(pairs).unbind(1)
    rows = source.index_select(label.axis, from_there).to(tensor)
    tensor.index_copy_(label.axis, here.to(tensor.device), rows)
    return len(pairs)


def _of_parts(taken: Mapping[str, str]) -> str:
    parts = [f"{part} in {name}" for name, part in taken.items() if part]
    return f"; by their text {listed(parts, most=_NAMED)}" if parts else ""


def _other_columns(ours: Known, theirs: Known) -> str:
    if ours.columns == theirs.columns:
        return ""
    return "; the columns of the data are others, and what reads them by their place is taken all the same"


def _shapes(tensors: Mapping[str, Tensor]) -> str:
    named = (f"{name} {'×'.join(map(str, t.shape))}" for name, t in tensors.items() if t.ndim)
    return listed(named, most=_NAMED)
