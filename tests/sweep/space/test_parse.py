"""The space of a sweep: what words mean, how values are typed, what is refused and how."""

import math
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dlrun.config.compose import register_resolvers
from dlrun.config.search_path import options, packaged_configs
from dlrun.errors import ConfigError
from dlrun.sweep.space.parse import Choices, Interval, Parameter, Space, parse

quickly = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@pytest.fixture
def config_loader() -> Iterator[ConfigLoader]:
    register_resolvers()
    with initialize_config_dir(str(packaged_configs()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def parameter(word: str, **more: Any) -> Any:
    [found] = parse([word], **more).parameters
    return found


def typed_values(found: Parameter, points: int | None = None) -> list[str]:
    return [found.text(value) for value in found.grid(points)]


def plain(word: str) -> Any:
    """What Hydra's own parser makes of the word."""
    override = OverridesParser.create().parse_override(word)
    assert not override.is_sweep_override(), word
    return override.value()


def refusal(*words: str, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(words, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Words: what they mean.


@pytest.mark.parametrize(
    ("word", "texts"),
    [
        ("model=mlp,cnn", ("mlp", "cnn")),
        ("model=choice(mlp, cnn)", ("mlp", "cnn")),
        ("model=choice(mlp)", ("mlp",)),
        ("model.hidden=choice([64],[128, 64])", ("[64]", "[128,64]")),
        ("x={a:1},{a:1, b:[x,y]}", ("{a:1}", "{a:1,b:[x,y]}")),
        ("x='a b',\"c,d\",e f", ("a b", "'c,d'", "e f")),
        ("x=choice('1',1)", ("'1'", "1")),
        ("x=null,True,false", ("null", "true", "false")),
        ("x=1e-3,1E-2,.5,1_000", ("1e-3", "1E-2", ".5", "1_000")),
        ("x=[1e-3],[1e-4]", ("[1e-3]", "[1e-4]")),
        ("x=int(1.0,2.0)", ("1", "2")),
        ("x=float(choice(1,2))", ("1.0", "2.0")),
        ("x=str(1,2)", ("'1'", "'2'")),
        ("x=bool(0,1)", ("false", "true")),
        ("x=sort(3,1,2)", ("1", "2", "3")),
        ("x=sort(3,1,2,reverse=true)", ("3", "2", "1")),
        ("x=${seed},${trainer.epochs}", ("${seed}", "${trainer.epochs}")),
    ],
)
def test_choices_are_typed_as_they_were_with_quotes_only_where_needed(
    word: str, texts: tuple[str, ...]
) -> None:
    assert parameter(word) == Choices(word.partition("=")[0], texts)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("x=interval(1,2)", Interval("x", 1.0, 2.0)),
        ("x=tag(linear,interval(1,2))", Interval("x", 1.0, 2.0)),
        ("x=tag(log,interval(1e-5,1e-1))", Interval("x", 1e-5, 0.1, "log")),
        ("x=int(interval(16,256))", Interval("x", 16, 256, integer=True)),
        ("x=tag(int,interval(16,256))", Interval("x", 16, 256, integer=True)),
        ("x=tag(log,int(interval(16,256)))", Interval("x", 16, 256, "log", integer=True)),
        ("x=int(tag(log,interval(16,256)))", Interval("x", 16, 256, "log", integer=True)),
        ("x=tag(log,int,interval(16,256))", Interval("x", 16, 256, "log", integer=True)),
        ("x=tag(log,tag(int,interval(16,256)))", Interval("x", 16, 256, "log", integer=True)),
        ("x=float(int(interval(16,256)))", Interval("x", 16.0, 256.0)),
        ("x=tag(one_minus_log,interval(0.9,0.999))", Interval("x", 0.9, 0.999, "one_minus_log")),
        ("x=range(4)", Interval("x", 0, 3, integer=True, step=1)),
        ("x=range(5,1,-2)", Interval("x", 3, 5, integer=True, step=-2)),
        ("x=float(range(1,4))", Interval("x", 1.0, 3.0, step=1.0)),
        ("x=range(0,1,0.25)", Interval("x", 0.0, 0.75, step=0.25)),
    ],
)
def test_intervals_know_their_scale_and_whether_they_are_whole_numbers(
    word: str, expected: Interval
) -> None:
    found = parameter(word)
    assert found == expected
    assert isinstance(found.low, int) == isinstance(found.high, int) == found.integer


def test_a_range_has_the_decimals_that_were_meant() -> None:
    assert typed_values(parameter("x=range(0.1,0.5,0.1)")) == ["0.1", "0.2", "0.3", "0.4"]
    assert typed_values(parameter("x=range(0.5,0.1,-0.1)")) == ["0.5", "0.4", "0.3", "0.2"]


@pytest.mark.parametrize("key", ["+a.b", "++a.b", "model@a.b"])
def test_a_key_keeps_the_signs_it_was_typed_with_and_optuna_sees_none(key: str) -> None:
    found = parameter(f"{key}=1,2")
    assert found.word(2) == f"{key}=2"
    assert found.name == key.lstrip("+")


def test_glob_takes_the_options_of_the_group(config_loader: ConfigLoader) -> None:
    models = options("model", [packaged_configs()])
    found = parameter("model=glob(*,exclude=[*nn,torchvision])", config_loader=config_loader)
    assert set(found.texts) == {m for m in models if not m.endswith("nn") and m != "torchvision"}


def test_shuffled_orders_follow_from_the_seed_alone() -> None:
    random.seed(1)
    once = parameter("x=shuffle(range(8))", seed=3)
    random.seed(2)
    assert parameter("x=shuffle(range(8))", seed=3) == once
    assert parameter("x=shuffle(range(8))", seed=4) != once
    assert sorted(once.texts) == [str(i) for i in range(8)] != list(once.texts)
    code = "from dlrun.sweep.space.parse import parse; print(parse(['x=shuffle(range(8))'], seed=3).texts())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str({"x": once.expression})


def test_a_cast_keeps_what_was_shuffled() -> None:
    words = [f"x=int(shuffle({','.join(f'{i}.0' for i in range(8))}))"]
    assert parse(words).parameters[0].grid() != list(range(8))


def test_plain_words_stay_as_typed_in_their_order() -> None:
    space = parse(["seed=1e0", "lr=1,2", "~model.x", "+a='b c'", "seed=3"])
    assert space.fixed == ("seed=1e0", "~model.x", "+a='b c'", "seed=3")
    assert [p.key for p in space.parameters] == ["lr"]


def test_the_module_needs_neither_optuna_nor_torch() -> None:
    code = (
        "import sys; from dlrun.sweep.space.parse import parse; parse(['x=1,2', 'y=interval(0,1)']);"
        "sys.exit('optuna' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The config's own space.


def test_the_config_has_texts_in_the_same_grammar_and_lists_of_choices() -> None:
    in_config = {"lr": "tag(log,interval(1e-5,1e-1))", "model": ["mlp", "cnn"], "x": [1, "1", None]}
    assert parse([], in_config).texts() == {
        "lr": "tag(log,interval(1e-05,0.1))",
        "model": "mlp,cnn",
        "x": "1,'1',null",
    }


def test_a_word_replaces_what_the_config_has_for_its_key() -> None:
    in_config = {"lr": "interval(0,1)", "seed": "1,2", "+new": [1, 2], "left": "a,b"}
    space = parse(["seed=3,4", "lr=0.1", "~new"], in_config)
    assert space.texts() == {"left": "a,b", "seed": "3,4"}
    assert space.fixed == ("lr=0.1", "~new")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0.1", ["sweep.space.lr", "0.1", "no sweep", "lr=0.1"]),
        (0.1, ["sweep.space.lr", "0.1", "text", "list of choices"]),
        ("", ["sweep.space.lr", "empty", "no sweep"]),
        (date(2026, 1, 2), ["sweep.space.lr", "2026-01-02", "text"]),
        (None, ["sweep.space.lr", "null", "text"]),
        ({"a": "1,2"}, ["sweep.space.lr", "mapping", "lr.NAME"]),
        ([], ["sweep.space.lr", "[]", "several values"]),
        ([{1, 2}], ["sweep.space.lr", "{1, 2}", "option of a group"]),
        ([{"1": 2}, 3], ["sweep.space.lr", "{'1': 2}", "option of a group"]),
        ("interval(1,", ["lr=interval(1,", "not an override"]),
    ],
)
def test_what_the_config_may_not_hold_is_named(value: Any, words: list[str]) -> None:
    message = refusal(in_config={"lr": value})
    assert all(word in message for word in words), message


# Refusals.


@pytest.mark.parametrize(
    ("word", "rule", "remedy"),
    [
        ("lr=choice()", "empty choice", "lr=choice(a,b)"),
        ("lr=choice(1,1)", "1 twice", "take one away"),
        ("lr=a,'a'", "a twice", "take one away"),
        ("lr=1e-3,0.001", "0.001 twice", "take one away"),
        ("lr=range(5,1)", "empty", "its step must lead"),
        ("lr=range(1,5,0)", "empty", "its step must lead"),
        ("lr=range(0.1,inf)", "finite", "write the widest"),
        ("lr=interval(5,5)", "both bounds are 5", "write lr=5"),
        ("lr=int(interval(0.1,0.9))", "both bounds are 0", "write lr=0"),
        ("lr=interval(5,1)", "5 is above the upper 1", "swap them"),
        ("lr=interval(nan,1)", "finite", "write the widest"),
        ("lr=interval(0,inf)", "finite", "write the widest"),
        ("lr=tag(log,interval(0,1))", "above 0, not 0", "raise it"),
        ("lr=tag(one_minus_log,interval(0.5,1))", "below 1", "lower it"),
        ("lr=tag(one_minus_log,int(interval(-5,0)))", "no whole numbers", "lower it"),
        ("lr=tag(int,interval(0.5,9))", "whole numbers", "round them"),
        ("lr=tag(lgo,interval(1,2))", "no tag lgo", "did you mean log?"),
        ("lr=tag(x,interval(1,2))", "no tag x", "choose from: int, linear, log, one_minus_log"),
        ("lr=tag(log,linear,interval(1,2))", "2 scales", "keep one"),
        ("lr=tag(log,choice(1,2))", "no scale", "take the tag log away"),
        ("lr=tag(log,range(1,5))", "no log scale", "use choice() or interval()"),
        ("lr=intervall(0,1)", "no function intervall", "did you mean interval?"),
        ("lr=interval(0)", "missing a required argument", "lr=interval(0,1)"),
        ("lr=shuffle([1,2])", "shuffle() orders the values", "write a list in the order"),
        ("lr=[choice(1,2),3]", "a sweep stands within a value", "lr=choice([1,2],[1,3])"),
        ("lr=1,range(2,4)", "a sweep stands within a value", "lr=choice([1,2],[1,3])"),
        ("hydra.run.dir=a,b", "hydra's own settings cannot be swept", "give it one value"),
        ("hydra/launcher=a,b", "hydra's own settings cannot be swept", "give it one value"),
        ("sweep=a,b", "a sweep's own settings cannot be swept", "start a sweep for each"),
        ("sweep.trials=1,2", "a sweep's own settings cannot be swept", "start a sweep for each"),
        ("~model=mlp,cnn", "no values to sweep", "write ~model"),
        ("lr='x", "not an override", "write key=value"),
    ],
)
def test_a_refusal_names_the_word_the_rule_and_the_remedy(
    word: str, rule: str, remedy: str
) -> None:
    message = refusal(word)
    assert message.startswith(f"{word}: ")
    assert rule in message and remedy in message, message


def test_a_glob_must_match_something(config_loader: ConfigLoader) -> None:
    message = refusal("model=glob(x*)", config_loader=config_loader)
    assert message.startswith("model=glob(x*): no option of model matches; choose from: ")
    assert "lstm" in message
    message = refusal("modle=glob(*)", config_loader=config_loader)
    assert "modle is no group" in message


@pytest.mark.parametrize("other", ["lr=3,4", "+lr=3,4", "++lr=3", "lr=0.1", "~lr"])
def test_a_key_that_is_swept_stands_there_once(other: str) -> None:
    assert refusal("lr=1,2", other) == f"lr is given twice, as lr=1,2 and as {other}; keep one"
    assert refusal(other, "lr=1,2") == f"lr is given twice, as {other} and as lr=1,2; keep one"


def test_a_key_may_stand_in_the_config_once() -> None:
    assert "lr is given twice" in refusal(in_config={"lr": "1,2", "+lr": "3,4"})


# Optuna's side.


def test_choices_are_numbers_to_optuna_only_where_all_are_and_differ() -> None:
    def categories(word: str) -> tuple[Any, ...]:
        distribution = parameter(word).distribution()
        assert isinstance(distribution, CategoricalDistribution)
        return distribution.choices

    assert categories("x=1,2.5,1e-3") == (1, 2.5, 0.001)
    assert [type(c) for c in categories("x=1,2.5")] == [int, float]
    assert categories("x=1,1.0") == ("1", "1.0")
    assert categories("x=1,a") == ("1", "a")
    assert categories("x=1,true") == ("1", "true")
    assert categories("x=1,'2'") == ("1", "'2'")
    assert categories("x=1,nan") == ("1", "nan")
    assert parameter("x=1,2.5,1e-3").word(0.001) == "x=1e-3"


def test_optuna_gets_the_bounds_and_the_scale() -> None:
    distributions = parse(
        [
            "lr=tag(log,interval(1e-5,1e-1))",
            "width=tag(log,int(interval(16,256)))",
            "+m=tag(one_minus_log,interval(0.9,0.999))",
            "d=range(0.5,0,-0.1)",
            "n=range(2,10,3)",
        ]
    ).distributions()
    assert distributions == {
        "lr": FloatDistribution(1e-5, 0.1, log=True),
        "width": IntDistribution(16, 256, log=True),
        "1-m": FloatDistribution(0.001, 0.1, log=True),
        "d": FloatDistribution(0.1, 0.5, step=0.1),
        "n": IntDistribution(2, 8, step=3),
    }


def test_drawn_numbers_are_rounded_to_six_digits_and_stay_inside() -> None:
    assert parameter("x=interval(0,1)").word(0.00123456789) == "x=0.00123457"
    assert parameter("x=interval(1.23456789,2)").text(1.234567891) == "1.23457"
    assert parameter("x=interval(1.23456111,2)").text(1.234561112) == "1.23456111"
    assert parameter("x=interval(0,1.0)").text(1.0) == "1.0"
    assert parameter("x=tag(one_minus_log,interval(0.9,0.999))").text(0.0123454321) == "0.9876546"
    assert parameter("x=int(interval(1,9))").text(3.0) == "3"
    assert parameter("x=range(0.1,0.5,0.1)").text(0.1 + 0.2) == "0.3"


# Grids.


@pytest.mark.parametrize(
    ("word", "points", "expected"),
    [
        ("x=tag(log,interval(1e-5,1e-1))", 5, ["1e-05", "0.0001", "0.001", "0.01", "0.1"]),
        ("x=interval(0,1)", 5, ["0.0", "0.25", "0.5", "0.75", "1.0"]),
        ("x=interval(0.123456789,1)", 2, ["0.123456789", "1.0"]),
        ("x=tag(one_minus_log,interval(0.9,0.999))", 3, ["0.9", "0.99", "0.999"]),
        ("x=int(interval(1,4))", None, ["1", "2", "3", "4"]),
        ("x=int(interval(1,4))", 9, ["1", "2", "3", "4"]),
        ("x=tag(log,int(interval(1,100)))", 3, ["1", "10", "100"]),
        ("x=range(3)", 2, ["0", "1", "2"]),
        ("x=b,a", 2, ["b", "a"]),
    ],
)
def test_a_grid_is_even_on_its_own_scale_and_has_both_bounds(
    word: str, points: int | None, expected: list[str]
) -> None:
    assert typed_values(parameter(word), points) == expected


def test_a_space_takes_points_for_all_or_by_key() -> None:
    space = parse(["lr=tag(one_minus_log,interval(0.9,0.99))", "+w=int(interval(1,3))", "m=a,b"])
    assert space.grid(2) == {"1-lr": [0.1, 0.01], "w": [1, 3], "m": ["a", "b"]}
    assert space.grid({"lr": 2}) == {"1-lr": [0.1, 0.01], "w": [1, 2, 3], "m": ["a", "b"]}


@pytest.mark.parametrize(
    ("words", "points", "expected"),
    [
        (["lr=interval(0,1)"], None, ["lr=interval(0.0,1.0)", "give it points"]),
        (["lr=interval(0,1)"], {}, ["lr=interval(0.0,1.0)", "give it points"]),
        (["lr=interval(0,1)"], 1, ["at least 2 points, not 1", "lr=VALUE"]),
        (["width=interval(0,1)"], {"widht": 3}, ["widht", "3", "not swept; did you mean width?"]),
        (["m=a,b"], {"m": 3}, ["m=a,b", "takes no points", "take the 3 away"]),
        (["n=int(interval(0,1000000000))"], None, ["1000000001", "too many", "give it points"]),
        (["n=range(1000000)"], 3, ["1000000", "too many", "widen its step"]),
    ],
)
def test_a_grid_that_cannot_be_is_refused(
    words: list[str], points: Any, expected: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(words).grid(points)
    assert all(part in str(caught.value) for part in expected), caught.value


# Normal form.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x=a, b", "x=choice(a,b)"),
        ("x='a',b", "x=a,b"),
        ("x=[1, 2],[3]", "x=choice([1,2],[3])"),
        ("x=interval(0.00001,1)", "x=interval( 1e-5, 1.0 )"),
        ("x=int(interval(1,9))", "x=tag(int,interval(1,9))"),
        ("x=range(4)", "x=range(0,4)"),
        ("x=range(0,5,2)", "x=range(0,6,2)"),
    ],
)
def test_two_ways_to_type_a_space_have_one_text(one: str, other: str) -> None:
    assert parse([one]).texts() == parse([other]).texts()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x=1,2", "x=2,1"),
        ("x=1,2", "x='1','2'"),
        ("x=1,2", "x=1.0,2.0"),
        ("x=1,2", "+x=1,2"),
        ("x=interval(1,9)", "x=int(interval(1,9))"),
        ("x=interval(1,9)", "x=tag(log,interval(1,9))"),
        ("x=range(1,4)", "x=range(3,0,-1)"),
        ("x=range(1,4)", "x=range(1.0,4.0)"),
    ],
)
def test_different_spaces_have_different_texts(one: str, other: str) -> None:
    assert parse([one]).texts() != parse([other]).texts()


