"""How far texts are read where nothing is said."""

import pytest

from dlrun.data.text.encoding import reading_length


@pytest.mark.parametrize(
    ("lengths", "texts", "read"),
    [
        ([3, 8, 5], 4, 8),
        ([8] * 85 + [512], 120, 512),  # few enough for any text
        ([8] * 85 + [40_000], 120, 512),
        ([8] * 3 + [40_000], 5, 512),
        ([8] * 100 + [40_000] * 4, 120, 512),
        ([300] * 990 + [1000] * 10, 1200, 1000),  # reviews: the longest is no exception
        ([1000] * 990 + [4000] * 10, 1200, 4000),
        ([1000] * 9, 9, 1000),
        ([1000] * 999 + [9000], 1200, 8000),
        ([20_000] * 10, 12, 8192),
        ([1000] * 9 + [1200], 2**31 // 8 // 600, 600),  # as many texts as 600 tokens each leave room for
        ([70_000], 1, 8192),
    ],
)  # fmt: skip
def test_as_far_as_nearly_all_go_and_memory_allows(lengths, texts, read, capsys):
    assert reading_length(lengths, texts=texts, given=None) == read
    said = capsys.readouterr().err
    assert bool(said) == (read < max(lengths))
    assert said.count("\n") == bool(said)


def test_what_is_cut_is_said_with_the_key_that_changes_it(capsys):
    reading_length([8] * 86 + [40_000], texts=120, given=None)
    assert capsys.readouterr().err == (
        "dlrun: the longest training text has 40,000 tokens, 86 of 87 have at most 8: the first 512 of each text are "
        "read; dataset.tokens.max_length=… sets another bound\n"
    )


@pytest.mark.parametrize(("given", "read"), [(5, 5), (40_000, 40_000), (50_000, 40_000)])
def test_a_setting_is_followed_without_a_word(given, read, capsys):
    assert reading_length([8, 8, 40_000], texts=3, given=given) == read
    assert not capsys.readouterr().err
