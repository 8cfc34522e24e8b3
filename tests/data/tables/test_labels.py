"""Labels that are one class, and the order of classes."""

import pytest

from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.target_column import class_numbers, classes_of, merged

PLAIN = Notation()


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["0", "0.0", "1", "1.0"], ("0", "1")),
        (["10", "2", "1", "02"], ("1", "2", "10")),
        (["Yes", "yes", "yes", "no", "NO", "no"], ("no", "yes")),
        (["left  wing", "Left wing", "Left wing", "right"], ("Left wing", "right")),
        (["cafe\u0301", "caf\u00e9", "caf\u00e9", "x"], ("caf\u00e9", "x")),
        (["True", "False"], ("False", "True")),
        (["1", "1.0", "x"], ("1", "x")),
    ],
)
def test_spellings_of_a_label_are_one_class(labels, names):
    assert classes_of(labels, merge=True, notation=PLAIN).names == names


def test_spellings_are_named_and_can_be_kept_apart():
    labels = ["0", "0.0", "1", "2", "2.0"]
    assert merged(classes_of(labels, merge=True, notation=PLAIN)) == "0 and 0.0, 2 and 2.0"
    apart = classes_of(labels, merge=False, notation=PLAIN)
    assert apart.names == ("0", "0.0", "1", "2", "2.0") and merged(apart) == ""


def test_numbers_are_equal_in_the_notation_of_the_file():
    comma = Notation("comma")
    assert classes_of(["1,0", "1", "0,5"], merge=True, notation=comma).names == ("0,5", "1")


def test_labels_of_another_file_are_found_by_their_value():
    numbers = class_numbers(["1.0", "YES", "0", "x"], ["0", "1", "yes"], merge=True, notation=PLAIN)
    assert numbers == [1, 2, 0, None]
    assert class_numbers(["1.0", "1"], ["0", "1"], merge=False, notation=PLAIN) == [None, 1]
