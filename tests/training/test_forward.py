"""Batches that follow one another."""

import pytest
import torch
from torch import nn

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.loaders import Split
from dlrun.training.forward import advance, on_tensors, outputs_in_order
from dlrun.training.tasks import make_task
from losses import loss

LANGUAGE = Spec("language", "tokens", (4,), 3, vocabulary=3)
CLASSES = Spec("multiclass", "features", (2,), 3, class_names=("a", "b", "c"))


class Counter(nn.Module):
    """Remembers how many tokens it has seen; scores all alike."""

    def __init__(self):
        super().__init__()
        self.seen, self.weight = [], nn.Parameter(torch.ones(()))

    def forward(self, x, state=None):
        before = torch.zeros(len(x)) if state is None else state[0]
        self.seen.append(before.detach().clone())
        after = (before + x.shape[1]) * self.weight
        return torch.zeros(*x.shape, 3) + 0 * self.weight, (after, (after * 2,))


def task_of(spec):
    return make_task(spec, loss(), Scaling([0.0], [1.0], [], [], 0.0))


def test_what_a_model_of_language_remembers_goes_on_without_its_gradient():
    model = Counter()
    _, state = advance(model, torch.zeros(2, 4, dtype=torch.long), None, LANGUAGE)
    assert state[0].tolist() == [4, 4] and state[1][0].tolist() == [8, 8]
    assert not state[0].requires_grad and not state[1][0].requires_grad
    _, state = advance(model, torch.zeros(2, 4, dtype=torch.long), state, LANGUAGE)
    assert state[0].tolist() == [8, 8]


def test_other_models_are_given_their_inputs_alone_and_remember_nothing():
    layer = nn.Linear(2, 3)
    x = torch.randn(5, 2)
    outputs, state = advance(layer, x, None, CLASSES)
    assert torch.equal(outputs, layer(x)) and state is None


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_outputs_come_in_order_whatever_the_size_of_a_batch(size):
    layer = nn.Linear(2, 3).double()
    split = Split(torch.randn(7, 2, dtype=torch.float64), torch.arange(7) % 3)
    outputs = outputs_in_order(
        layer, split, spec=CLASSES, task=task_of(CLASSES), size=size, dtype=torch.float64
    )
    torch.testing.assert_close(outputs, layer(split.inputs))


def test_a_tree_without_tensors_is_left_as_it_is():
    assert on_tensors(None, torch.Tensor.detach) is None
    assert on_tensors((None, (1,)), torch.Tensor.detach) == (None, (1,))
