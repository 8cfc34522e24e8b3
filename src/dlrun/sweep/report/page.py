"""The report of a sweep: one HTML page with the answer and the figures, and the same figures as PNG."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from optuna.trial import TrialState

from dlrun import __version__
from dlrun.errors import command
from dlrun.storage.links import refuse_links
from dlrun.storage.run_directory import write_whole
from dlrun.storage.run_summary import short_name
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.leaderboard import Row
from dlrun.sweep.report.chart import Chart
from dlrun.sweep.report.figures import describe
from dlrun.sweep.report.matplotlib_renderer import Described, write_pictures
from dlrun.sweep.report.plotly_renderer import plotly_figure
from dlrun.sweep.report.sections import Contents
from dlrun.sweep.snapshot import Snapshot, take
from dlrun.sweep.summary import NO_BEST, Answer, answer_of, command_of, warning
from dlrun.tracking.numbers import column_texts, is_number, number_text, spread_text

_MOST_FAILED = 20
_UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)
_TABLE_ROWS = 10
_FRAME = 18  # pixels of a figure's border and padding
_STRATEGIES = {
    "GridSampler": "grid (every combination)",
    "RandomSampler": "random search",
    "TPESampler": "TPE (Bayesian optimisation)",
    "CoarseToFineSampler": "coarse to fine",
}
_SHOWN_SETTINGS = (
    "rounds",
    "trials_per_round",
    "epochs_per_round",
    "first_round",
    "shrink",
    "top_k",
    "points",
    "seeds",
    "pruner",
    "seed",
)


@dataclass(frozen=True)
class Report:
    """What was written."""

    page: Path
    pictures: list[Path]


def write_report(sweep: SweepDirectory) -> Report:
    """Replace the sweep's report by one of what there is now, be it under way.

    Raises:
        ConfigError: its sweep.yaml is missing or damaged, or a symbolic link is in it.
    """
    refuse_links(sweep.path)
    snapshot = take(sweep)
    contents = Contents(snapshot)
    described = [(section, describe(section, contents)) for section in contents.sections()]
    write_whole(sweep.report_file, page(snapshot, described))
    return Report(sweep.report_file, write_pictures(described, sweep.report_folder))


def page(snapshot: Snapshot, described: Described) -> str:
    """The whole page, with all that it needs to be shown."""
    from plotly.offline import get_plotlyjs

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    answer = answer_of(snapshot)
    now = datetime.now().astimezone()
    return templates.get_template("page.html").render(
        **_head(snapshot),
        **_answer(snapshot, answer),
        **_failed(snapshot),
        table=_table(answer, snapshot.settings.get("columns") or ()),
        has_leaderboard=snapshot.sweep.leaderboard_file.exists(),
        sections=[(section, list(map(_figure, charts))) for section, charts in described],
        version=__version__,
        now=f"{now.day} {now:%B %Y, %H:%M}",
        plotly=Markup(get_plotlyjs()),
    )


def _figure(chart: Chart) -> tuple[Markup, int]:
    """What a figure is drawn from, and its height; no text in it may end the script."""
    data = json.dumps(plotly_figure(chart), ensure_ascii=False, separators=(",", ":"))
    return Markup(data.replace("<", "\\u003c")), chart.height + _FRAME


def _head(snapshot: Snapshot) -> dict[str, Any]:
    """What the sweep asks, and how far it is."""
    question = {
        "searched": list(map(str, snapshot.space.parameters)),
        "fixed": snapshot.fixed,
    }
    if isinstance(typed := snapshot.description.get("command"), list):
        kept = ("-m", "--multirun")  # without it, several values would be one
        words = [word for word in typed if word in kept or not str(word).startswith("-")]
        question["command"] = [command("train", *words)]
    question["directory"] = [str(snapshot.sweep.path)]
    name = Path(str(snapshot.description.get("name") or snapshot.sweep.path.name))
    return {
        "name": short_name(name),  # when it was stands below
        "facts": list(_when_and_how_many(snapshot)),
        "unfinished": 0 if snapshot.ended_by else len(snapshot.of(*_UNFINISHED)),
        "renew": command("report", snapshot.sweep.path),
        "strategy": list(_strategy(snapshot)),
        "question": question,
    }


def _when_and_how_many(snapshot: Snapshot) -> Iterator[str]:
    try:
        begun = datetime.fromisoformat(str(snapshot.description.get("created")))
        yield f"{begun.day} {begun:%B %Y, %H:%M}"
    except ValueError:
        pass
    seconds = [trial.user_attrs.get("seconds") or 0.0 for trial in snapshot.trials]
    if any(seconds):
        yield f"{timedelta(seconds=round(sum(seconds)))} of training"
    count = snapshot.count()
    yield f"{count[TrialState.COMPLETE]} completed"
    yield f"{count[TrialState.PRUNED]} pruned"
    yield f"{count[TrialState.FAIL]} failed"
    if snapshot.early_end:
        yield snapshot.early_end


def _strategy(snapshot: Snapshot) -> Iterator[str]:
    settings = snapshot.settings
    sampler = str(settings.get("_target_", "unknown")).rpartition(".")[2]
    yield _STRATEGIES.get(sampler, sampler.removesuffix("Sampler"))
    yield f"{len(snapshot.trials)} trials"
    for key in _SHOWN_SETTINGS:
        if settings.get(key) not in (None, "none", 1):
            yield f"{key} {settings[key]}"


def _answer(snapshot: Snapshot, answer: Answer) -> dict[str, Any]:
    """The winner, how sure that is, and the command that trains it again; of repetitions alone their mean."""
    winner, count = answer.winner, snapshot.count()
    found = {
        "answer": answer,
        "winner": winner,
        "no_best": NO_BEST,
        "warning": warning(answer, snapshot.sweep),
        "count": {"failed": count[TrialState.FAIL], "pruned": count[TrialState.PRUNED]},
    }
    if winner is None:
        return found
    assert winner.value is not None
    numbers = winner.trials or [winner.number]
    return found | {
        "value": spread_text(winner.value, winner.spread),
        "each": [number_text(run[answer.objective]) for run in winner.each]
        if answer.is_mean(winner)
        else [],
        "folders": [str(snapshot.sweep.trial(number)) for number in numbers],
        "command": command_of(snapshot, winner),
    }


def _failed(snapshot: Snapshot) -> dict[str, Any]:
    failed = snapshot.of(TrialState.FAIL)
    rows = [
        (
            trial.number,
            trial.user_attrs.get("error") or "no error was recorded",
            " ".join(snapshot.words(trial)),
        )
        for trial in failed[:_MOST_FAILED]
    ]
    return {"failed": rows, "more_failed": len(failed) - len(rows)}


@dataclass(frozen=True)
class _Column:
    head: str
    cells: Sequence[str]
    are_numbers: bool = True
    are_settings: bool = False


def _table(answer: Answer, metrics: Iterable[object]) -> dict[str, Any]:
    """The best trials, with more `metrics` beside the objective; without rows where no trial has completed."""
    found = answer.completed
    title = f"The best {answer.noun}s" if answer.comparable else f"The {answer.noun}s"
    if answer.repetitions.are_all:  # of which none is better than another
        valued = (row for row in answer.trials if row.value is not None)
        found = sorted(valued, key=lambda row: row.number)
        title = "The runs" if answer.comparable else title
    rows = found[:_TABLE_ROWS]
    return {
        "title": title,
        "caption": _caption(answer, len(found)),
        "columns": list(_columns(answer, rows, [m for m in metrics if m != answer.objective])),
        "rows": len(rows),
    }


def _caption(answer: Answer, total: int) -> str:
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
        caption += f", the {best} {answer.objective} first"
    return f"{caption}."


def _columns(answer: Answer, rows: Sequence[Row], metrics: Sequence[object]) -> Iterator[_Column]:
    if answer.comparable and not answer.repetitions.are_all:  # ranks
        yield _Column("", list(map(str, range(1, len(rows) + 1))))
    if any(row.trials for row in rows):
        yield _Column("n", [str(len(row.each)) for row in rows])
    else:
        yield _Column("trial", [str(row.number) for row in rows])
    yield _Column(answer.objective, column_texts([row.value for row in rows]))
    if any(row.spread for row in rows):
        spreads = [number_text(row.spread or 0.0, digits=2) for row in rows]
        yield _Column(f"over {answer.repetitions.noun}", [f"± {spread}" for spread in spreads])
    for name in map(str, metrics):
        yield _Column(name, column_texts([row.metrics.get(name) for row in rows], "–"))
    for key in dict.fromkeys(key for row in rows for key in row.swept):
        cells = [row.swept.get(key, "–") for row in rows]
        yield _Column(key, cells, all(map(is_number, cells)), are_settings=True)
    if any(row.seconds for row in rows):
        yield _Column("time", [_duration(row.seconds) for row in rows])


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds:.2g} s"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
