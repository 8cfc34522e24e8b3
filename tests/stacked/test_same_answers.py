"""Runs trained as one: each comes to what it comes to alone, whatever differs between them."""

from __future__ import annotations

import copy

import pytest
import torch
from stacks import DIGITS, assert_same_answers
from torch import Tensor

from dlrun.training.engine_state import engine_state, load_engine_state
from dlrun.training.loop import Engine
from older_torch import skip_without_muon

MLP = (*DIGITS, "model=mlp", "model.hidden=[16]")
RATES = ("optimizer.lr=0.01", "optimizer.lr=0.003", "optimizer.lr=0.001")

MODELS = {
    "logistic": ("model=logistic",),
    "mlp": ("model=mlp", "model.hidden=[16,8]"),
    "mlp_prelu": ("model=mlp", "model.hidden=[16]", "model.activation=prelu"),
    "mlp_norm_before": ("model=mlp", "model.hidden=[16]", "model.batch_norm=before"),
    "mlp_norm_after": ("model=mlp", "model.hidden=[16]", "model.batch_norm=after"),
    "cnn": ("model=cnn", "model.filters=[4,6]", "model.dense=[8]"),
    "cnn_average": ("model=cnn", "model.filters=[4]", "model.pool=average", "model.padding=valid"),
    "cnn_norm": ("model=cnn", "model.filters=[4,6]", "model.batch_norm=true"),
    "resnet": ("model=resnet", "model.depth=8", "model.width=2"),
    "whitened_cnn": ("model=whitened_cnn", "model.widths=[4,6]"),
    "rnn": ("model=rnn", "model.hidden_size=8"),
    "lstm": ("model=lstm", "model.hidden_size=8"),
    "lstm_deep": ("model=lstm", "model.hidden_size=5", "model.layers=2", "model.bidirectional=true"),
    "gru": ("model=gru", "model.hidden_size=8", "model.pooling=mean"),
    "transformer": ("model=transformer", "model.width=8", "model.heads=2", "model.layers=1"),
    "tcn": ("model=tcn", "model.channels=4", "model.layers=1"),
    "autoencoder": ("model=autoencoder", "model.filters=[]", "model.hidden=[8]"),
    "vae": ("model=vae", "model.filters=[4]", "model.hidden=[8]", "model.latent=3"),
}  # fmt: skip


SLOWER = (
    "resnet",
    "whitened_cnn",
    "mlp_prelu",
    "mlp_norm_after",
    "cnn_average",
    "rnn",
    "lstm_deep",
    "tcn",
)


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=pytest.mark.slow) if m in SLOWER else m for m in MODELS]
)
def test_every_model_learns_in_a_stack_what_it_learns_alone(model: str) -> None:
    assert_same_answers((*DIGITS, *MODELS[model], "optimizer=adam"), RATES)


def test_categories_are_learned_in_a_stack_as_alone() -> None:
    words = ("dataset=csv", "model=wide_deep", "model.crosses=[[sex,day]]", "model.hidden=[8]")
    assert_same_answers((*DIGITS[1:], *words, "optimizer=adam"), RATES)


TABM = (
    "model=tabm",
    "model.members=3",
    "model.hidden=[4]",
    "model.pieces=2",
    "model.number_size=3",
)


@pytest.mark.parametrize(
    "data",
    [
        ("dataset=csv", "loss=quantile"),
        ("dataset=breast_cancer", "loss.label_smoothing=0.1", "loss.reduction=sum"),
        ("dataset=csv", "dataset.target=[sex,smoker]", "model.adapters=first"),
        ("dataset=iris", "trainer.accumulate=3"),
        ("dataset=diabetes", "loss=poisson"),
    ],
)
def test_members_learn_in_a_stack_as_alone(data: tuple[str, ...]) -> None:
    assert_same_answers((*DIGITS[3:], *TABM, *data, "optimizer=adam"), RATES[:2])


@pytest.mark.parametrize("targets", ["tip,total_bill", "sex,smoker"])
def test_several_targets_are_learned_in_a_stack_as_alone(targets: str) -> None:
    words = ("dataset=csv", f"dataset.target=[{targets}]", "model=mlp", "model.hidden=[8]")
    smoothing = " loss.label_smoothing=0.1" if "sex" in targets else ""
    assert_same_answers(
        (*DIGITS[1:], *words, "optimizer=adam"), [*RATES[:2], f"{RATES[2]}{smoothing}"]
    )


