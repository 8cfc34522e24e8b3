"""Multipliers of the learning rate against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from dlrun.config.instantiate import component
from dlrun.errors import ConfigError
from dlrun.training import schedules
from dlrun.training.schedules import Plateau, bind, plateau_of


def bound(name, *, warmup_steps=0, steps_per_epoch=10, total_steps=100, **settings):
    node = {"_target_": f"dlrun.training.schedules.{name}", **settings}
    return bind(
        component("schedule", node, given=schedules.GIVEN),
        warmup_steps=warmup_steps,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )


def test_constant_is_one_at_every_step():
    assert {bound("constant")(step) for step in range(100)} == {1.0}


def test_exponential_is_095_to_the_power_of_the_epoch():
    multiplier = bound("exponential", rate=0.95)
    assert multiplier(0) == multiplier(9) == 1.0
    assert multiplier(10) == multiplier(19) == pytest.approx(0.95)
    assert multiplier(20) == pytest.approx(0.9025)
    assert multiplier(55) == pytest.approx(0.7737809375)  # 0.95^5
    assert multiplier(99) == pytest.approx(0.6302494097)  # 0.95^9


def test_inverse_sqrt_is_one_over_the_root_of_the_epoch_counted_from_one():
    multiplier = bound("inverse_sqrt")
    assert multiplier(0) == multiplier(9) == 1.0
    assert multiplier(10) == pytest.approx(0.7071067812)  # epoch 2
    assert multiplier(39) == pytest.approx(0.5)  # epoch 4
    assert multiplier(89) == pytest.approx(1 / 3)  # epoch 9


def test_inverse_time_is_one_over_one_plus_decay_times_epoch():
    multiplier = bound("inverse_time", decay=1)
    assert [multiplier(step) for step in (0, 9, 10, 20, 30)] == pytest.approx(
        [1, 1, 1 / 2, 1 / 3, 1 / 4]
    )
    assert bound("inverse_time", decay=0.5)(40) == pytest.approx(1 / 3)
    assert bound("inverse_time", decay=0)(40) == 1


def test_the_lectures_rates_from_a_base_of_two_tenths_and_a_decay_of_one():
    multiplier = bound("inverse_time", decay=1, steps_per_epoch=1)
    rates = [round(0.2 * multiplier(epoch), 3) for epoch in range(4)]
    assert rates == [0.2, 0.1, 0.067, 0.05]


def test_step_falls_by_its_factor_every_few_epochs():
    multiplier = bound("step_decay", every_epochs=3, factor=0.1)
    assert [multiplier(step) for step in (0, 29, 30, 59, 60, 99)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.001]
    )


def test_cosine_falls_from_one_over_the_half_to_its_final_share():
    multiplier = bound("cosine", total_steps=101, final=0.2)
    assert multiplier(0) == pytest.approx(1)
    assert multiplier(25) == pytest.approx(0.2 + 0.8 * 0.8535533906)  # (1 + cos 45°) / 2
    assert multiplier(50) == pytest.approx(0.6)
    assert multiplier(75) == pytest.approx(0.2 + 0.8 * 0.1464466094)
    assert multiplier(100) == pytest.approx(0.2)


def test_linear_falls_in_equal_steps_to_its_final_share():
    multiplier = bound("linear", total_steps=5, final=0)
    assert [multiplier(step) for step in range(5)] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert bound("linear", total_steps=11, final=0.5)(5) == pytest.approx(0.75)
    assert bound("linear", total_steps=3, final=2)(2) == pytest.approx(2)


def test_one_cycle_rises_to_one_at_its_share_of_the_run_and_falls_to_its_final_share():
    sizes = {"rise": 0.3, "initial": 0.04, "final": 0.0001}
    multiplier = bound("one_cycle", total_steps=101, shape="cosine", **sizes)
    assert multiplier(0) == pytest.approx(0.04)
    assert multiplier(15) == pytest.approx(0.52)  # half way up
    assert multiplier(30) == pytest.approx(1)
    assert multiplier(65) == pytest.approx(0.50005)  # half way down
    assert multiplier(100) == pytest.approx(0.0001)
    rates = [multiplier(step) for step in range(101)]
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)


def test_one_cycle_that_only_rises_ends_at_its_peak():
    multiplier = bound("one_cycle", total_steps=11, rise=1, initial=0, final=0, shape="cosine")
    assert multiplier(0) == pytest.approx(0)
    assert multiplier(5) == pytest.approx(0.5)
    assert multiplier(10) == pytest.approx(1)


def test_one_cycle_may_be_a_triangle_of_two_lines():
    sizes = {"rise": 0.23, "initial": 0.2, "final": 0.07}
    multiplier = bound("one_cycle", total_steps=301, shape="linear", **sizes)
    expected = np.interp(np.arange(301), [0, 69, 300], [0.2, 1, 0.07])
    assert [multiplier(step) for step in range(301)] == pytest.approx(expected.tolist())


@pytest.mark.parametrize(("shape", "half_way"), [("linear", 0.5), ("sqrt", 1 - math.sqrt(0.5))])
def test_a_stable_rate_decays_over_the_last_share_of_the_run(shape, half_way):
    multiplier = bound("warmup_stable_decay", total_steps=101, decay=0.2, shape=shape, final=0.1)
    assert {multiplier(step) for step in range(81)} == {1}
    assert multiplier(90) == pytest.approx(0.1 + 0.9 * half_way)
    assert multiplier(100) == pytest.approx(0.1)
    rates = [multiplier(step) for step in range(80, 101)]
    assert rates == sorted(rates, reverse=True)


def test_a_stable_rate_rises_in_its_warmup_and_may_decay_all_along():
    settings = {"decay": 1, "shape": "linear", "final": 0}
    multiplier = bound("warmup_stable_decay", warmup_steps=4, total_steps=15, **settings)
    assert [multiplier(step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert multiplier(9) == pytest.approx(0.5)
    assert multiplier(14) == pytest.approx(0)


@pytest.mark.parametrize(("period", "factor"), [(1, 1), (1, 2), (2, 3)])
def test_a_cosine_restarts_where_torchs_own_does(period, factor):
    multiplier = bound("cosine_restarts", period=period, factor=factor, final=0.1)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=10 * period, T_mult=factor, eta_min=0.1
    )
    for step in range(100):
        assert multiplier(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cosine", {"final": 0.1}),
        ("warmup_stable_decay", {"decay": 0.5, "shape": "sqrt", "final": 0.1}),
        ("linear", {"final": 0.1}),
        ("one_cycle", {"rise": 0.3, "initial": 0.1, "final": 0.1, "shape": "cosine"}),
        ("one_cycle", {"rise": 0.3, "initial": 0.1, "final": 0.1, "shape": "linear"}),
    ],
)
def test_schedules_over_the_whole_run_hold_beyond_its_end_and_survive_a_single_step(name, settings):
    multiplier = bound(name, total_steps=10, **settings)
    assert multiplier(9) == multiplier(50) == pytest.approx(0.1)
    assert math.isfinite(bound(name, total_steps=1, **settings)(0))


def test_warmup_ends_at_the_peak_and_the_run_ends_at_zero():
    multiplier = bound("cosine", warmup_steps=4, total_steps=25, final=0)
    assert [multiplier(step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert multiplier(14) == pytest.approx(0.5)  # step 10 of the 20 between first and last
    assert multiplier(24) == pytest.approx(0)


def test_epochs_of_a_schedule_count_from_the_end_of_the_warmup():
    multiplier = bound("exponential", warmup_steps=5, rate=0.5)
    assert multiplier(4) == multiplier(14) == 1
    assert multiplier(15) == 0.5


def test_a_warmup_of_one_step_starts_at_the_peak():
    assert bound("constant", warmup_steps=1)(0) == 1


@pytest.mark.parametrize("warmup", [100, 200])
def test_a_warmup_as_long_as_the_run_is_refused(warmup):
    with pytest.raises(ConfigError) as caught:
        bound("constant", warmup_steps=warmup)
    assert str(caught.value) == (
        f"schedule.warmup_steps is {warmup}, but the run has only 100 steps; set it below that"
    )
    bound("constant", warmup_steps=99)


def observe(plateau, *improvements):
    for improved in improvements:
        plateau.observe(improved=improved)
    return plateau(0)


def test_plateau_falls_once_patience_runs_out_and_waits_anew():
    plateau = Plateau(factor=0.1, patience=2, minimum=0)
    assert observe(plateau, True, False) == 1
    assert observe(plateau, False) == pytest.approx(0.1)
    assert observe(plateau, False) == pytest.approx(0.1)
    assert observe(plateau, False) == pytest.approx(0.01)


def test_an_improvement_starts_the_wait_again():
    plateau = Plateau(factor=0.1, patience=2, minimum=0)
    assert observe(plateau, False, True, False, True, False) == 1


def test_plateau_stops_at_its_minimum():
    plateau = Plateau(factor=0.5, patience=1, minimum=0.3)
    assert observe(plateau, False) == 0.5
    assert observe(plateau, False) == 0.3
    assert observe(plateau, False) == 0.3


def test_plateau_goes_on_from_its_saved_state():
    settings = {"factor": 0.1, "patience": 3, "minimum": 0}
    first, second = Plateau(**settings), Plateau(**settings)
    observe(first, False, False, False, False, False)
    second.load_state_dict(first.state_dict())
    assert second(0) == pytest.approx(0.1)
    assert observe(second, False) == pytest.approx(0.01)


def test_plateau_is_found_behind_a_warmup_and_rises_with_it():
    settings = {"factor": 0.1, "patience": 1, "minimum": 0}
    warmed = bound("Plateau", warmup_steps=4, **settings)
    plateau = plateau_of(warmed)
    assert isinstance(plateau, Plateau)
    plateau.observe(improved=False)
    assert warmed(1) == 0.5
    assert warmed(4) == pytest.approx(0.1)
    assert isinstance(plateau_of(bound("Plateau", **settings)), Plateau)
    assert plateau_of(bound("constant", warmup_steps=4)) is None


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("exponential", {"rate": 0}, "schedule.rate is 0, but must be a number above 0"),
        ("inverse_time", {"decay": -1}, "schedule.decay is -1, but must be a number of at least 0"),
        ("step_decay", {"every_epochs": 0, "factor": 0.1}, "schedule.every_epochs is 0"),
        ("cosine", {"final": -1}, "schedule.final is -1, but must be a number of at least 0"),
        ("cosine_restarts", {"period": 0, "factor": 1, "final": 0}, "schedule.period is 0"),
        ("cosine_restarts", {"period": 1, "factor": 0.5, "final": 0}, "schedule.factor is 0.5"),
        (
            "warmup_stable_decay",
            {"decay": 0, "shape": "linear", "final": 0},
            "schedule.decay is 0, but must be a number above 0 and of at most 1",
        ),
        (
            "one_cycle",
            {"rise": 0, "initial": 0, "final": 0, "shape": "linear"},
            "above 0 and of at most 1",
        ),
        ("Plateau", {"factor": 2, "patience": 1, "minimum": 0}, "schedule.factor is 2"),
    ],
)
def test_settings_out_of_range_are_refused(name, settings, words):
    with pytest.raises(ConfigError) as caught:
        bound(name, **settings)
    assert words in str(caught.value)
