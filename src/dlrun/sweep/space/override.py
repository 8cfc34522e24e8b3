"""From an override as Hydra reads it to the parameter that it sweeps, with all that is refused there."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import get_args

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    RangeSweep,
    Sweep,
)

from dlrun.errors import ConfigError, did_you_mean
from dlrun.sweep.space.grammar import text_of, typed_numbers
from dlrun.sweep.space.parameters import Choices, Interval, Scale, exact

SCALES: tuple[Scale, ...] = get_args(Scale)
TAGS = (*SCALES, "int")


def bare_key(override: Override) -> str:
    """The key without the signs before it."""
    return str(override.get_key_element()).lstrip("+~")


def plain_word(override: Override) -> str:
    """The word of an override that sweeps nothing.

    Raises:
        ConfigError: a sweep stands within its value.
    """
    _texts(override, [override.value()])
    return str(override.input_line)


def read(
    override: Override, *, config_loader: ConfigLoader | None, seed: int
) -> Choices | Interval:
    """The parameter that `override` sweeps.

    Raises:
        ConfigError: it sweeps what cannot be swept.
    """
    sweep = override.value()
    _check_key(override)
    if isinstance(sweep, Sweep):
        _check_tags(override, sweep)
    order = random.Random(f"{seed} {bare_key(override)}")  # of text, so that processes agree
    if isinstance(sweep, IntervalSweep):
        return _interval(override, sweep)
    if isinstance(sweep, RangeSweep):
        return _range(override, sweep, order)
    if isinstance(sweep, Glob):
        return _choices(override, _matching(override, sweep, config_loader))
    assert isinstance(sweep, ChoiceSweep), "a kind of sweep that the grammar does not have"
    values = list(sweep.list)
    if sweep.shuffle:
        order.shuffle(values)
    return _choices(override, values)


def _choices(override: Override, values: Iterable[object]) -> Choices:
    texts = _texts(override, values)
    if len(set(texts)) < len(texts):
        text = next(text for text in texts if texts.count(text) > 1)
        raise _refusal(override, f"it has the value {text} twice; take one away")
    return Choices(override.get_key_element(), tuple(texts))


def _matching(override: Override, glob: Glob, config_loader: ConfigLoader | None) -> list[str]:
    assert config_loader is not None, "glob() needs the config loader"
    group = override.key_or_group
    options = config_loader.get_group_options(group, results_filter=ObjectType.CONFIG)
    if not options:
        raise _refusal(override, f"{group} is no group of options; list the values, as in a,b")
    if not (matching := glob.filter(options)):
        raise _refusal(override, f"no option of {group} matches; choose from: {', '.join(options)}")
    return matching


def _interval(override: Override, sweep: IntervalSweep) -> Interval:
    assert sweep.start is not None and sweep.end is not None
    low, high = sweep.start, sweep.end
    integer = _is_integer(override, sweep, [low, high])
    scale = _scale(sweep)
    if low == high:
        raise _refusal(
            override, f"both bounds are {low:g}; for one value write {bare_key(override)}={low:g}"
        )
    if low > high:
        raise _refusal(override, f"the lower bound {low:g} is above the upper {high:g}; swap them")
    if scale == "log" and low <= 0:
        raise _refusal(override, f"a log scale needs a lower bound above 0, not {low:g}; raise it")
    if scale == "one_minus_log" and (high >= 1 or integer):
        raise _refusal(
            override, "one_minus_log needs an upper bound below 1 and no whole numbers; lower it"
        )
    number = int if integer else float
    return Interval(override.get_key_element(), number(low), number(high), scale, integer)


def _range(override: Override, sweep: RangeSweep, order: random.Random) -> Choices | Interval:
    assert sweep.start is not None and sweep.stop is not None
    integer = _is_integer(override, sweep, [sweep.start, sweep.stop, sweep.step])
    if _scale(sweep) != "linear":
        raise _refusal(
            override, f"a range has no {_scale(sweep)} scale; use choice() or interval() instead"
        )
    start, step = exact(sweep.start), exact(sweep.step)
    count = math.ceil((exact(sweep.stop) - start) / step) if step else 0
    if count < 1:
        raise _refusal(
            override, "the range is empty; its step must lead from its start towards its stop"
        )
    number = int if integer else float
    low, high = sorted([start, start + (count - 1) * step])
    key = override.get_key_element()
    found = Interval(key, number(low), number(high), "linear", integer, number(step))
    if not sweep.shuffle:
        return found
    texts = [found.text(value) for value in found.grid()]
    order.shuffle(texts)
    return Choices(key, tuple(texts))


def _is_integer(override: Override, sweep: Sweep, numbers: Sequence[float]) -> bool:
    """Whether whole numbers are meant: those of int(interval()) and of range(1,5) are ints."""
    if not all(map(math.isfinite, numbers)):
        raise _refusal(override, "its numbers must be finite; write the widest that make sense")
    if "int" in sweep.tags and not all(number == int(number) for number in numbers):
        raise _refusal(override, "the tag int needs whole numbers; round them")
    return "int" in sweep.tags or all(isinstance(number, int) for number in numbers)


def _scale(sweep: Sweep) -> Scale:
    return next((scale for scale in SCALES if scale in sweep.tags), "linear")


def _check_key(override: Override) -> None:
    name = bare_key(override)
    root = name.replace("/", ".").replace("@", ".").partition(".")[0]
    if override.is_delete():
        raise _refusal(override, f"what is taken away has no values to sweep; write ~{name}")
    if root == "hydra":
        raise _refusal(override, "hydra's own settings cannot be swept; give it one value")
    if root == "sweep":
        raise _refusal(override, "a sweep's own settings cannot be swept; start a sweep for each")


def _check_tags(override: Override, sweep: Sweep) -> None:
    for tag in sorted(sweep.tags):
        if tag not in TAGS:
            raise _refusal(override, f"there is no tag {tag}{did_you_mean(tag, TAGS)}")
        if isinstance(sweep, ChoiceSweep):
            raise _refusal(override, f"choices have no scale; take the tag {tag} away")
    scales = sorted(sweep.tags.intersection(SCALES))
    if len(scales) > 1:
        raise _refusal(override, f"{' and '.join(scales)} are {len(scales)} scales; keep one")


def _texts(override: Override, values: Iterable[object]) -> list[str]:
    typed = typed_numbers(str(override.input_line).partition("=")[2])
    try:
        return [text_of(value, typed) for value in values]
    except TypeError:
        key = override.get_key_element()
        raise _refusal(
            override,
            f"a sweep stands within a value; list whole values, as {key}=choice([1,2],[1,3])",
        ) from None


def _refusal(override: Override, reason: str) -> ConfigError:
    """`reason` is the rule that the word breaks and the remedy."""
    return ConfigError(f"{override.input_line}: {reason}")