@pytest.mark.parametrize(
    ("data", "metrics"),
    [
        ("digits", "macro_f1,roc_auc,average_precision,brier,calibration_error,top_2_accuracy"),
        ("csv dataset.target=tip", "mape,smape,explained_variance,median_absolute_error"),
        ("csv dataset.target=[sex,smoker]", "mcc,log_loss,micro_f1,roc_auc"),
    ],
)
def test_chosen_metrics_are_in_a_stack_what_they_are_alone(data: str, metrics: str) -> None:
    words = (*DIGITS[1:], f"dataset={data}".split()[0], *data.split()[1:], f"metrics=[{metrics}]")
    own = [*RATES[:2], f"{RATES[2]} dataset.split_seed=3"]  # one has other rows to validate
    assert_same_answers((*words, "model=mlp", "model.hidden=[8]"), own, epochs=2)


# Each trial has another seed too: other weights at the start, and another order of the batches.
OPTIMIZERS = {
    "sgd": ["optimizer.lr=0.1", "optimizer.lr=0.01"],
    "momentum": ["optimizer.momentum=0.9", "optimizer.momentum=0.5 optimizer.lr=0.1", "optimizer.momentum=0"],
    "nesterov": ["optimizer.momentum=0.9", "optimizer.momentum=0.5 optimizer.lr=0.01"],
    "rmsprop": [
        "optimizer.alpha=0.99", "optimizer.alpha=0.9 optimizer.momentum=0.5", "optimizer.eps=0.1",
    ],
    "rmsprop optimizer.centered=true": [
        "optimizer.alpha=0.9 optimizer.eps=0.01", "optimizer.momentum=0.3",
    ],
    "adagrad": [
        "optimizer.lr_decay=0.1", "optimizer.lr=0.1 optimizer.eps=0.01",
        "optimizer.initial_accumulator=0.5",
    ],
    "adadelta": ["optimizer.rho=0.9", "optimizer.rho=0.5 optimizer.eps=0.001", "optimizer.lr=0.5"],
    "adam": [
        "optimizer.beta1=0.9", "optimizer.beta1=0.5 optimizer.beta2=0.9", "optimizer.eps=0.01",
    ],
    "adam optimizer.amsgrad=true": ["optimizer.lr=0.1", "optimizer.beta2=0.5"],
    "adamw": ["optimizer.beta1=0.9", "optimizer.weight_decay=0.3", "optimizer.eps=0.01"],
    "lion": [
        "optimizer.lr=0.003", "optimizer.beta1=0.5 optimizer.lr=0.001",
        "optimizer.beta2=0.5 optimizer.weight_decay=0.3",
    ],
    "schedule_free schedule.warmup_steps=7 optimizer.decay_biases_and_norms=false": [
        "optimizer.lr=0.01", "optimizer.beta1=0.5 schedule.warmup_steps=3", "optimizer.weight_decay=0.3",
    ],
    "muon optimizer.decay_biases_and_norms=false": [
        "optimizer.lr=0.01", "optimizer.momentum=0.5 optimizer.beta1=0.5",
        "optimizer.weight_decay=0.3", "optimizer.lr=0.003",
    ],
    "muon optimizer.adamw_lr=0.002 optimizer.adjust_lr=original": [
        "optimizer.lr=0.03", "optimizer.adamw_lr=0.01", "optimizer.eps=0.1",
    ],
}  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_has_settings_of_each_trial_own(optimizer: str) -> None:
    if optimizer.startswith("schedule_free"):
        pytest.importorskip("schedulefree")
    skip_without_muon(optimizer)
    common = (*MLP, *f"optimizer={optimizer}".split())
    own = [f"{words} seed={seed}" for seed, words in enumerate(OPTIMIZERS[optimizer])]
    # Muon iterates in bfloat16, whose products another kernel may round otherwise.
    assert_same_answers(common, own, relative=1e-2 if optimizer.startswith("muon") else 1e-9)


