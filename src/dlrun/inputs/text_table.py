"""New texts in a table like the one that training had, with or without the column of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dlrun.data.csv_file import Cells, read_csv
from dlrun.data.csv_form import Form
from dlrun.data.text_checks import is_header
from dlrun.data.text_files import joined_text, place_of
from dlrun.data.texts import TextLayout
from dlrun.errors import ConfigError, did_you_mean
from dlrun.hints import note

_PLAIN = (".txt", ".text", "")


def read_text_table(
    path: Path, encoding: str, layout: TextLayout, class_names: Sequence[str]
) -> list[str] | None:
    """The texts of the rows, columns joined as in training; None for a file of plain lines.

    Columns go by their names; where training's table had none, by their order.

    Raises:
        ConfigError: a column is not there, or a row has no text.
    """
    form = Form(
        header=False,
        delimiter=layout.delimiter,
        encoding=encoding,
        missing=[""],
        skip_lines=layout.skip_lines,
        comment=layout.comment,
    )
    plain = Path(path.name.lower().removesuffix(".gz")).suffix in _PLAIN
    try:
        cells = read_csv(path, form)
    except ConfigError:
        if plain:
            return None
        raise
    if layout.named and (not plain or {*layout.texts} <= {*cells.rows[0]}):
        cells = read_csv(path, replace(form, header=True))
        positions = [_named(cells, name) for name in layout.texts]
        labels = layout.label in cells.names
    elif not layout.named and not (plain and len(cells.names) != len(layout.columns)):
        positions = _counted(cells, layout)
        labels = len(cells.names) == len(layout.columns)
        cells = _without_header(cells, layout, positions, labels, class_names)
    else:
        return None
    if labels:
        note(f"{path} has labels in column {layout.label}, which are left away")
    return [_text(cells, row, positions) for row in range(len(cells.rows))]


def _named(cells: Cells, name: str) -> int:
    if name in cells.names:
        return cells.names.index(name)
    raise ConfigError(
        f"{cells.path} has no column {name}, which this run reads texts from{did_you_mean(name, cells.names)}"
    )


def _counted(cells: Cells, layout: TextLayout) -> list[int]:
    """Where the texts are in a table of training's columns, of all but the labels, or of the texts alone."""
    without = [name for name in layout.columns if name != layout.label]
    for names in (list(layout.columns), without, list(layout.texts)):
        if len(cells.names) == len(names):
            return [names.index(name) for name in layout.texts]
    raise ConfigError(
        f"{cells.path} has {len(cells.names)} columns, but this run was trained on {len(layout.columns)}, labels in "
        f"column {layout.label}; give as many, or leave the labels away"
    )


def _without_header(
    cells: Cells, layout: TextLayout, positions: list[int], labels: bool, class_names: Sequence[str]
) -> Cells:
    first = cells.rows[0]
    label = (first[int(layout.label) - 1] or "") if labels else ""
    known = label in class_names
    if known or not is_header(label, first[positions[0]] or "", list(class_names)):
        return cells
    return cells.only(range(1, len(cells.rows)))


def _text(cells: Cells, row: int, positions: list[int]) -> str:
    text = joined_text(cells.rows[row], positions)
    if not text:
        raise ConfigError(f"{place_of(cells, row, positions)}: there is no text")
    return text
