"""What `dlrun inspect` found, on one screen."""

from __future__ import annotations

import shlex
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from dlrun.commands import _text
from dlrun.commands._text import GAP, Column, plural
from dlrun.data.inspection.findings import Inspection
from dlrun.data.inspection.images import ImagesReport
from dlrun.data.inspection.series import SeriesReport
from dlrun.data.inspection.table import ColumnReport, TableReport, Target, short_number
from dlrun.data.inspection.texts import CharactersReport, TextsReport
from dlrun.errors import listed

_WIDEST = 110  # characters of a line
_LINES = 40  # of a screen
_FEWEST = 6  # lines of columns
_FACT = 3  # lines of one
_REFUSAL = 5  # lines of one
_NOTES = 7  # lines of notes
_CLASSES = 8
_GAPS = 3
_LEAKS = 4
_SAME = 4  # columns that say the same
_LONGEST_NAME = 20  # characters
_PLAIN = (
    "numbers",
    "words",
    "dates or times",
    "yes and no, read as 1 and 0",
    "no value in any row",
)
_EACH_CELL = ("number", "date", "yes/no")  # kinds that every cell of a column is
_KINDS = {
    "table": "a table",
    "series": "a series",
    "texts": "labelled texts",
    "text": "one long text",
    "images": "images",
}


def page(found: Inspection, command: str | None, written: Path | None) -> str:
    """All of it; `command` trains on the data, `written` is the file of the new option."""
    title = _text.wrapped(f"{found.path}: {_KINDS[found.kind]}, {_size(found)}", "  ", "")
    facts = list(_facts(found))
    below = [_pairs(facts)] if facts else []
    below += [_notes(found), *_refusals(found), f"{written} is written" if written else ""]
    below.append(_way_on(found, command))
    below = [block for block in below if block]
    if not found.table:
        return "\n\n".join([title, *below])
    taken = sum(block.count("\n") + 2 for block in (title, *below))
    lines = max(_LINES, shutil.get_terminal_size().lines) - taken
    targets = [one.name for one in found.targets] or found.leaks_sought[:1]
    return "\n\n".join([title, _columns(found.table, max(lines, _FEWEST), targets), *below])


def _width() -> int:
    return min(_text.terminal_width(), _WIDEST)


def _size(found: Inspection) -> str:
    content = found.content
    if found.table:
        rows = plural(found.table.rows, "row")
        if found.looked_at < 1:
            rows = f"the first {rows} ({found.looked_at:.0%} of it)"
        return f"{rows}, {plural(len(found.table.columns), 'column')}"
    if isinstance(content, TextsReport):
        return plural(sum(content.parts.values()), "text")
    if isinstance(content, CharactersReport):
        return f"{plural(content.characters, 'character')}, {plural(content.lines, 'line')}"
    if isinstance(content, ImagesReport):
        return plural(content.count, "file")
    return "not readable as they are"


def _columns(table: TableReport, lines: int, targets: Sequence[str]) -> str:
    """A line for each column, as many as there is room for, and of the targets in any case."""
    heads, left = _left_of_values(table.columns)
    indent = " " * (len(left[0]) + len(GAP))
    about = (f"\n{indent}".join(_about(one, _width() - len(indent))) for one in table.columns)
    rows = [f"{row}{GAP}{said}".rstrip() for row, said in zip(left, about, strict=True)]
    room = lines - len(heads) - 2  # for what the kinds mean, and how to see more
    shown, below = _fitting(rows, room), list[int]()
    if shown < len(rows):
        named = [at for at, one in enumerate(table.columns) if one.name in targets]
        shown = min(shown, max(_fitting(rows, room - sum(at >= shown for at in named)), 1))
        below = [at for at in named if at >= shown]
    said = [*heads[:-1], f"{heads[-1]}{GAP}values; why, if not plain", *rows[:shown]]
    rest = [one for at, one in enumerate(table.columns) if at >= shown and at not in below]
    if rest:
        kinds = Counter(one.kind for one in rest).items()
        counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
        said.append(f"… and {plural(len(rest), 'more column')} ({counts}): --json shows all")
    return "\n".join([*said, *(rows[at] for at in below), *_meanings(table)])


