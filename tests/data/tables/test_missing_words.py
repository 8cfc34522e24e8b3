"""Words for a missing value, and how they are typed."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from dlrun.data.tables.csv_format import missing_setting


@pytest.mark.parametrize(
    "word",
    ["sold", "n/a", "-999", "1.0", "null", "True", "inf", 'a "b"', "it's", "a, b", "#DIV/0!", "?"],
)
def test_a_list_of_words_is_read_as_it_was_meant(word):
    (typed,) = shlex.split(missing_setting(["", "NA", "<NA>", "nan"], more=[word], less=["na"]))
    values = OverridesParser.create().parse_override(typed).value()
    assert [str(getattr(value, "text", value)) for value in values] == ["", "<NA>", "nan", word]
