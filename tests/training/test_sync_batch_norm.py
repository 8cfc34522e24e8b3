"""Batch norm over the samples of all ranks, beside torch's own over the whole batch in one process."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from dlrun.data.share import WHOLE, Share
from dlrun.errors import ConfigError
from dlrun.training.sync_batch_norm import left_out, synchronise

# Each with the shape of a sample, and as many numbers before its head.
LAYERS = {
    "1d of features": ([nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU()], (5,), 4),
    "1d of series": ([nn.BatchNorm1d(2), nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)], (2, 4), 8),
    "2d": ([nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()], (2, 4, 4), 16),
    "3d": ([nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.ReLU()], (2, 4, 4, 4), 32),
    "without weights": ([nn.Linear(5, 4), nn.BatchNorm1d(4, affine=False)], (5,), 4),
    "cumulative": ([nn.Linear(5, 4), nn.BatchNorm1d(4, momentum=None)], (5,), 4),
    "without statistics": ([nn.BatchNorm1d(5, track_running_stats=False)], (5,), 5),
}
SIZES = (9, 4, 3, 2)  # of batches: of 4 ranks the last have no samples in the last two


def train(
    model: nn.Module, shape: tuple[int, ...], share: Share
) -> tuple[list[float], dict[str, Tensor]]:
    """Train on batches of SIZES; the losses of whole batches, and the weights and statistics at the end."""
    draw, losses = torch.Generator().manual_seed(1), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for size in SIZES:
        x = torch.randn(size, *shape, dtype=torch.float64, generator=draw)
        y = torch.randint(3, (size,), generator=draw)
        rows = [*share.of(size)]
        with nullcontext() if rows else left_out(model):
            scores = model(x[rows or [0]])
        loss = nn.functional.cross_entropy(scores, y[rows or [0]], reduction="sum") / size
        loss = loss * bool(rows)
        optimizer.zero_grad()
        loss.backward()
        total = loss.detach()
        if share.count > 1:
            dist.all_reduce(total)
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)
        optimizer.step()
        losses.append(total.item())
    return losses, model.state_dict()


def compare(rank: int, folder: str) -> None:
    """Train each model as one of 4 ranks, then of 2, and compare with training alone."""
    torch.set_num_threads(1)
    for size in (4, 2):
        if rank >= size:
            return
        dist.init_process_group("gloo", f"file://{folder}/{size}", rank=rank, world_size=size)
        for name in LAYERS:
            compare_one(name, Share(rank, size))
        dist.destroy_process_group()


def compare_one(name: str, share: Share) -> None:
    layers, shape, width = LAYERS[name]
    alone = nn.Sequential(*copy.deepcopy(layers), nn.Flatten(), nn.Linear(width, 3)).double()
    torch.manual_seed(0)
    for parameter in alone.parameters():
        nn.init.normal_(parameter)
    synced = copy.deepcopy(alone)
    synchronise(synced, torch.device("cpu"))
    wanted, state = train(alone, shape, WHOLE)
    losses, found = train(synced, shape, share)
    assert losses == pytest.approx(wanted, abs=1e-12), f"{name}, {share}"
    torch.testing.assert_close(dict(found), dict(state), rtol=0, atol=1e-12)


@pytest.mark.cluster
def test_ranks_train_as_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(compare, (str(tmp_path),), 4)


def test_in_evaluation_it_is_torchs_own() -> None:
    alone = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    alone(torch.randn(8, 5))
    synced = copy.deepcopy(alone)
    synchronise(synced, torch.device("cpu"))
    x = torch.randn(3, 5)
    assert torch.equal(synced.eval()(x), alone.eval()(x))
    assert synced.state_dict().keys() == alone.state_dict().keys()


def test_a_batch_norm_of_the_users_own_is_refused_by_name() -> None:
    class Mine(nn.BatchNorm1d):
        pass

    with pytest.raises(ConfigError, match=r"sync_batch_norm is true, but 1 is a Mine"):
        synchronise(nn.Sequential(nn.Linear(2, 2), Mine(2)), torch.device("cpu"))