def _fitting(rows: Sequence[str], lines: int) -> int:
    """How many of the rows fit into so many lines."""
    ends = accumulate(row.count("\n") + 1 for row in rows)
    return sum(end <= lines for end in ends)


def _left_of_values(columns: Sequence[ColumnReport]) -> tuple[list[str], list[str]]:
    """The heads, and of each column what stands left of its values, all of one width."""
    rows = [
        (one.name, one.kind, _text.count(one.missing) if one.missing else "", f"{one.distinct:,}", _rarest(one))
        for one in columns
    ]  # fmt: skip
    heads = (("column",), ("read as",), ("missing",), ("distinct",), ("rarest", "class"))
    made = [
        Column(head, [row[at] for row in rows], right=at > 1, limit=_LONGEST_NAME)
        for at, head in enumerate(heads)
    ]
    if not any(made[-1].cells):
        made.pop()
    tall = max(len(column.head) for column in made)
    lines = [GAP.join(parts) for parts in zip(*(one.lines(tall) for one in made), strict=True)]
    return lines[:tall], lines[tall:]


def _rarest(column: ColumnReport) -> str:
    """How many rows the rarest class has, where the column could be a target of classes."""
    classes = column.as_target.classes if column.as_target else {}
    return f"{min(classes.values()):,}" if classes else ""


def _about(column: ColumnReport, room: int) -> list[str]:
    """What a column holds, in a line; why it is read so, where that is not plain, in others."""
    first = column.values if len(column.values) <= room else f"{column.values[: room - 1]}…"
    reason = "" if column.reason in _PLAIN else column.reason
    if column.kind == "refused":
        reason = reason.partition("; ")[0]
    if reason and len(first) + len(reason) + 2 <= room:
        return [f"{first}; {reason}" if first else reason]
    more = textwrap.wrap(reason, room, max_lines=2, placeholder=" …")
    return [first, *more] if first else more or [""]


def _meanings(table: TableReport) -> list[str]:
    """What is plain."""
    kinds = {one.kind for one in table.columns}
    said = (
        [f"{', '.join(each)}: each cell is one"]
        if (each := [*filter(kinds.__contains__, _EACH_CELL)])
        else []
    )
    said += ["category: words that recur"] if "category" in kinds else []
    return [f"  {'; '.join(said)}"] if said else []


def _pairs(facts: Iterable[tuple[str, str]]) -> str:
    """Names and texts side by side, the texts in as many lines as they need."""
    facts = list(facts)
    room = _width() - max(len(name) for name, _ in facts) - len(GAP)
    texts = (
        textwrap.wrap(said, room, max_lines=_FACT, placeholder=" …", break_on_hyphens=False)
        for _, said in facts
    )
    return _text.pairs(
        ((name, "\n".join(lines)) for (name, _), lines in zip(facts, texts, strict=True)), ""
    )


def _notes(found: Inspection) -> str:
    lines: list[str] = []
    for at, note in enumerate(found.notes):
        more = textwrap.wrap(
            note.removeprefix(f"{found.path}: "), _width(), initial_indent="  ", subsequent_indent="    ",
            max_lines=_FACT, placeholder=" …", break_on_hyphens=False,
        )  # fmt: skip
        if len(lines) + len(more) > _NOTES:
            left = plural(len(found.notes) - at, "more message")
            lines.append(f"  … and {left}: --json shows all")
            break
        lines += more
    return "\n".join(["train will say", *lines]) if lines else ""


def _refusals(found: Inspection) -> Iterator[str]:
    """What train refuses: what settings mend, and what they do not."""
    errors = [("train refuses it as it is: ", error) for error in found.mended]
    errors += [("train refuses it: ", found.error)] if found.error else []
    for first, error in errors:
        said = error.removeprefix(found.path).lstrip(",: ")
        yield "\n".join(
            textwrap.wrap(
                first + said, _width(), subsequent_indent="  ", max_lines=_REFUSAL, placeholder=" …",
                break_long_words=False, break_on_hyphens=False,
            )
        )  # fmt: skip


