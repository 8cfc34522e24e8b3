"""The emulation of CUDA graphs does what a card would do, as far as tests rely on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from emulated_graphs import Emulation


def captured(
    work: Callable[[], Tensor], *generators: torch.Generator
) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        left = work()
    return graph, left


@pytest.mark.usefixtures("emulated_graphs")
def test_a_capture_changes_nothing_and_a_replay_does_the_work_again() -> None:
    total, step = torch.zeros(3), torch.ones(3)
    graph, doubled = captured(lambda: total.add_(step) * 2)
    assert total.tolist() == [0, 0, 0]
    for count in (1, 2):
        graph.replay()
        assert total.tolist() == [count] * 3 and doubled.tolist() == [2 * count] * 3
    step.fill_(10)
    graph.replay()
    assert total.tolist() == [12] * 3


@pytest.mark.usefixtures("emulated_graphs")
def test_what_python_decides_stays_as_it_was_at_the_capture() -> None:
    total, rates = torch.zeros(1), iter((1.0, 2.0))
    graph, _ = captured(lambda: total.add_(next(rates)))
    graph.replay()
    graph.replay()
    assert total.item() == 2


@pytest.mark.usefixtures("emulated_graphs")
def test_a_training_step_with_dropout_norm_and_adam_is_replayed() -> None:
    def built() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
        return model, torch.optim.Adam(model.parameters(), lr=0.1, fused=True)

    batches = torch.randn(6, 16, 4)
    found = []
    for replayed in (False, True):
        model, optimizer = built()
        inputs = torch.zeros(16, 4)

        def step(model=model, optimizer=optimizer, inputs=inputs) -> Tensor:  # type: ignore[no-untyped-def]
            for parameter in model.parameters():
                parameter.grad = None
            loss = model(inputs).square().mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        torch.manual_seed(1)
        inputs.copy_(batches[0])
        losses = [step().clone()]
        if replayed:
            graph, left = captured(step)
        for batch in batches[1:]:
            inputs.copy_(batch)
            if replayed:
                graph.replay()
            losses.append(left.clone() if replayed else step().clone())
        found.append((torch.stack(losses), dict(model.state_dict())))
    torch.testing.assert_close(*found, rtol=0, atol=0)


@pytest.mark.usefixtures("emulated_graphs")
@pytest.mark.parametrize(
    "read", [lambda x: x.sum().item(), lambda x: x[x > 0], torch.nonzero, lambda x: bool(x.any())]
)
def test_reading_numbers_while_capturing_fails(read: Callable[[Tensor], object]) -> None:
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        captured(lambda: torch.as_tensor(read(torch.ones(3))))


@pytest.mark.usefixtures("emulated_graphs")
def test_a_generator_that_is_not_registered_fails() -> None:
    own = torch.Generator().manual_seed(0)
    with pytest.raises(RuntimeError, match="not registered"):
        captured(lambda: torch.rand(2, generator=own))
    before = own.get_state()
    graph, drawn = captured(lambda: torch.rand(2, generator=own), own)
    assert torch.equal(own.get_state(), before)
    graph.replay()
    assert torch.equal(drawn, torch.rand(2, generator=torch.Generator().manual_seed(0)))


def test_graphs_are_counted(emulated_graphs: Emulation) -> None:
    graph, _ = captured(lambda: torch.ones(1) * 2)
    graph.replay()
    assert (emulated_graphs.captures, emulated_graphs.replays) == (1, 1)
