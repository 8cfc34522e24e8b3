"""What every YAML in configs/model promises; a new one is tested without touching this file."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from dlrun.errors import ConfigError
from dlrun.models.members import members_of

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
# Those that score each step of a text, those that give their inputs again, and the one that reads as many
# features as it has weights written down, have tests of their own.
LANGUAGE = [name for name in NAMES if name.startswith("char_")] + ["gpt"]
OWN = ("autoencoder", "vae", "debiasing_vae", "perceptron")
PREDICTING = [name for name in NAMES if name not in [*LANGUAGE, *OWN]]
KINDS = ("features", "image", "sequence", "tokens")
BATCH = 4


@pytest.fixture
def models(build, make_spec):
    """(name, task) -> (spec, model) for each kind of data that the model reads."""

    def make(name, task="multiclass"):
        for kind in KINDS:
            spec = make_spec(kind, task)
            try:
                yield spec, build(name, spec)
            except ConfigError as error:
                assert f"model={name} reads" in str(error)

    return make


def loss_of(scores, task):
    if scores.ndim == 3:  # in training, of each member
        return sum(loss_of(member, task) for member in scores.unbind(1))
    if task == "multiclass":
        return F.cross_entropy(scores, torch.arange(len(scores)) % scores.shape[1])
    targets = (torch.arange(scores.numel()) % 2).float().reshape(scores.shape)
    if task == "binary":
        return F.binary_cross_entropy_with_logits(scores, targets)
    return F.mse_loss(scores, targets)


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_opens_with_its_description_and_hides_no_setting(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    assert re.match(r"# \S.*\n_target_: ", text)
    values = yaml.safe_load(text).values()
    assert not any(isinstance(value, dict) for value in values)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("name", PREDICTING)
def test_scores_have_one_row_a_sample_and_one_gradient_step_lowers_the_loss(
    name, task, models, inputs
):
    tried = 0
    for spec, model in models(name, task):
        x = inputs(spec, BATCH)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        torch.manual_seed(0)  # the same dropout before and after
        scores = model(x)
        members = [model.members] if members_of(model) else []
        assert scores.shape == (BATCH, *members, spec.num_outputs)
        before = loss_of(scores, task)
        before.backward()
        trained = [p for p in model.parameters() if p.requires_grad]
        assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
        optimizer.step()
        torch.manual_seed(0)
        assert loss_of(model(x), task) < before
        tried += 1
    assert tried, f"{name} reads no kind of data"


@pytest.mark.parametrize("name", NAMES)
def test_data_that_is_not_read_is_refused_with_a_choice_that_reads_it(name, build, make_spec):
    refusals = {}
    for kind in KINDS:
        try:
            build(name, make_spec(kind))
        except ConfigError as error:
            refusals[kind] = str(error)
    assert refusals or name == "transformer", f"model={name} refuses no kind of data"
    for kind, words in refusals.items():
        choice = re.search(r"; choose model=(\w+) or a dataset of", words)
        assert choice, words
        assert build(choice[1], make_spec(kind)), kind


@pytest.mark.parametrize("name", PREDICTING)
def test_stacked_copies_give_the_scores_and_gradients_of_each_alone(name, models, build, inputs):
    for spec, model in models(name):
        twins = [model.eval(), build(name, spec).eval()]
        state = stack_module_state(twins)
        x = inputs(spec, BATCH)

        def loss(parameters, buffers, x=x, model=model):
            scores = functional_call(model, (parameters, buffers), (x,))
            return loss_of(scores, "multiclass"), scores

        gradients, scores = vmap(grad(loss, has_aux=True))(*state)
        for i, twin in enumerate(twins):
            torch.testing.assert_close(scores[i], twin(x), rtol=1e-4, atol=1e-5)
            loss_of(twin(x), "multiclass").backward()
            trained = {n: p for n, p in twin.named_parameters() if p.requires_grad}
            for path, parameter in trained.items():
                torch.testing.assert_close(gradients[path][i], parameter.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", PREDICTING)
def test_the_same_seed_gives_the_same_weights(name, models):
    states = []
    for _ in range(2):
        torch.manual_seed(1)
        _, model = next(models(name))
        states.append(model.state_dict())
    first, second = states
    assert all(torch.equal(first[path], second[path]) for path in first)