def _way_on(found: Inspection, command: str | None) -> str:
    """The command to train, or why there is none."""
    if command:
        after = ", with what is said above set" if found.mended else ""
        after = ", once that is mended" if found.error else after
        return f"To train{after}\n{_folded(command)}"
    if found.error:
        return ""
    aside = [f"{one.name} ({one.kind})" for one in found.table.columns] if found.table else []
    said = f"No column can be predicted: {listed(aside, most=8)}; --target COLUMN chooses one all the same"
    return _text.wrapped(said, "  ", "")


def _folded(command: str) -> str:
    """A command in lines that can be pasted as they are."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if lines[-1] and len(lines[-1]) + len(word) + 7 > _width():
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(f"{'    ' if at else '  '}{line}" for at, line in enumerate(lines))


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    """What stands out, in lines of a name and a text."""
    content = found.content
    if found.table:
        yield from _of_table(found.table, rows=found.kind in ("table", "series"))
    if found.in_training is not None:
        what = {"table": "rows", "texts": "texts"}.get(found.kind, "images")
        yield f"test {what} in training", f"{found.in_training:,}"
    if isinstance(content, SeriesReport):
        yield from _of_series(content)
    if isinstance(content, TextsReport):
        yield from _of_texts(content)
    if isinstance(content, CharactersReport):
        yield "distinct characters", f"{content.distinct:,}, commonest {content.commonest}"
        yield "encoding", _encodings(content.encodings)
    if isinstance(content, ImagesReport):
        yield from _of_images(content)
    counted = isinstance(content, TextsReport) or (
        isinstance(content, ImagesReport) and content.classes
    )
    for target in () if counted else found.targets:
        yield "target", _target(target, filled=found.kind == "series")
    yield from _leaks(found)


def _leaks(found: Inspection) -> Iterator[tuple[str, str]]:
    """The columns that may reveal the target, a line each; and those that reveal another one."""
    targets = [one.name for one in found.targets]
    others = [leak for leak in found.leaks if leak.target not in targets]
    for leak in found.leaks:
        if leak.target in targets:
            target = "the target" if len(targets) == 1 else leak.target
            yield f"may reveal {target}", f"{leak.column}: {leak.how}"
    if others:
        said = (f"{leak.target} by {leak.column} ({leak.how})" for leak in others)
        yield "may reveal another", listed(said, most=3)


def _of_table(table: TableReport, *, rows: bool) -> Iterator[tuple[str, str]]:
    """What stands out among the columns, and among the `rows` where those are what is learned from."""
    if table.constant:
        yield "constant columns", listed(table.constant, most=8)
    if table.identifiers and rows:
        yield "identifiers", listed(table.identifiers, most=8)
    if table.same_columns:
        groups = (
            " = ".join([*names[:_SAME], "…"] if len(names) > _SAME else names)
            for names in table.same_columns
        )
        yield "columns that say the same", listed(groups, most=8)
    if rows:
        aside = ", identifiers left aside" if table.identifiers else ""
        yield "duplicate rows", f"{table.duplicate_rows:,}{aside}"


def _target(target: Target, *, filled: bool) -> str:
    """What would be predicted; rows without it are left out, or `filled`."""
    rows = plural(target.missing, "row")
    missing = (
        f"; missing in {rows}, to be {'filled' if filled else 'left out'}" if target.missing else ""
    )
    if target.classes:
        return f"{target.name}, {len(target.classes)} classes: {_counts(target.classes)}{missing}"
    least, mean, most = map(short_number, target.values)
    return f"{target.name}, numbers from {least} to {most}, mean {mean}{missing}"


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
    if lengths := [*series.lengths.values()]:
        names = listed(series.lengths, most=5)
        yield (
            "several series",
            f"{len(lengths):,} by {' and '.join(series.series)}, of {min(lengths):,} to {max(lengths):,} rows: {names}",
        )
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
    if images.decoded < images.count:
        yield (
            "read to their end",
            f"{images.decoded:,} of {images.count:,}, evenly from all; of the others the head",
        )
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
