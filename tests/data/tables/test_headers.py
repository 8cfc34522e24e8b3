"""Which first rows are headers: of numbers, of words that recur, and rows of data that must not be taken for one."""

import random

import pytest

from dlrun.data.tables.headers import judge

_random = random.Random(0)
ROWS = range(60)


def number():
    return f"{_random.random():.3f}"


def whole(low, high):
    return lambda: str(_random.randint(low, high))


def one_of(*words):
    return lambda: _random.choice(words)


def name():
    return "".join(_random.choices("abcdefgh", k=7))


def date():
    return f"2020-{_random.randint(1, 12):02d}-{_random.randint(10, 28)}"


def rows(*columns):
    return [[column() for column in columns] for _ in ROWS]


def numbered(*columns):
    return [[str(row), *cells] for row, cells in enumerate(rows(*columns))]


HEADERS = {
    "0,1,2,3": rows(*[number] * 4),
    "1,2,3,4": rows(*[whole(0, 9)] * 4),
    "0,1": rows(*[number] * 2),
    "2019,2020,2021": rows(*[whole(0, 99)] * 3),
    "1990,2000,2005": rows(*[whole(0, 99)] * 3),
    "400.5,410.5,420.5,y": rows(number, number, number, one_of("a", "b")),
    "region,2019,2020,2021,grew": rows(one_of(*"NSEW"), *[whole(0, 99)] * 3, one_of("yes", "no")),
    "0,1,2,3,label": rows(*[whole(0, 16)] * 4, whole(0, 9)),
    "0,1,2": [[date(), *cells] for cells in rows(number, number)],
    ",0,1,2": numbered(*[number] * 3),
    ",0": numbered(number),
    "price,city": [["about 5", "x"], *rows(whole(100, 900), one_of("x", "y"))],
    "age,Male,weight": rows(whole(18, 80), one_of("Male", ""), number),
    "2020-01-01,2020-02-01,grew": rows(whole(0, 9), whole(0, 9), one_of("u", "v")),
    "date,name": rows(date, name),
    "Na,Mg,Type": rows(*[number] * 3),
    "text,label": rows(name, one_of("p", "q")),
    "a,b": rows(one_of("x", "z"), one_of("p", "q")),
}
DATA = {
    "5.1,3.5,1.4,Iris-setosa": rows(number, number, number, one_of("Iris-setosa", "Iris-x")),
    "6,148,72,35,0,33.6,1": rows(*[whole(0, 200)] * 5, number, whole(0, 1)),
    "0.00632,18.00,2.310,0": rows(number, number, number, whole(0, 1)),
    "1,1,1,1,3": rows(*[whole(1, 3)] * 5),
    "7,3,9,2": rows(*[whole(0, 9)] * 4),
    "aardvark,1,0,0,4": rows(name, *[whole(0, 1)] * 3, whole(0, 8)),
    "18.0,8,307.0,chevrolet malibu": rows(number, whole(3, 8), number, name),
    "A,10,25,100": rows(one_of(*"ABC"), *[whole(0, 200)] * 3),
    "p,x,s": rows(one_of("p", "e"), one_of("x", "b"), one_of("s", "y")),
    "2020-01-10,5": rows(date, whole(0, 99)),
    "2020-01-10,north": rows(date, name),
    "fine film,pos": rows(name, one_of("pos", "neg")),
    "unknown,5.2,3.1": rows(number, number, number),
    "0,1": [[str(row), str(2 * row + 1)] for row in range(1, 60)],
    "1995,12": [[str(1995 + row), whole(1, 99)()] for row in range(1, 30)],
    "1995,2001": rows(*[whole(1990, 2010)] * 2),
    "1,2,3": [[str(3 * row + column) for column in (1, 2, 3)] for row in range(1, 20)],
    "0,0,0": [["0", "1", "1"], ["1", "0", "1"], ["1", "1", "0"]],
}


@pytest.mark.parametrize("first", HEADERS)
def test_a_first_row_that_is_unlike_the_rows_below_is_a_header(first):
    verdict = judge(first.split(","), HEADERS[first])
    assert verdict.header and verdict.sure


@pytest.mark.parametrize("first", DATA)
def test_a_first_row_like_those_below_is_data(first):
    verdict = judge(first.split(","), DATA[first])
    assert not verdict.header and verdict.sure


@pytest.mark.parametrize("rest", [HEADERS, DATA], ids=["below a header", "without one"])
def test_no_other_row_of_these_tables_is_taken_for_a_header(rest):
    for table in rest.values():
        for row in range(0, len(table), 10):
            verdict = judge(table[row], table[:row] + table[row + 1 :])
            assert not (verdict.header and verdict.sure)


@pytest.mark.parametrize(
    ("first", "below", "header"),
    [
        ("id,7,12,99,label", rows(*[whole(0, 255)] * 4, one_of("a", "b")), True),
        ("1,2,3", rows(*[whole(0, 30)] * 3), True),
        ("0", rows(number), True),
        ("region,2019,grew", rows(one_of(*"NSEW"), whole(0, 99), one_of("yes", "no")), True),
        (
            "Male,Other,age,bought",
            rows(one_of("Male", ""), one_of("Other", ""), whole(18, 80), one_of("", "bought")),
            True,
        ),
        ("x,y", [["fine", "good"], ["dull", "bad"]], True),
        ("1,0,rare", rows(whole(0, 1), whole(0, 1), one_of("u", "v")), False),
    ],
)
def test_what_may_be_either_is_no_sure_answer(first, below, header):
    below = [row for row in below if row != ["1", "2", "3"]]
    verdict = judge(first.split(","), below)
    assert (verdict.header, verdict.sure) == (header, False)


def test_a_header_that_stands_in_the_middle_too_is_one_all_the_same():
    table = HEADERS["text,label"]
    assert judge(["text", "label"], [*table[:30], ["text", "label"], *table[30:]]).header
