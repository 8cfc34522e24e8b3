"""What several processes of one run do beside training: resume, draw, stop and fail, each as all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from ranks_at_work import ALWAYS, CONFIGS, EXACT, KINDS
from side_by_side import PROCESSES, run
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dlrun.config.compose import compose
from dlrun.training.replica import _Learner, _settle

pytestmark = pytest.mark.cluster

Found = dict[int, list[dict[str, Any]]]


def config(words: tuple[str, ...]) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(compose([*ALWAYS, *words]), resolve=True)
    del plain["sweep"]  # no part of a run
    return dict(plain)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """By the number of ranks, what each of them found."""
    folder = tmp_path_factory.mktemp("ranks")
    composed = {name: config(words) for name, words in CONFIGS.items()}
    (folder / "configs.json").write_text(json.dumps(composed))
    (folder / "text.txt").write_text("".join(np.random.default_rng(0).choice([*"abcdef \n"], 2000)))
    run("ranks_at_work.py", folder)
    return {
        size: [json.loads((folder / f"found-{size}-{n}.json").read_text()) for n in range(size)]
        for size in (2, PROCESSES)
    }


@pytest.fixture(params=[2, 4])
def ranks(request: pytest.FixtureRequest, found: Found) -> list[dict[str, Any]]:
    """What each of 2 and of 4 ranks found."""
    return found[request.param]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_goes_on_is_as_if_never_stopped_bit_for_bit(
    kind: str, ranks: list[dict[str, Any]]
) -> None:
    assert [rank["goes_on"][kind] for rank in ranks] == [[]] * len(ranks)


@pytest.mark.parametrize("kind", EXACT)
def test_a_run_goes_on_by_another_number_of_processes_with_other_rounding(
    kind: str, ranks: list[dict[str, Any]]
) -> None:
    assert max(rank["by_another_number"][kind] for rank in ranks) < 1e-9


def test_each_rank_draws_numbers_of_its_own_and_the_first_as_alone(
    ranks: list[dict[str, Any]],
) -> None:
    drawn = [rank["each_draws_its_own"][0] for rank in ranks]
    assert drawn[0] == ranks[0]["each_draws_its_own"][1]
    for kind in zip(*drawn, strict=True):
        assert len(set(kind)) == len(ranks)


def test_an_evaluation_is_by_the_running_statistics_of_the_first_rank(
    ranks: list[dict[str, Any]],
) -> None:
    before, after = zip(*(rank["buffers_of_the_first"] for rank in ranks), strict=True)
    assert len({tuple(values) for values in before}) == len(ranks)
    assert list(after) == [before[0]] * len(ranks)


@pytest.mark.parametrize(
    ("what", "step", "said"),
    [
        ("pruned", 7, "Pruned: no hope"),
        ("diverged", 7, "Diverged: the loss is not a finite number at step 5"),
    ],
)
def test_what_one_rank_meets_ends_the_run_on_all(
    what: str, step: int, said: str, ranks: list[dict[str, Any]]
) -> None:
    ends = [rank["ends_alike"][what] for rank in ranks]
    assert {end[0] for end in ends} == {step}
    assert all(end[1].startswith(said) for end in ends)


def test_an_error_of_the_first_rank_that_cannot_be_sent_is_told_in_words(
    ranks: list[dict[str, Any]],
) -> None:
    first, *others = (rank["ends_alike"]["failed"][1] for rank in ranks)
    assert first == "CannotBeSent: the disk is full"
    assert set(others) == {"RunFailed: the disk is full"}


def test_a_signal_to_one_rank_stops_all_at_the_same_step(ranks: list[dict[str, Any]]) -> None:
    ends = [rank["ends_alike"]["signalled"] for rank in ranks]
    assert len({tuple(end) for end in ends}) == 1
    assert 3 <= ends[0][0] < 16 and ends[0][2] == 15


def test_a_model_may_use_its_layers_at_random_or_not_at_all(ranks: list[dict[str, Any]]) -> None:
    assert {rank["layers_left_out"]["apart"] for rank in ranks} == {0}
    assert ranks[0]["layers_left_out"]["moved"] == [True, True, True, True, False, False]


class OtherwiseUsed(nn.Module):
    """Its layers are used in another order than they are registered in."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(600, 600), nn.Linear(600, 600), nn.Linear(600, 3)])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[2](self.layers[0](self.layers[1](x)))


def test_gradients_are_added_up_in_the_same_groups_from_the_first_step_on(tmp_path: Path) -> None:
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = OtherwiseUsed()
        names = {id(p): name for name, p in model.named_parameters()}
        groups: list[list[str]] = []

        def sent(state, bucket):  # torch reads annotations, and these would be text
            groups.append([names[id(p)] for p in bucket.parameters()])
            future: Any = torch.futures.Future()
            future.set_result(bucket.buffer())
            return future

        learner = DistributedDataParallel(_Learner(model), bucket_cap_mb=1)
        learner.register_comm_hook(None, sent)
        _settle(learner)
        seen = []
        for _ in range(3):
            groups.clear()
            learner(lambda: model(torch.ones(2, 600)).sum()).backward()
            seen.append([*groups])
        assert len(seen[0]) > 1 and seen[1:] == [seen[0]] * 2
    finally:
        dist.destroy_process_group()