# Properties over the whole grammar.

finite = st.floats(-1e6, 1e6).map(lambda v: float(f"{v:.9g}"))
positive = st.floats(-9, 6).map(lambda v: float(f"{10**v:.9g}"))
below_one = st.floats(-9, 1).map(lambda v: float(f"{1 - 10**v:.10g}")).filter(lambda v: v < 1)
characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), characters,
    st.sampled_from(["1", "null", "true", "1e-3", "a b", "choice(1,2)", "'", "\\", "${x}", "a=b"]),
)  # fmt: skip
names = st.from_regex(r"[a-z]{1,4}", fullmatch=True)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=2), max_leaves=4
)


@st.composite
def intervals(draw: st.DrawFn) -> str:
    scale = draw(st.sampled_from(["linear", "log", "one_minus_log", "int", "log,int"]))
    numbers = {"linear": finite, "log": positive, "one_minus_log": below_one}
    whole = {"int": st.integers(-1000, 1000), "log,int": st.integers(1, 10**6)}
    low, high = sorted(draw(st.lists((numbers | whole)[scale], min_size=2, max_size=2)))
    assume(low < high and 1 - low > 1 - high)
    return f"tag({scale},interval({low!r},{high!r}))"


@st.composite
def ranges(draw: st.DrawFn) -> str:
    places = draw(st.integers(0, 4))
    start, step = draw(st.integers(-500, 500)), draw(st.integers(-50, 50).filter(bool))
    stop = start + draw(st.integers(1, 20)) * step - draw(st.integers(0, abs(step) - 1))
    assume((stop - start) * step > 0)
    shown = [f"{n / 10**places:.{places}f}" for n in (start, stop, step)]
    return f"range({','.join(shown)})"


