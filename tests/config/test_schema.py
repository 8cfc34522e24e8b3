"""Values from YAML against annotations: what is accepted, what it becomes, and how it is refused."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt

from dlrun.config.schema import (
    Count,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Positive,
    Probability,
    check,
    check_names,
    check_settings,
    describe,
)
from dlrun.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Inner:
    width: Count
    mode: Literal["min", "max"]


@dataclass(frozen=True)
class Outer:
    rate: Positive
    inner: Inner | None


def refusal(function, *arguments, **more):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (0.5, float, 0.5),
        (True, bool, True),
        ("text", str, "text"),
        (None, type(None), None),
        (None, float | None, None),
        (2, float | None, 2.0),
        ("full", Count | Literal["full"], "full"),
        (8, Count | Literal["full"], 8),
        (1, Literal[1, 2], 1),
        ([1, 2], list[int], [1, 2]),
        ([], list[int], []),
        ([1, 2], list[float], [1.0, 2.0]),
        ([1, 2], Count | list[Count], [1, 2]),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        (object, Any, object),
        ((1, 2), tuple[int, int], (1, 2)),
    ],
)
def test_a_value_that_fits_its_rule_is_taken_as_the_type_asked_for(value, rule, expected):
    checked = check("key", value, rule)
    assert checked == expected
    assert type(checked) is type(expected)


def test_whole_numbers_in_a_list_of_numbers_become_floats():
    assert [type(item) for item in check("key", [1, 2.5], list[float])] == [float, float]


@pytest.mark.parametrize(
    ("value", "rule", "words"),
    [
        (1.5, int, "1.5, but must be a whole number"),
        (3.0, int, "3.0, but must be a whole number"),
        ("3", int, "3, but must be a whole number"),
        (True, int, "true, but must be a whole number"),
        (False, float, "false, but must be a number"),
        ("fast", float, "fast, but must be a number"),
        (None, float, "null, but must be a number"),
        (1, bool, "1, but must be true or false"),
        ("yes", bool, "yes, but must be true or false"),
        (3, str, "3, but must be text"),
        (3, type(None), "3, but must be null"),
        (0, Count, "0, but must be a whole number of at least 1"),
        (-1, NonNegativeInt, "-1, but must be a whole number of at least 0"),
        (0, Positive, "0, but must be a number above 0"),
        (-0.1, NonNegative, "-0.1, but must be a number of at least 0"),
        (1.0, Probability, "1.0, but must be a number of at least 0 and below 1"),
        (0, Fraction, "0, but must be a number above 0 and of at most 1"),
        (1.1, Fraction, "1.1, but must be a number above 0 and of at most 1"),
        (float("inf"), float, "inf, but must be a number"),
        (float("nan"), float, "nan, but must be a number"),
        (float("nan"), Positive, "nan, but must be a number above 0"),
        (float("nan"), Probability, "nan, but must be a number of at least 0 and below 1"),
        (0, Count | None, "0, but must be a whole number of at least 1 or null"),
        (
            "fulll",
            Count | Literal["full"],
            "fulll, but must be a whole number of at least 1 or full; did you mean full?",
        ),
        ("mni", Literal["min", "max"], "mni, but must be one of min, max; did you mean min?"),
        ("zzz", Literal["min", "max"], "zzz, but must be one of min, max"),
        (None, Literal["min", "max"], "null, but must be one of min, max"),
        (True, Literal[1, 2], "true, but must be one of 1, 2"),
        (3, list[int], "3, but must be a list (a whole number each), as in trainer.key=[3]"),
        (0.5, list[int], "0.5, but must be a list (a whole number each)"),
        (
            -1,
            Count | list[Count],
            "-1, but must be a whole number of at least 1 or a list (a whole number of at least 1 each)",
        ),
        ("ab", list[str], "ab, but must be a list (text each), as in trainer.key=[ab]"),
        (3, dict[str, int], "3, but must be a mapping"),
        (3, Inner, "3, but must be a group of settings"),
        (3, Inner | None, "3, but must be a group of settings or null"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_with_key_value_and_rule(value, rule, words):
    assert refusal(check, "trainer.key", value, rule) == f"trainer.key is {words}"


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [(Gt(1), 1.5, 1), (Ge(1), 1, 0.5), (Lt(1), 0.5, 1), (Le(1), 1, 1.5)],
)
def test_bounds_hold_on_their_edges(bound, inside, outside):
    assert check("key", inside, Annotated[float, bound]) == inside
    refusal(check, "key", outside, Annotated[float, bound])


def test_a_number_beyond_all_floats_is_refused_rather_than_overflowing():
    assert "must be a number" in refusal(check, "key", 10**400, float)


def test_a_bad_member_of_a_list_is_named_by_its_place():
    message = refusal(check, "model.hidden", [64, 0], list[Count])
    assert message == "model.hidden[1] is 0, but must be a whole number of at least 1"


def test_a_bad_member_is_named_even_where_a_single_value_would_do():
    message = refusal(check, "model.kernel", [3, "x"], Count | list[Count])
    assert message == "model.kernel[1] is x, but must be a whole number of at least 1"


def test_a_group_of_settings_or_nothing_names_its_bad_member():
    message = refusal(check, "outer.inner", {"width": 0, "mode": "min"}, Inner | None)
    assert message == "outer.inner.width is 0, but must be a whole number of at least 1"


def test_a_bad_member_of_a_mapping_is_named_by_its_key():
    message = refusal(check, "weights", {"a": 1, "b": "x"}, dict[str, float])
    assert message == "weights.b is x, but must be a number"


def test_settings_become_their_dataclass_at_every_depth():
    plain = {"rate": 1, "inner": {"width": 3, "mode": "min"}}
    assert check_settings("outer", plain, Outer) == Outer(1.0, Inner(3, "min"))
    assert check_settings("outer", {"rate": 1, "inner": None}, Outer) == Outer(1.0, None)


def test_a_bad_setting_of_an_inner_group_is_named_by_its_whole_path():
    plain = {"rate": 1, "inner": {"width": 0, "mode": "min"}}
    message = refusal(check_settings, "outer", plain, Outer)
    assert message == "outer.inner.width is 0, but must be a whole number of at least 1"


def test_one_value_for_a_group_of_settings_is_refused():
    message = refusal(check_settings, "trainer", 3, Outer)
    assert message == "trainer is 3, but must be a group of settings, not one value"


def test_a_misspelt_setting_is_refused_with_the_nearest_name():
    plain = {"rate": 1, "inner": {"widht": 3, "mode": "min"}}
    message = refusal(check_settings, "outer", plain, Outer)
    assert message == ("outer.inner.widht is not a setting of outer.inner; did you mean width?")


def test_a_setting_like_no_other_is_refused_with_all_names():
    message = refusal(check_names, "outer", {"zzz": 1}, required=(), allowed=("rate", "inner"))
    assert message == "outer.zzz is not a setting of outer; choose from: inner, rate"


def test_a_key_at_the_top_is_a_setting_of_a_run():
    message = refusal(check_names, "", {"sead": 1}, required=(), allowed=("seed",))
    assert message == "sead is not a setting of a run; did you mean seed?"


def test_a_missing_setting_is_named_with_the_way_to_give_it():
    message = refusal(check_settings, "outer", {"inner": None}, Outer)
    assert message == "outer.rate is missing: give it a value, as in outer.rate=…"
    message = refusal(check_names, "", {}, required=("seed",), allowed=("seed",))
    assert message == "seed is missing: give it a value, as in seed=…"


def test_a_group_of_settings_that_may_be_null_is_shown_as_a_whole():
    message = refusal(check_settings, "top.outer", {"inner": None}, Outer)
    assert (
        message
        == "top.outer.rate is missing: set all of it, as in 'top.outer={rate: …, inner: null}'"
    )


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Annotated[float, Gt(0), Lt(1)], "a number above 0 and below 1"),
        (Annotated[float, Ge(0), Le(180)], "a number of at least 0 and of at most 180"),
        (Literal["full"], "full"),
        (Literal["min", "max"], "one of min, max"),
        (int | str | None, "a whole number or text or null"),
        (list[Count] | None, "a list (a whole number of at least 1 each) or null"),
        (dict[str, int], "a mapping"),
        (Inner, "a group of settings"),
    ],
)
def test_rules_are_described_in_words(rule, words):
    assert describe(rule) == words


def test_the_nearest_name_wins_and_without_one_all_are_listed():
    assert (
        did_you_mean("lerning_rate", ["learning_rate", "rate"]) == "; did you mean learning_rate?"
    )
    assert did_you_mean("zzz", ["b", "a"]) == "; choose from: a, b"
    assert did_you_mean("zzz", []) == ""


def test_checking_settings_does_not_import_torch():
    code = (
        "import sys, dlrun.config.settings, dlrun.config.schema; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
