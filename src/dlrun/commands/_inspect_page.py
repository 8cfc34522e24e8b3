"""What `dlrun inspect` found, on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from dlrun.commands import _text
from dlrun.commands._text import Column, plural
from dlrun.data.inspection.images import ImagesReport
from dlrun.data.inspection.inspect import Inspection, Target
from dlrun.data.inspection.series import SeriesReport
from dlrun.data.inspection.table import TableReport
from dlrun.data.inspection.texts import CharactersReport, TextsReport
from dlrun.errors import listed

_COLUMNS = 30
_CLASSES = 8
_GAPS = 3
_WIDEST = 44  # characters of a cell
_KINDS = {
    "table": "a table",
    "series": "a series",
    "texts": "labelled texts",
    "text": "one long text",
    "images": "images",
}


def page(found: Inspection, command: str | None, written: Path | None) -> str:
    """All of it; `command` trains on the data, `written` is the file of the new option."""
    blocks = [f"{found.path}: {_KINDS[found.kind]}, {_size(found)}"]
    if found.table:
        blocks.append(_columns(found.table))
    facts = list(_facts(found))
    if facts:
        blocks.append(_text.pairs(facts, ""))
    if found.notes:
        notes = (note.removeprefix(f"{found.path}: ") for note in found.notes)
        blocks.append(
            "\n".join(["train will say", *(_text.wrapped(one, "    ", "  ") for one in notes)])
        )
    if found.error:
        blocks.append(_text.wrapped(found.error, "  ", "train refuses it: "))
    if written:
        blocks.append(f"{written} is written")
    if command:
        blocks.append(
            f"{'To train, once that is mended' if found.error else 'To train'}\n  {command}"
        )
    else:
        blocks.append("No column can be predicted: --target COLUMN chooses one.")
    return "\n\n".join(blocks)


def _size(found: Inspection) -> str:
    content = found.content
    if found.table:
        return f"{plural(found.table.rows, 'row')}, {plural(len(found.table.columns), 'column')}"
    if isinstance(content, TextsReport):
        return plural(sum(content.parts.values()), "text")
    if isinstance(content, CharactersReport):
        return f"{plural(content.characters, 'character')}, {plural(content.lines, 'line')}"
    if isinstance(content, ImagesReport):
        return plural(content.count, "file")
    return "not readable as they are"


def _columns(table: TableReport) -> str:
    shown = table.columns[:_COLUMNS]
    heads = ("column", "read as", "missing", "different", "values", "as a target", "why")
    rows = [
        (one.name, one.kind, _text.count(one.missing) if one.missing else "", f"{one.distinct:,}", one.values,
         one.as_target, one.reason)
        for one in shown
    ]  # fmt: skip
    columns = [
        Column((head,), [row[at] for row in rows], right=head in heads[2:4], limit=_limit(head))
        for at, head in enumerate(heads)
    ]
    more = len(table.columns) - len(shown)
    return _text.table(columns) + (
        f"\n… and {plural(more, 'more column')}: --json has all" if more else ""
    )


def _limit(head: str) -> int:
    return 200 if head == "why" else _WIDEST


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    """What stands out, in lines of a name and a text."""
    if found.table:
        yield from _of_table(found.table)
    if found.in_training is not None:
        yield "test rows in training", f"{found.in_training:,}"
    content = found.content
    if isinstance(content, SeriesReport):
        yield from _of_series(content)
    if isinstance(content, TextsReport):
        yield from _of_texts(content)
    if isinstance(content, CharactersReport):
        yield "different characters", f"{content.distinct:,}, commonest {content.commonest}"
        yield "encoding", _encodings(content.encodings)
    if isinstance(content, ImagesReport):
        yield from _of_images(content)
    if found.target and not isinstance(content, TextsReport):
        yield "target", _target(found.target)
    for leak in found.leaks:
        yield "may reveal the target", f"{leak.column}: {leak.how}"


def _of_table(table: TableReport) -> Iterator[tuple[str, str]]:
    if table.constant:
        yield "constant columns", listed(table.constant, most=8)
    if table.identifiers:
        yield "identifiers", listed(table.identifiers, most=8)
    if table.same_columns:
        groups = (" = ".join(names) for names in table.same_columns)
        yield "columns that say the same", listed(groups, most=8)
    yield (
        "duplicate rows",
        f"{table.duplicate_rows:,}{' but for identifiers' if table.identifiers else ''}",
    )


def _target(target: Target) -> str:
    missing = (
        f"; missing in {plural(target.missing, 'row')}, to be left out" if target.missing else ""
    )
    if target.classes:
        return f"{target.name}, {len(target.classes)} classes: {_counts(target.classes)}{missing}"
    least, mean, most = target.values
    return f"{target.name}, numbers from {least:.4g} to {most:.4g}, mean {mean:.4g}{missing}"


def _counts(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    shown = sorted(counts.items(), key=lambda item: -item[1])
    said = ", ".join(f"{name} {count:,} ({count / total:.1%})" for name, count in shown[:_CLASSES])
    rest = shown[_CLASSES:]
    return said + (f" and {len(rest)} more, the rarest {rest[-1][1]:,}" if rest else "")


def _encodings(counts: Mapping[str, int]) -> str:
    return _counts(counts) if len(counts) > 1 else next(iter(counts), "")


def _of_series(series: SeriesReport) -> Iterator[tuple[str, str]]:
    yield "time", f"{series.time} ({series.format}), {series.first} to {series.last}"
    yield "step", series.step
    gaps = [f"{count:,} after {cell}" for cell, count in series.gaps.items()]
    yield (
        "missing steps",
        f"{series.missing_steps:,}" + (f": {listed(gaps, most=_GAPS)}" if gaps else ""),
    )
    yield "repeated times", f"{series.repeated:,}"
    yield "rows out of order", f"{series.unsorted:,}"
    seasons = (f"{name} {' and '.join(map(str, found))}" for name, found in series.seasons.items())
    yield "seasons, in rows", listed(seasons, most=_CLASSES) or "none found"


def _of_texts(texts: TextsReport) -> Iterator[tuple[str, str]]:
    if len(texts.parts) > 1:
        yield "parts", ", ".join(f"{name} {count:,}" for name, count in texts.parts.items())
    yield "labels", f"{len(texts.labels)}: {_counts(texts.labels)}"
    for name, lengths in (("tokens", texts.tokens), ("characters", texts.characters)):
        least, middle, common, most = (f"{one:,}" for one in lengths)
        yield name, f"{least} to {most}, middle {middle}, 95 % have at most {common}"
    yield "duplicate texts", f"{texts.copies:,}"
    if texts.contradictions:
        yield "texts of several labels", f"{texts.contradictions:,}"
    yield "encoding", _encodings(texts.encodings)


def _of_images(images: ImagesReport) -> Iterator[tuple[str, str]]:
    for part, classes in images.classes.items():
        yield part if len(images.classes) > 1 else "classes", f"{len(classes)}: {_counts(classes)}"
    yield "height x width", _counts(images.sizes)
    yield "colours", _counts(images.modes)
    broken = [f"{file} ({why})" for file, why in images.broken.items()]
    yield "do not open", f"{len(broken)}" + (f": {listed(broken, most=_GAPS)}" if broken else "")
    where = []
    if images.copies_in_classes:
        where.append(f"{images.copies_in_classes} in several classes")
    if images.copies_in_parts:
        where.append(f"{images.copies_in_parts} in several parts")
    said = plural(len(images.copies), "group") + (f", {', '.join(where)}" if where else "")
    first = f", such as {' = '.join(images.copies[0][:2])}" if images.copies else ""
    yield "copies", said + first if images.copies else "0"
