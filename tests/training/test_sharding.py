"""Models of which each rank holds a part, beside the same models whole in one process."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dlrun.config.settings import GradientSettings
from dlrun.data.share import WHOLE, Share
from dlrun.errors import ConfigError
from dlrun.training import optim
from dlrun.training.gradients import gradient_norm
from dlrun.training.schedules import constant
from dlrun.training.sharding import blocks, load_optimizer, load_weights, made_whole, shard, whole

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9},
    "rmsprop": {"alpha": 0.9, "eps": 1e-8, "momentum": 0.1, "centered": True},
    "adagrad": {"lr_decay": 0.1, "initial_accumulator": 0.1, "eps": 1e-10},
    "adadelta": {"rho": 0.9, "eps": 1e-6},
    "adam": {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "amsgrad": True},
    "adamw": {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "amsgrad": False},
    "lion": {"beta1": 0.9, "beta2": 0.99},
}
RULES = GradientSettings(
    weight_decay=0.01,
    decay_biases_and_norms=False,
    l1=0.001,
    clip_norm=0.3,
    clip_value=0.2,
    lr_multipliers=None,
)


class Block(nn.Module):
    def __init__(self, width: int = 7) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.linear(self.norm(x)))


class Tied(nn.Module):
    """Scores by the rows of the embedding, which two blocks stand between."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 7)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(7, 9, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed((4 * x).abs().long() % 9).mean(1)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, 7, 2, batch_first=True), nn.Linear(7, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x.unsqueeze(-1))[0][:, -1])


def stack() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), Block(), Block(), nn.Linear(7, 9))


MODELS = {"stack": stack, "tied": Tied, "recurrent": Recurrent}


def test_blocks_are_what_repeats_and_the_outermost_of_that() -> None:
    model = nn.Module()
    model.stem = nn.Linear(5, 7)
    model.stages = nn.Sequential(nn.Sequential(Block(), Block()), nn.Sequential(Block()))
    model.head = nn.Linear(7, 3)
    assert blocks(model) == [*model.stages[0], *model.stages[1]]


def test_of_a_stack_of_layers_each_large_one_is_a_block() -> None:
    layers = [nn.Linear(500, 500), nn.LayerNorm(500), nn.Linear(500, 500)]
    model = nn.Sequential(*layers, nn.Linear(500, 1), nn.Linear(1, 500))
    assert blocks(model) == [layers[0], layers[2]]


def test_blocks_that_share_weights_stay_whole_together() -> None:
    model = nn.Sequential(Block(), Block(), Block(), Block())
    model[3].linear.weight = model[0].linear.weight
    assert blocks(model) == [model[1], model[2]]


@pytest.mark.cluster
def test_ranks_with_parts_train_as_one_process_with_the_whole_model(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(compare_all, (str(tmp_path),), 2)


def compare_all(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    for name in OPTIMIZERS:
        compare(stack, name, Share(rank, 2))
    for make in MODELS.values():
        compare(make, "adamw", Share(rank, 2))
    refuse_scalars()
    dist.destroy_process_group()


def compare(make: Any, name: str, share: Share) -> None:
    """Train alone and in parts; then load what was made_whole into other models, whole and in parts."""
    torch.manual_seed(0)
    alone = make().double()
    parted = copy.deepcopy(alone)
    averages = [AveragedModel(m, multi_avg_fn=get_ema_multi_avg_fn(0.9)) for m in (alone, parted)]
    shard(parted, averages[1], torch.device("cpu"))
    held = sum(p.to_local().numel() for p in parted.parameters())  # type: ignore[attr-defined]
    assert 0.4 < held / sum(p.numel() for p in alone.parameters()) < 0.65
    wanted, descent = train(alone, averages[0], name, WHOLE)
    found, of_parts = train(parted, averages[1], name, share)
    assert found == pytest.approx(wanted, abs=1e-12), name
    first = share.index == 0
    trained = (parted, averages[1], of_parts.optimizer)
    states = [made_whole(one.state_dict(), first=first) for one in trained]
    if first:
        states[2].pop("param_groups")  # whose kernels differ
        for state, like in zip(states, (alone, averages[0], descent.optimizer), strict=True):
            wanted_state = {key: like.state_dict()[key] for key in state}
            torch.testing.assert_close(state, wanted_state, rtol=0, atol=1e-9)
    again = make().double()
    shard(again, None, torch.device("cpu"))
    load_weights(again, states[0])
    optimizer = descent_of(again, name).optimizer
    load_optimizer(optimizer, made_whole(of_parts.optimizer.state_dict(), first=first))
    for state, other in zip((states[0], states[2]), (again, optimizer), strict=True):
        same = made_whole(other.state_dict(), first=first)
        if first:
            torch.testing.assert_close({key: same[key] for key in state}, state, rtol=0, atol=0)


def descent_of(model: nn.Module, name: str) -> optim.Descent:
    groups = optim.parameter_groups(model, RULES)
    optimizer = getattr(optim, name)(groups, lr=0.1, **OPTIMIZERS[name])
    return optim.Descent(optimizer, constant, RULES, torch.amp.GradScaler("cpu", enabled=False))


def train(
    model: nn.Module, average: AveragedModel, name: str, share: Share
) -> tuple[list[float], optim.Descent]:
    """Losses of whole batches and norms of gradients, with a pass in evaluation before each step."""
    descent, draw, found = descent_of(model, name), torch.Generator().manual_seed(1), []
    for step in range(4):
        x = torch.randn(6, 5, dtype=torch.float64, generator=draw)
        y = torch.randint(9, (6,), generator=draw)
        with torch.no_grad():
            assert torch.isfinite(average.module(x[:2])).all()
        rows = [*share.of(6)]
        loss = F.cross_entropy(model(x[rows]), y[rows], reduction="sum") / 6
        descent.clear()
        descent.backward(loss * share.count)
        norm = gradient_norm(descent.parameters)
        descent.update(step)
        average.update_parameters(model)
        total = loss.detach()
        if share.count > 1:
            dist.all_reduce(total)
        found += [total.item(), norm.item()]
    return found, descent


def refuse_scalars() -> None:
    model = stack()
    model.scale = nn.Parameter(torch.tensor(2.0))
    with pytest.raises(ConfigError, match=r"fsdp, which cannot part this model .*scalar"):
        shard(model, None, torch.device("cpu"))
    assert whole(torch.ones(2)).sum() == 2
