"""What a column is read as where no setting names it, and why."""

import pytest

from dlrun.data.tables.column import Column
from dlrun.data.tables.column_kinds import are_yes_no, find_kind
from dlrun.data.tables.number_format import Notation

ROWS = range(100)
COLUMNS = [
    ("number", lambda row: f"{row % 9}.5", "holds numbers"),
    ("number", lambda row: f"{row} kg", "holds numbers with more around them, as in 0 kg"),
    ("yes_no", lambda row: "Yes" if row % 3 else "no", "has the words no, Yes alone"),
    ("yes_no", lambda row: "TRUE" if row % 3 else "false", "has the words false, TRUE alone"),
    ("category", lambda row: "abc"[row % 3], "has 3 different words in 100 rows"),
    ("category", lambda row: "mf"[row % 2], "has 2 different words in 100 rows"),
    ("code", lambda row: f"0{row % 9}", "has leading zeros"),
    ("date", lambda row: f"2024-01-{row % 28 + 1:02d}", "holds dates or times, as in 2024-01-01"),
    ("identifier", lambda row: f"C{row}", "has 100 different words in 100 rows"),
    ("text", lambda row: f"it was number {row} of all", "has 100 different words in 100 rows, texts"),
    ("serial", lambda row: str(row), "has a whole number of its own for each row"),
    ("constant", lambda row: "a", "has the same value in all rows, a"),
    ("constant", lambda row: "7", "has the same value in all rows, 7"),
    ("empty", lambda row: "", "has no value in any row"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "cell", "reason"), COLUMNS)
def test_the_kind_of_a_column_and_its_reason(kind, cell, reason):
    column = Column.of(map(cell, ROWS), missing=("",))
    assert find_kind("c", column, Notation()) == ("c", kind, reason)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["y", "N"], True),
        (["T", "F"], True),
        (["yes", "y", "no"], True),
        (["yes"], False),
        (["yes", "y"], False),
        (["yes", "false"], False),
        (["yes", "no", "perhaps"], False),
        (["m", "f"], False),
    ],
)
def test_which_words_are_yes_and_no(words, found):
    assert are_yes_no(words) is found
