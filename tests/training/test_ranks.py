"""What several processes of one run tell each other and make of it, each tried in one process."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dlrun.data.share import Share
from dlrun.system.signals import StopRequest
from dlrun.training import engine_state, interruptions, logged_points
from dlrun.training.interruptions import Interruptions
from dlrun.training.logged_points import Pending, gathered
from dlrun.training.ranks import Ranks
from dlrun.training.replica import Replica


class Played(Ranks):
    """One of several ranks; the others are played: what all send is given."""

    def __init__(self, index: int, size: int, sent: list[Any]) -> None:
        super().__init__(Share(index, size))
        self.sent = sent

    def each(self, values: Tensor) -> Tensor:
        torch.testing.assert_close(values, self.sent[0][self.share.index])
        return torch.stack(self.sent.pop(0))

    def parts_to_first(self, rows: Tensor, counts: Any) -> list[Tensor]:
        parts: list[Tensor] = self.sent.pop(0)
        assert [*map(len, parts)] == [*counts]
        torch.testing.assert_close(rows, parts[self.share.index])
        return parts if self.first else [rows]


def replica(index: int, size: int, *, mean: bool, sizes: list[int]) -> Replica:
    freezing: Any = SimpleNamespace(model=None, stage=0)
    feed: Any = SimpleNamespace(sizes=lambda epoch: sizes)
    unused: Any = None
    made = Replica(
        Ranks(Share(index, size)), freezing, feed, mean=mean, spec=unused, device=unused, generator=unused
    )  # fmt: skip
    made._learner = unused or torch.nn.Identity()
    assert not made.enter(0)
    return made


@pytest.mark.parametrize("size", [8, 5, 4, 3, 1])
@pytest.mark.parametrize("mean", [True, False])
def test_the_mean_of_the_gradients_of_all_ranks_is_that_of_the_whole_batch(
    mean: bool, size: int
) -> None:
    x = torch.arange(1.0, size + 1, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for index in range(4):
        one = replica(index, 4, mean=mean, sizes=[7, size])
        one.begin_batch(1)
        own = Share(index, 4).of(size)
        assert one.counts == bool(own)
        part = x[own.start : own.stop] if own else x[:1]
        total += one.weighted(part.mean() if mean else part.sum()) / 4
    torch.testing.assert_close(total, x.mean() if mean else x.sum())


def task(reduction: str) -> Any:
    total = logged_points.Task.total
    made = SimpleNamespace(reduction=reduction)
    made.total = lambda losses, sizes: total(made, losses, sizes)
    return made


def of_one_rank(losses: list[float], sizes: list[int], first: float) -> Pending:
    """What a rank has of steps with so many rows, which count on from `first`."""
    rows = [torch.arange(size) + first + 10 * at for at, size in enumerate(sizes)]
    return Pending(
        [torch.tensor(loss) for loss in losses], sizes, rows, [values + 100 for values in rows]
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_what_is_gathered_is_what_one_process_would_have_left(reduction: str) -> None:
    ranks = [of_one_rank([1.0, 4.0], [2, 1], 0.0), of_one_rank([3.0, 9.0], [1, 0], 2.0)]
    facts = [
        torch.tensor([[*map(len, one.outputs)], [*one.losses], one.sizes], dtype=torch.float64)
        for one in ranks
    ]
    sent = [facts, [torch.cat(one.outputs) for one in ranks], [torch.cat(one.targets) for one in ranks]]  # fmt: skip
    whole = gathered(ranks[0], Played(0, 2, list(sent)), task(reduction))
    expected = [(2 * 1.0 + 3.0) / 3, 4.0] if reduction == "mean" else [1.0 + 3.0, 4.0]
    assert torch.stack(whole.losses).tolist() == expected  # the last loss of rank 1 is of no row
    assert (whole.sizes, whole.whole) == ([3, 1], 2)
    assert [rows.tolist() for rows in whole.outputs] == [[0, 1, 2], [10]]
    assert [rows.tolist() for rows in whole.targets] == [[100, 101, 102], [110]]
    other = gathered(ranks[1], Played(1, 2, list(sent)), task(reduction))
    assert torch.stack(other.losses).tolist() == expected
    assert [len(rows) for rows in other.outputs] == [0, 0]
    assert gathered(whole, Played(0, 2, []), task(reduction)) is whole  # nothing is sent again


def test_the_parts_of_a_step_become_one_and_those_that_another_rank_counts_are_left_out() -> None:
    pending = of_one_rank([1.0], [2], 0.0)
    pending.end_step(counts=True)
    pending.losses.append(torch.tensor(2.0))
    pending.sizes.append(1)
    for rows in (pending.outputs, pending.targets):
        rows += [torch.ones(1), torch.ones(1)]
    pending.end_step(counts=False)
    assert pending.sizes == [2, 0]
    assert [len(rows) for rows in pending.outputs] == [2, 0]


class Exchanging(Ranks):
    """One of two ranks, and what the other would say in each exchange."""

    def __init__(self, index: int, others: list[list[int]]) -> None:
        super().__init__(Share(index, 2))
        self.others, self.told = others, list[list[int]]()

    def most(self, values: Any) -> list[int]:
        self.told.append(list(values))
        return [max(pair) for pair in zip(values, self.others.pop(0), strict=True)]


def intervals(every_seconds: float) -> Any:
    saving = SimpleNamespace(every_seconds=every_seconds)
    return SimpleNamespace(saving=saving, saving_due=lambda step, saved: False)


def test_the_first_rank_decides_by_its_clock_when_all_exchange_again_and_save(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(interruptions.time, "perf_counter", lambda: clock.now)
    ranks = Exchanging(0, [[0, 0, 0]] * 40)
    asked = Interruptions(ranks, intervals(0.5), StopRequest())
    saved = []
    for step in range(1, 150):
        clock.now += 0.01
        asked.stepped()
        if asked.saving_due(step):
            saved.append(step)
            asked.saved()
    steps = [told[2] for told in ranks.told]
    assert steps[:3] == [2, 4, 8]  # twice as many as before are the most
    assert {*steps[3:]} <= {9, 10}  # ten take the tenth of a second
    assert [after in range(50, 61) for after in (saved[0], saved[1] - saved[0])] == [True, True]


def test_a_signal_that_one_rank_notes_is_known_to_all_in_the_same_exchange() -> None:
    stop = StopRequest()
    other = Interruptions(Exchanging(1, [[0, 0, 3], [signal.SIGTERM, 0, 3]]), intervals(9), stop)
    other.stepped()
    for _ in range(2):
        stop.signal = signal.SIGINT  # of this rank alone: not before the exchange
        other.stepped()
        assert not other.stopping
    other.stepped()
    assert other.stopping and stop.signal == signal.SIGTERM


def test_what_is_remembered_of_streams_is_joined_along_them_and_shared_anew() -> None:
    whole = torch.arange(2 * 5 * 3.0).view(2, 5, 3)
    of_all = torch.tensor([7.0])

    def part(share: Share) -> Any:
        own = share.of(5) or range(1)
        return (whole[:, own.start : own.stop], (of_all, None))

    saved = {"ranks": [{"carried": part(Share(index, 2))} for index in range(2)]}
    for size in (1, 3, 8):
        for index in range(size):
            found = engine_state._own_carried(engine_of_streams(Share(index, size)), saved)
            torch.testing.assert_close(found[0], part(Share(index, size))[0])
            assert torch.equal(found[1][0], of_all) and found[1][1] is None


def engine_of_streams(share: Share) -> Any:
    """Of a model that remembers a (2, S, 3) of S streams, and a number of no stream."""

    class Model(torch.nn.Module):
        def forward(self, inputs: Tensor, state: Any) -> Any:
            return inputs, (torch.zeros(2, len(inputs), 3), (torch.zeros(1), None))

    from contextlib import nullcontext

    return SimpleNamespace(
        ranks=Ranks(share),
        model=Model(),
        device=SimpleNamespace(autocast=nullcontext),
        data=SimpleNamespace(
            spec=SimpleNamespace(carries_state=True),
            train=SimpleNamespace(sample=lambda count: torch.zeros(count, 1)),
        ),
        batches=SimpleNamespace(sizes=lambda epoch: [5]),
        freezing=SimpleNamespace(train=lambda model: None),
    )


def test_random_states_are_those_that_a_rank_had_and_new_ranks_keep_their_own() -> None:
    random = [{"torch": number} for number in range(3)]
    state = {"random": random[0], "ranks": [{"random": one} for one in random]}
    found = [engine_state.random_states_for(Share(index, 4), state) for index in range(4)]
    assert found == [*random, None]
    alone = {"random": random[0]}  # as a run of one process saves
    assert engine_state.random_states_for(Share(0, 2), alone) == random[0]
    assert engine_state.random_states_for(Share(1, 2), alone) is None
    assert (engine_state.ranks_of(state), engine_state.ranks_of(alone)) == (3, 1)


def test_gathered_values_begin_with_one_entry_a_step_where_a_run_of_one_process_goes_on() -> None:
    pending = of_one_rank([1.0, 2.0], [3, 1], 0.0)
    pending.outputs[:1] = pending.outputs[0].split(2)  # a step that was taken in parts
    pending.begin_with_whole()
    assert pending.whole == 2 and [len(rows) for rows in pending.outputs] == [4, 0]