@pytest.mark.parametrize(
    "optimizer",
    [
        "sgd",
        "adamw",
        *(
            pytest.param(o, marks=pytest.mark.slow)
            for o in ("rmsprop", "adagrad", "adadelta", "adam")
        ),
    ],
)
@pytest.mark.parametrize("all_weights", ["true", "false"])
def test_weight_decay_is_each_trial_own_and_spares_biases_where_asked(
    optimizer: str, all_weights: str
) -> None:
    common = (
        *MLP, "model.batch_norm=after", f"optimizer={optimizer}",
        f"optimizer.decay_biases_and_norms={all_weights}",
    )  # fmt: skip
    decays = [
        "optimizer.weight_decay=0.1",
        "optimizer.weight_decay=0",
        "optimizer.weight_decay=0.01",
    ]
    assert_same_answers(common, decays)


def test_penalties_and_limits_are_each_trial_own_and_null_goes_with_numbers() -> None:
    assert_same_answers(
        (*MLP, "optimizer=momentum"),
        [
            "optimizer.l1=0.01",
            "optimizer.clip_value=0.01",
            "optimizer.clip_norm=0.1",
            "optimizer.clip_norm=0.5 optimizer.clip_value=0.05 optimizer.l1=0.001",
            "optimizer.clip_norm=null optimizer.clip_value=null",
        ],
    )


@pytest.mark.parametrize("warmup", [3, pytest.param(0, marks=pytest.mark.slow)])
def test_schedules_are_each_trial_own(warmup: int) -> None:
    schedules = [
        "cosine", "linear schedule.final=0.1", "exponential schedule.rate=0.5", "inverse_sqrt",
        "inverse_time schedule.decay=2", "inverse_time", "step schedule.every_epochs=2", "one_cycle",
        "constant", "constant schedule.warmup_steps=9",
    ]  # fmt: skip
    each = [f"schedule.warmup_steps={warmup} schedule={schedule}" for schedule in schedules]
    assert_same_answers((*MLP, "optimizer=momentum", "trainer.max_epochs=5"), each)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_label_smoothing_is_each_trial_own(reduction: str) -> None:
    common = (*MLP, f"loss.reduction={reduction}")
    assert_same_answers(common, [f"loss.label_smoothing={share}" for share in (0, 0.1, 0.5)])


def test_reconstructions_have_a_loss_of_each_trial_own() -> None:
    words = ("model=autoencoder", "model.filters=[]", "model.hidden=[8]", "loss=huber")
    assert_same_answers((*DIGITS, *words), [f"loss.delta={delta}" for delta in (1, 0.1)])


def test_trials_of_other_seeds_see_other_data_in_another_order() -> None:
    each = ["seed=0", "seed=1", "seed=2 dataset.split_seed=0", "seed=0 optimizer.lr=0.01"]
    assert_same_answers(MLP, each)
    assert_same_answers([*MLP, "trainer.drop_last=true", "trainer.batch_size=50"], each)
    assert_same_answers([*MLP, "trainer.shuffle=false"], each)


@pytest.mark.parametrize(
    "model",
    [
        ("model=mlp", "model.hidden=[16,16]", "model.input_dropout=0.1"),
        ("model=cnn", "model.filters=[4]", "model.dense_dropout=0.3", "model.dense=[8]"),
        pytest.param(
            ("model=lstm", "model.hidden_size=6", "model.layers=2"), marks=pytest.mark.slow
        ),
    ],
    ids=["mlp", "cnn", "lstm"],
)
def test_dropout_draws_for_each_trial_the_masks_that_it_draws_alone(model: tuple[str, ...]) -> None:
    each = ["model.dropout=0.2", "model.dropout=0.5 seed=1", "model.dropout=0.01 seed=2"]
    assert_same_answers((*DIGITS, *model), each)


