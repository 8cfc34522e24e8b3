"""Words that Hydra's grammar refuses: quoted where a text is plainly meant, else refused with the way to type it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

from dlrun.config.hydra_errors import explain
from dlrun.config.overrides import as_text, is_read, readable, readable_words


def value_of(word: str) -> Any:
    """What Hydra makes of the word; of a sweep the list of its values."""
    value = OverridesParser.create().parse_override(word).value()
    values = getattr(value, "list", None)
    return value if values is None else tuple(map(plain, values))


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.text if isinstance(value, QuotedString) else value


READ = ["a", "a b", "50%", "C:\\x", "$x", "", "12:30", "[a b,c]", "a,b", "choice(1,2)", "'größe'", "{a:1}", "null",
        "1e-3", "${seed}", "interval(0,1)", "a\\,b", "data(1)", "*"]  # fmt: skip


@pytest.mark.parametrize("value", READ)
@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_what_hydra_reads_stays_as_it_is(sign: str, value: str) -> None:
    assert readable(f"{sign}key={value}") == f"{sign}key={value}"


@pytest.mark.parametrize(
    "text",
    ["größe", "~/x.csv", "my data (1).csv", ",", "preis €", "it's", "#1", "a=b", "a;b", "<a>", "日本", "x[1].csv",
     "say \"x\"", "price (USD)", "sepal length (cm)", "/data/ü/a b.csv", "https://x.y/a?b=c&d=e#f", "C:\\ü\\x",
     "C:\\ü\\", "a!", "(x)", "😀", "${a}/größe", "two\nlines", "§ 1", "a'b'c"],
)  # fmt: skip
def test_a_plain_text_is_that_text(text: str) -> None:
    assert value_of(readable(f"key={text}")) == text
    assert readable(f"+a.b@c={text}").startswith("+a.b@c=")


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("[x=y]", ["x=y"]),
        ("[größe]", ["größe"]),
        ("[a, größe,1.5, null]", ["a", "größe", 1.5, None]),
        ("[[größe,1],[2]]", [["größe", 1], [2]]),
        ("[it's,bob's]", ["it's", "bob's"]),
        ("größe,gewicht", ("größe", "gewicht")),
        ("choice(größe,b)", ("größe", "b")),
        ("choice([ü],[b])", (["ü"], ["b"])),
        ("sort(ü,a,reverse=true)", ("ü", "a")),
        ("a\\,ü", "a,ü"),
        (" ü ", "ü"),
    ],
)
def test_lists_choices_and_functions_stay_what_they_are(value: str, meant: Any) -> None:
    assert value_of(readable(f"key={value}")) == meant


@pytest.mark.parametrize(
    "value",
    ["[1,2", "a]", "x)", "'abc", "\"", "{a}", "{a:größe}", "a,", "a,,ü", "tag(log,interval(1,2)", "uniform(0,ü)",
     "chioce (1,ü)", "interval(1,ü)", "ü model=cnn"],
)  # fmt: skip
def test_what_may_be_meant_otherwise_is_refused_with_the_way_to_type_that_text(value: str) -> None:
    word = f"key={value}"
    assert readable(word) == word and not is_read(word)
    typed = as_text(word)
    assert typed is not None
    assert shlex.split(typed) != [word]
    assert value_of(shlex.split(typed)[0]) == value
    try:
        OverridesParser.create().parse_overrides([word])
    except Exception as error:
        message = str(explain(error, [word]))
    assert message.startswith(f"{word}: ")
    assert typed in message or "a function" in message or "interval" in message


@pytest.mark.parametrize("word", ["größe", "größe=1", "a b=ü", "--config-dir", "=ü", "~key=ü"])
def test_what_is_no_key_and_value_stays_as_it_is(word: str) -> None:
    assert readable_words([word]) == [word]


def test_several_values_for_one_run_are_refused_with_the_list_and_the_text() -> None:
    error = ValueError("Ambiguous value for argument 'name=Preis, netto'")
    message = str(explain(error, []))
    assert "add -m" in message
    assert "'name=\"Preis, netto\"'" in message
