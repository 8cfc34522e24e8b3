"""The answer of a sweep as HTML: a card for the winner, and a table of the best trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from html import escape

from optuna.trial import TrialState

from dlrun.sweep.leaderboard import Row
from dlrun.sweep.snapshot import Snapshot
from dlrun.sweep.summary import NO_BEST, Answer, command_of, warning
from dlrun.tracking.numbers import column_texts, number_text, spread_text

_TABLE_ROWS = 10


def answer_card(snapshot: Snapshot, answer: Answer) -> Iterator[str]:
    """The winner, how sure that is, and the command that trains it again; of repetitions alone their mean."""
    yield '<section class="card answer" id="answer">'
    if not answer.comparable:
        yield f"<h2>No best {answer.noun}</h2>\n<p>{NO_BEST[0].upper()}{NO_BEST[1:]}.</p>"
    elif answer.repeated is not None:
        yield from _mean(snapshot, answer)
    elif answer.winner is not None:
        yield from _winner(snapshot, answer, answer.winner)
    else:
        yield from _no_answer(snapshot)
    yield "</section>"


def best_trials(snapshot: Snapshot, answer: Answer) -> Iterator[str]:
    """The table; nothing where no trial has completed."""
    found = answer.completed
    if answer.repetitions.are_all:  # of which none is better than another
        found = sorted(
            (row for row in answer.trials if row.value is not None), key=lambda row: row.number
        )
    rows = found[:_TABLE_ROWS]
    if not rows:
        return
    columns = _columns(answer, rows)
    title = "The runs" if answer.repetitions.are_all else f"The best {answer.noun}s"
    if not answer.comparable:
        title = f"The {answer.noun}s"
    yield f'<section id="best">\n<h2>{title}</h2>'
    yield f'<p class="caption">{_caption(snapshot, answer, len(found))}</p>'
    yield '<div class="scroll"><table>\n<thead><tr>'
    yield "".join(f"<th{_align(right)}>{escape(head)}</th>" for head, right, _ in columns)
    yield "</tr></thead>\n<tbody>"
    for index in range(len(rows)):
        cells = "".join(f"<td{_align(right)}>{cells[index]}</td>" for _, right, cells in columns)
        first = index == 0 and answer.winner is not None
        yield f'<tr class="winner">{cells}</tr>' if first else f"<tr>{cells}</tr>"
    yield "</tbody>\n</table></div>\n</section>"


def _no_answer(snapshot: Snapshot) -> Iterator[str]:
    count = snapshot.count()
    yield "<h2>No answer yet</h2>"
    yield (
        f"<p>No trial has completed: {count[TrialState.FAIL]} failed,"
        f" {count[TrialState.PRUNED]} pruned.</p>"
    )


def _mean(snapshot: Snapshot, answer: Answer) -> Iterator[str]:
    lines = dict(answer.repetition_lines())
    head = answer.repetition_head()
    yield f"<h2>{escape(head[:1].upper() + head[1:])}</h2>"
    value = lines.pop(answer.objective, "")
    yield f'<div class="value">{value} <small>{escape(answer.objective)}</small></div>\n<dl>'
    for name, text in lines.items():
        yield f"<dt>{escape(name)}</dt><dd>{text}</dd>"
    yield "</dl>"
    yield from _warning(snapshot, answer)


def _warning(snapshot: Snapshot, answer: Answer) -> Iterator[str]:
    """That what needs no model reaches as much."""
    if found := warning(answer, snapshot.sweep):
        yield f"<p>{escape(found[:1].upper() + found[1:])}.</p>"


def _winner(snapshot: Snapshot, answer: Answer, winner: Row) -> Iterator[str]:
    name = f"Trial {winner.number}" if answer.noun == "trial" else answer.name(winner)
    yield f'<h2><span class="star">★</span> {escape(name)} is the best</h2>'
    assert winner.value is not None
    value = spread_text(winner.value, winner.spread)
    yield f'<div class="value">{value} <small>{escape(answer.objective)}</small></div>'
    yield from (f"<p>{escape(sentence)}</p>" for sentence in answer.lead())
    yield from _warning(snapshot, answer)
    yield "<dl>"
    for key, text in winner.swept.items():
        yield f"<dt><code>{escape(key)}</code></dt><dd><code>{escape(text)}</code></dd>"
    if answer.is_mean(winner):
        each = ", ".join(number_text(run[answer.objective]) for run in winner.each)
        yield (
            f"<dt>{answer.repetitions.noun}</dt><dd>{each}; above is their mean ± standard deviation"
            f" ({answer.count(winner)})</dd>"
        )
    if others := answer.others(winner):
        yield f"<dt>also</dt><dd>{escape(', '.join(others))}</dd>"
    folders = [str(snapshot.sweep.trial(number)) for number in winner.trials or [winner.number]]
    yield f"<dt>directory</dt><dd>{''.join(f'<code>{escape(f)}</code>' for f in folders)}</dd>"
    yield '</dl>\n<div class="command"><span class="faint">Command that trains it:</span>'
    yield f'<pre class="mono" id="command">{escape(command_of(snapshot, winner))}</pre>'
    yield '<button type="button" data-copies="command">copy</button></div>'


def _caption(snapshot: Snapshot, answer: Answer, total: int) -> str:
    if total == 1:
        return f"Only one {answer.noun} has completed."
    shown = f"The first {_TABLE_ROWS} of {total}" if total > _TABLE_ROWS else f"All {total}"
    caption = f"{shown} completed {answer.noun}s"
    if not answer.comparable:
        caption += (
            ", in the order of their trials" if answer.repetitions.across_trials else ", by number"
        )
    elif not answer.repetitions.are_all:
        best = "lowest" if answer.minimize else "highest"
        caption += f", the {best} {escape(answer.objective)} first"
    caption += "."
    if snapshot.sweep.leaderboard_file.exists():
        caption += " <code>leaderboard.csv</code> has them all."
    return caption


def _columns(answer: Answer, rows: Sequence[Row]) -> list[tuple[str, bool, list[str]]]:
    """Of each column the head, whether it is numbers, and the cells as HTML."""
    columns = []
    if answer.comparable and not answer.repetitions.are_all:  # ranks
        columns.append(("", True, list(map(str, range(1, len(rows) + 1)))))
    if any(row.trials for row in rows):
        columns.append(("n", True, [str(len(row.each)) for row in rows]))
    else:
        columns.append(("trial", True, [str(row.number) for row in rows]))
    columns.append((answer.objective, True, column_texts([row.value for row in rows])))
    if any(row.spread for row in rows):
        spreads = [number_text(row.spread or 0.0, digits=2) for row in rows]
        head = f"over {answer.repetitions.noun}"
        columns.append((head, True, [f"± {spread}" for spread in spreads]))
    columns += _parameters(rows)
    if any(row.seconds for row in rows):
        columns.append(("time", True, [_duration(row.seconds) for row in rows]))
    return columns


def _parameters(rows: Sequence[Row]) -> Iterator[tuple[str, bool, list[str]]]:
    for key in dict.fromkeys(key for row in rows for key in row.swept):
        cells = [row.swept.get(key, "–") for row in rows]
        shown = [f'<span class="mono">{escape(cell)}</span>' for cell in cells]
        yield key, all(map(_is_number, cells)), shown


def _align(right: bool) -> str:
    return ' class="number"' if right else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds:.2g} s"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
