"""The table of classes against scikit-learn's report."""

import numpy as np
import pytest
from sklearn import metrics as reference

from dlrun.tracking.class_table import ClassRow, class_table, facts, means, rows_from


def rows_of(true, predicted, names):
    pairs = [(true == number, predicted == number) for number in range(len(names))]
    return [
        ClassRow.of(name, int((is_it & said).sum()), int(is_it.sum()), int(said.sum()))
        for name, (is_it, said) in zip(names, pairs, strict=True)
    ]


def test_each_class_and_the_means_are_those_of_scikit_learns_report():
    generator = np.random.default_rng(0)
    true, predicted = generator.integers(4, size=60), generator.integers(3, size=60)
    names = ["cat", "dog", "hen", "owl"]
    report = reference.classification_report(
        true, predicted, target_names=names, output_dict=True, zero_division=0
    )
    rows = rows_of(true, predicted, names)
    macro, weighted = means(rows)
    for row, name in [
        *zip(rows, names, strict=True),
        (macro, "macro avg"),
        (weighted, "weighted avg"),
    ]:
        expected = report[name]
        figures = {
            "precision": row.precision,
            "recall": row.recall,
            "f1-score": row.f1,
            "support": row.support,
        }
        assert figures == pytest.approx(expected)


def test_a_class_that_neither_occurs_nor_is_predicted_has_no_figures_and_counts_in_no_mean():
    rows = [ClassRow.of("a", 3, 4, 3), ClassRow.of("b", 0, 0, 0)]
    assert rows[1] == ClassRow("b", None, None, None, 0)
    macro, weighted = means(rows)
    assert (macro.recall, macro.support) == (weighted.recall, 4) == (0.75, 4)
    assert class_table(rows).splitlines()[2].split() == ["b", "-", "-", "-", "0"]
    assert means([rows[1]])[0].f1 is None


def test_of_many_classes_the_table_shows_the_worst():
    rows = [ClassRow.of(f"c{n}", n, 10, 10) for n in (7, 2, 9, 4)]
    lines = class_table(rows, most=2).splitlines()
    assert [line.split()[0] for line in lines] == ["worst", "c2", "c4", "macro", "weighted"]
    assert "worst 2 of 4 classes" in lines[0]
    assert [line.split()[0] for line in class_table(rows, most=4).splitlines()[1:5]] == [
        "c7",
        "c2",
        "c9",
        "c4",
    ]


def test_rows_come_back_from_a_summary_as_they_were_and_damaged_ones_do_not():
    rows = [ClassRow.of("a", 3, 4, 3), ClassRow.of("b", 0, 0, 0)]
    assert rows_from(facts(rows)) == rows
    assert rows_from(None) == rows_from([{"name": "a"}]) == rows_from([7]) == []