@pytest.mark.parametrize(
    "augment",
    [
        "dataset.augment={shift: 1, flip: true, rotation: 10, noise: 0.1, cutout: 2}",
        "dataset.augment={shift: 2, shift_padding: reflect, flip: alternating, vertical_flip: alternating}",
        "dataset.augment={mixup: 0.4, cutmix: 1, crop: 0.3, colour: 0.2, erase: 0.5, policy: trivial_augment}",
    ],
)
def test_augmentation_changes_for_each_trial_what_it_changes_alone(augment: str) -> None:
    model = ("model=cnn", "model.filters=[4]", "model.dense=[]", "model.dropout=0.2")
    each = ["seed=0", "seed=1", "optimizer.lr=0.01"]
    assert_same_answers((*DIGITS, *model, augment), each, epochs=2)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_batch_may_be_taken_in_parts(reduction: str) -> None:
    words = (*MLP, "trainer.accumulate=3", "model.dropout=0.2", f"loss.reduction={reduction}")
    assert_same_answers(words, [*RATES, "optimizer.lr=0.01 seed=3 optimizer.clip_norm=0.1"])


TASKS = {
    "binary": ("dataset=moons", "dataset.size=200", "dataset.seed=0"),
    "binary_smoothed": ("dataset=breast_cancer", "loss.label_smoothing=0.1"),
    "multiclass": ("dataset=iris",),
    "mse": ("dataset=diabetes", "loss=mse"),
    "mae": ("dataset=diabetes", "loss=mae"),
    "huber_sum": ("dataset=diabetes", "loss=huber", "loss.reduction=sum"),
    "quantile": ("dataset=diabetes", "loss=quantile"),
}


LOSSES = {
    "dataset=iris loss=cross_entropy": [
        "loss.class_weights=balanced", "loss.class_weights=balanced seed=1 loss.label_smoothing=0.1",
    ],
    "dataset=iris loss=focal": ["loss.gamma=0", "loss.gamma=2", "loss.gamma=0.5 optimizer.lr=0.01"],
    "dataset=iris loss=focal loss.class_weights=balanced": ["seed=0", "seed=1 loss.gamma=1"],
    "dataset=iris loss=cross_entropy ": ["loss.class_weights=[1,2,3]", 'loss.class_weights={"setosa":0.5}'],
    "dataset=breast_cancer loss=binary_cross_entropy": [
        "loss.positive_weight=1", "loss.positive_weight=3", "loss.label_smoothing=0.1 loss.positive_weight=2",
    ],
    "dataset=breast_cancer loss=focal loss.class_weights=balanced": ["seed=0", "seed=1 loss.gamma=1"],
    "dataset=csv dataset.target=[sex,smoker] loss=focal loss.class_weights=balanced": [
        "loss.gamma=1", "loss.gamma=2 seed=1",
    ],
    "dataset=csv dataset.target=[sex,smoker] loss=binary_cross_entropy loss.positive_weight=balanced": [
        "seed=0", "seed=1 loss.label_smoothing=0.1",
    ],
    "dataset=diabetes loss=huber": ["loss.delta=0.3", "loss.delta=2 loss.reduction=mean"],
    "dataset=diabetes loss=poisson": ["seed=0", "seed=1", "optimizer.lr=0.003"],
}  # fmt: skip


@pytest.mark.parametrize("common", LOSSES)
def test_the_numbers_of_a_loss_are_each_trial_own(common: str) -> None:
    words = [*common.split(), "model=mlp", "model.hidden=[8]", "optimizer.lr=0.001", *DIGITS[3:]]
    assert_same_answers(words, LOSSES[common], epochs=2)


@pytest.mark.parametrize("how", ["oversample", "undersample"])
def test_balanced_classes_are_drawn_for_each_trial_as_alone(how: str) -> None:
    words = ("dataset=breast_cancer", "dataset.split_seed=0", f"dataset.balance={how}")
    common = (*words, "model=mlp", "model.hidden=[8]", *DIGITS[3:])
    assert_same_answers(common, ["seed=0", "seed=1", "seed=0 optimizer.lr=0.01"], epochs=2)


@pytest.mark.parametrize("task", TASKS)
def test_every_kind_of_task_may_be_stacked(task: str) -> None:
    common = [*TASKS[task], "model=mlp", "model.hidden=[8]", *DIGITS[3:]]
    assert_same_answers(common, [*RATES, "optimizer.lr=0.01 seed=1"])


def test_moons_of_another_seed_are_other_points() -> None:
    common = ["dataset=moons", "dataset.size=200", "model=mlp", "model.hidden=[8]", *DIGITS[3:]]
    assert_same_answers(common, ["seed=0", "seed=1", "dataset.seed=5", "dataset.split_seed=5"])