choices = st.lists(values, min_size=1, max_size=4, unique_by=repr).filter(lambda v: v != [None])
spaces = st.one_of(intervals(), ranges(), choices)


def space_of(described: Any) -> Space | None:
    """The space, or None where two choices are the same to YAML, as -0.0 and 0.0 are."""
    try:
        return parse([], {"a.b": described})
    except ConfigError as error:
        assert "twice" in str(error)
        return None


@quickly
@given(spaces)
def test_every_space_is_read_back_from_its_texts(described: Any) -> None:
    space = space_of(described)
    assume(space is not None)
    assert space is not None
    assert parse([], space.texts()).parameters == space.parameters
    assert parse([], space.texts()).texts() == space.texts()


@quickly
@given(choices)
def test_hydra_reads_every_choice_as_the_value_that_the_config_lists(listed: list[Any]) -> None:
    space = space_of(listed)
    assume(space is not None)
    assert space is not None
    [found] = space.parameters
    assert [plain(found.word(external)) for external in found.grid()] == listed
    distribution = found.distribution()
    for external in found.grid():
        assert distribution._contains(distribution.to_internal_repr(external))


@quickly
@given(st.one_of(intervals(), ranges()), st.floats(0, 1))
def test_every_drawn_number_is_read_back_within_its_bounds(word: str, share: float) -> None:
    found = parameter(f"x={word}")
    distribution = found.distribution()
    low, high = distribution.low, distribution.high
    if distribution.log:
        drawn = math.exp(math.log(low) * (1 - share) + math.log(high) * share)
    else:
        drawn = low * (1 - share) + high * share
    if distribution.step is not None:
        drawn = low + round((drawn - low) / distribution.step) * distribution.step
    drawn = min(max(drawn, low), high)

    value = plain(found.word(drawn))
    assert type(value) is (int if found.integer else float)
    assert found.low <= value <= found.high
    external = 1 - value if found.scale == "one_minus_log" else value
    assert external == pytest.approx(drawn, rel=6e-6, abs=1e-9 if found.step else 2e-16)


@quickly
@given(intervals(), st.integers(2, 9))
def test_grids_ascend_from_one_bound_to_the_other_in_at_most_as_many_points(
    word: str, points: int
) -> None:
    found = parameter(f"x={word}")
    distribution = found.distribution()
    grid = found.grid(points)
    typed = [plain(found.word(external)) for external in grid]
    assert typed == sorted(set(typed))
    assert (typed[0], typed[-1]) == (found.low, found.high)
    assert len(grid) <= points
    assert all(distribution._contains(distribution.to_internal_repr(v)) for v in grid)
