"""The answer of a sweep as HTML: a card for the winner, and a table of the best trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from html import escape

from optuna.trial import FrozenTrial, TrialState

from dlrun.sweep.answer import NO_BEST, command_of, lead, other_metrics, seeds_of, spread
from dlrun.sweep.report.look import number, numbers
from dlrun.sweep.snapshot import Snapshot, value_of

_TABLE_ROWS = 10


def answer_card(snapshot: Snapshot) -> Iterator[str]:
    """The winner, how sure that is, and the command that trains it again."""
    winner = snapshot.winner
    yield '<section class="card answer" id="answer">'
    if not snapshot.comparable:
        yield f"<h2>No best trial</h2>\n<p>{NO_BEST[0].upper()}{NO_BEST[1:]}.</p>"
    else:
        yield from _no_answer(snapshot) if winner is None else _winner(snapshot, winner)
    yield "</section>"


def best_trials(snapshot: Snapshot) -> Iterator[str]:
    """The table; nothing where no trial has completed."""
    rows = snapshot.ranked[:_TABLE_ROWS]
    if not rows:
        return
    columns = _columns(snapshot, rows)
    title = "The best trials" if snapshot.comparable else "The trials"
    yield f'<section id="best">\n<h2>{title}</h2>'
    yield f'<p class="caption">{_caption(snapshot)}</p>'
    yield '<div class="scroll"><table>\n<thead><tr>'
    yield "".join(f"<th{_align(right)}>{escape(head)}</th>" for head, right, _ in columns)
    yield "</tr></thead>\n<tbody>"
    for index in range(len(rows)):
        cells = "".join(f"<td{_align(right)}>{cells[index]}</td>" for _, right, cells in columns)
        first = index == 0 and snapshot.comparable
        yield f'<tr class="winner">{cells}</tr>' if first else f"<tr>{cells}</tr>"
    yield "</tbody>\n</table></div>\n</section>"


def _no_answer(snapshot: Snapshot) -> Iterator[str]:
    count = snapshot.count()
    yield "<h2>No answer yet</h2>"
    yield (
        f"<p>No trial has completed: {count[TrialState.FAIL]} failed,"
        f" {count[TrialState.PRUNED]} pruned.</p>"
    )


def _winner(snapshot: Snapshot, winner: FrozenTrial) -> Iterator[str]:
    deviation = spread(winner)
    more = "" if deviation is None else f" ± {deviation:.2g}"
    yield f'<h2><span class="star">★</span> Trial {winner.number} is the best</h2>'
    value = f"{number(value_of(winner))}{more}"
    yield f'<div class="value">{value} <small>{escape(snapshot.objective)}</small></div>'
    yield from (f"<p>{escape(sentence)}</p>" for sentence in lead(snapshot))
    yield "<dl>"
    for key, text in snapshot.texts(winner).items():
        yield f"<dt><code>{escape(key)}</code></dt><dd><code>{escape(text)}</code></dd>"
    if deviation is not None:
        each = ", ".join(map(number, seeds_of(winner)))
        yield f"<dt>each seed</dt><dd>{each}; above is their mean ± standard deviation</dd>"
    if others := other_metrics(snapshot, winner):
        metrics = ", ".join(f"{name} {number(value)}" for name, value in others)
        yield f"<dt>also</dt><dd>{escape(metrics)}</dd>"
    yield f"<dt>directory</dt><dd><code>{escape(str(snapshot.sweep.trial(winner.number)))}</code></dd>"
    yield '</dl>\n<div class="command"><span class="faint">To train it again:</span>'
    yield f'<pre class="mono" id="command">{escape(command_of(snapshot, winner))}</pre>'
    yield '<button type="button" data-copies="command">copy</button></div>'


def _caption(snapshot: Snapshot) -> str:
    total = len(snapshot.ranked)
    if total == 1:
        return "Only one trial has completed."
    shown = f"The first {_TABLE_ROWS} of {total}" if total > _TABLE_ROWS else f"All {total}"
    best = "lowest" if snapshot.minimize else "highest"
    order = f"the {best} {escape(snapshot.objective)} first" if snapshot.comparable else "by number"
    caption = f"{shown} completed trials, {order}."
    if snapshot.sweep.leaderboard_file.exists():
        caption += " <code>leaderboard.csv</code> has them all."
    return caption


def _columns(snapshot: Snapshot, rows: Sequence[FrozenTrial]) -> list[tuple[str, bool, list[str]]]:
    """Of each column the head, whether it is numbers, and the cells as HTML."""
    columns = [
        ("", True, [str(place) for place in range(1, len(rows) + 1)]),
        ("trial", True, [str(trial.number) for trial in rows]),
        (snapshot.objective, True, numbers([value_of(trial) for trial in rows])),
    ]
    spreads = [spread(trial) for trial in rows]
    if any(spreads):
        columns.append(("over seeds", True, [f"± {value or 0.0:.2g}" for value in spreads]))
    columns += _parameters(snapshot, rows)
    seconds = [trial.user_attrs.get("seconds") for trial in rows]
    if any(seconds):
        columns.append(("time", True, [_duration(value) for value in seconds]))
    return columns


def _parameters(
    snapshot: Snapshot, rows: Sequence[FrozenTrial]
) -> Iterator[tuple[str, bool, list[str]]]:
    texts = [snapshot.texts(trial) for trial in rows]
    for key in dict.fromkeys(key for row in texts for key in row):
        cells = [row.get(key, "–") for row in texts]
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