@pytest.mark.parametrize(
    "model",
    [
        "mlp_norm_before",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("logistic", "cnn_norm")),
    ],
)
def test_in_single_precision_the_difference_is_noise(model: str) -> None:
    common = (*DIGITS, "trainer.precision=fp32", "optimizer=momentum", *MODELS[model])
    assert_same_answers(common, ["optimizer.lr=0.01", "optimizer.lr=0.003"], relative=2e-3)


def test_pictures_may_lie_channels_last() -> None:
    common = (*DIGITS, *MODELS["cnn_norm"], "trainer.channels_last=true")
    assert_same_answers(common, RATES[:2])


def test_a_stack_of_runs_that_were_trained_before_goes_on_from_there() -> None:
    from stacks import engine

    from dlrun.stacked.stack import Stack

    words = [(*MLP, "optimizer=adam", f"optimizer.lr={rate}") for rate in (0.01, 0.1)]
    runs, singles = ([engine(*each) for each in words] for _ in range(2))

    def train_alone(run: object, epoch: int) -> None:
        for inputs, targets in run.batches.epoch(epoch):  # type: ignore[attr-defined]
            run.train_step(inputs, targets)  # type: ignore[attr-defined]
            run.step += 1  # type: ignore[attr-defined]

    for run in runs:
        train_alone(run, 0)
    stack = Stack(runs, eval_rows=10)
    for epoch in (1, 2):
        for inputs, targets in stack.batches.epoch(epoch):
            stack.train_step(inputs, targets)
    stack.share_pending()
    for epoch in range(3):
        train_alone(singles[1], epoch)
    losses, expected = (torch.stack(run.pending.losses) for run in (runs[1], singles[1]))
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize(("precision", "rounding"), [("fp64", 1e-15), ("fp32", 1e-6)])
def test_where_rounding_grows_each_single_step_still_differs_by_no_more_than_rounding(
    precision: str, rounding: float
) -> None:
    """At these rates the losses of two runs that differ in one bit are soon nothing alike."""
    from stacks import engine

    from dlrun.stacked.stack import Stack

    common = (*MLP, "optimizer=momentum", f"trainer.precision={precision}")
    settings = [
        "optimizer.lr=0.9 optimizer.momentum=0.99",
        "optimizer.lr=0.3 optimizer.clip_norm=1",
    ]
    words = [(*common, *own.split()) for own in settings]
    singles, runs = ([engine(*each) for each in words] for _ in range(2))
    for epoch in range(3):
        for batches in zip(*(single.batches.epoch(epoch) for single in singles), strict=True):
            for run, single in zip(runs, singles, strict=True):
                load_engine_state(run, copy.deepcopy(engine_state(single)))
            stack = Stack(runs, eval_rows=10)
            for single, batch in zip(singles, batches, strict=True):
                single.train_step(*batch)
                single.step += 1
            stack.train_step(*(torch.stack(parts) for parts in zip(*batches, strict=True)))
            for run, single in zip(runs, singles, strict=True):
                torch.testing.assert_close(_weights(run), _weights(single), rtol=0.0, atol=rounding)


def _weights(run: Engine) -> Tensor:
    """All of them, as a share of their length."""
    flat = torch.cat([tensor.double().flatten() for tensor in run.model.state_dict().values()])
    return flat / flat.norm()


def test_frozen_layers_and_their_norms_stay_in_a_stack_as_alone() -> None:
    words = (*MODELS["cnn_norm"], "optimizer=momentum", "model.freeze=[blocks.0.*]")
    assert_same_answers((*DIGITS, *words), RATES)


@pytest.mark.parametrize("optimizer", ["adamw", "momentum"])
def test_each_run_of_a_stack_has_learning_rates_by_parameter_as_alone(optimizer: str) -> None:
    words = (
        *MLP,
        f"optimizer={optimizer}",
        "optimizer.weight_decay=0.1",
        "optimizer.decay_biases_and_norms=false",
    )
    by = "optimizer.lr_multipliers={{'1.*':{},'3.weight':3}}".format
    assert_same_answers(
        words, [f"{by(0.1)} {RATES[0]}", f"{by(2)} {RATES[1]} schedule.warmup_steps=4"]
    )
