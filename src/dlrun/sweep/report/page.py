"""The report of a sweep as one HTML page: the question, the answer, the best trials, the figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from html import escape
from pathlib import Path

import plotly.graph_objects as go
from optuna.trial import TrialState

from dlrun import __version__
from dlrun.errors import command
from dlrun.storage.run_summary import short_name
from dlrun.sweep.report.answer_html import answer_card, best_trials
from dlrun.sweep.report.sections import Section
from dlrun.sweep.snapshot import Snapshot
from dlrun.sweep.summary import answer_of

Drawn = Sequence[tuple[Section, Sequence[go.Figure]]]

_MOST_FAILED = 20
_NO_SCRIPT = (
    "The figures are drawn by JavaScript, which is switched off; they lie in report/ as PNG."
)
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


def page(snapshot: Snapshot, drawn: Drawn) -> str:
    """The whole page, with all that it needs to be shown."""
    from plotly.offline import get_plotlyjs

    here = Path(__file__)
    answer = answer_of(snapshot)
    body = [
        *_head(snapshot),
        *answer_card(snapshot, answer),
        *best_trials(snapshot, answer),
        *(part for section, figures in drawn for part in _section(section, figures)),
        *_failed(snapshot),
        f"<footer>{escape(_footer())}</footer>",
    ]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(_name(snapshot))} · sweep</title>",
            f"<style>\n{here.with_suffix('.css').read_text(encoding='utf-8')}</style>",
            "</head>\n<body>\n<main>",
            f"<noscript><p>{_NO_SCRIPT}</p></noscript>",
            *body,
            "</main>",
            f"<script>{get_plotlyjs()}</script>",
            f"<script>\n{here.with_suffix('.js').read_text(encoding='utf-8')}</script>",
            "</body>\n</html>\n",
        ]
    )


def _head(snapshot: Snapshot) -> Iterator[str]:
    yield f"<header>\n<h1>{escape(_name(snapshot))}</h1>"
    yield f'<p class="faint">{escape(" · ".join(_when_and_how_many(snapshot)))}</p>'
    unfinished = len(snapshot.of(TrialState.RUNNING, TrialState.WAITING))
    if unfinished:
        have = "1 trial has" if unfinished == 1 else f"{unfinished} trials have"
        renew = escape(command("report", snapshot.sweep.path))
        yield f"<p>{have} not ended: the sweep is under way, or was stopped."
        yield f"<code>{renew}</code> renews this page.</p>"
    yield "<dl>"
    for term, answer in _question(snapshot):
        yield f"<dt>{term}</dt><dd>{answer or 'nothing'}</dd>"
    yield "</dl>\n</header>"


def _name(snapshot: Snapshot) -> str:
    """The sweep's name; when it was stands below."""
    return short_name(Path(str(snapshot.description.get("name") or snapshot.sweep.path.name)))


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


def _question(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    if snapshot.comparable:
        direction = "minimize" if snapshot.minimize else "maximize"
        yield "objective", f"{direction} {escape(snapshot.objective)}"
    yield "strategy", escape(", ".join(_strategy(snapshot)))
    yield "searched", _codes(map(str, snapshot.space.parameters))
    yield "fixed", _codes(snapshot.fixed)
    if isinstance(typed := snapshot.description.get("command"), list):
        kept = ("-m", "--multirun")  # without it, several values would be one
        words = [word for word in typed if word in kept or not str(word).startswith("-")]
        yield "command", _codes([command("train", *words)])
    yield "directory", _codes([str(snapshot.sweep.path)])


def _strategy(snapshot: Snapshot) -> Iterator[str]:
    settings = snapshot.settings
    sampler = str(settings.get("_target_", "unknown")).rpartition(".")[2]
    yield _STRATEGIES.get(sampler, sampler.removesuffix("Sampler"))
    yield f"{len(snapshot.trials)} trials"
    for key in _SHOWN_SETTINGS:
        if settings.get(key) not in (None, "none", 1):
            yield f"{key} {settings[key]}"


def _codes(lines: Iterable[str]) -> str:
    return "".join(f"<code>{escape(line)}</code>" for line in lines)


def _section(section: Section, figures: Sequence[go.Figure]) -> Iterator[str]:
    several = " several" if section.kind in ("slice", "contour", "rounds") else ""
    yield f'<section id="{section.kind}">\n<h2>{escape(section.title)}</h2>'
    yield f'<p class="caption">{escape(section.caption)}</p>\n<div class="figures{several}">'
    for figure in figures:
        # The page draws it from this; no text in it may end the script.
        data = (figure.to_json() or "").replace("<", "\\u003c")
        height = f"min-height:{figure.layout.height + 18}px"
        yield f'<div class="plot" style="{height}"><script type="application/json">{data}</script></div>'
    yield "</div>\n</section>"


def _failed(snapshot: Snapshot) -> Iterator[str]:
    failed = snapshot.of(TrialState.FAIL)
    if not failed:
        return
    yield '<section id="failed">\n<h2>Failed trials</h2>\n<ul class="failed">'
    for trial in failed[:_MOST_FAILED]:
        error = str(trial.user_attrs.get("error") or "no error was recorded")
        words = escape(" ".join(snapshot.words(trial)))
        yield f"<li>Trial {trial.number}: {escape(error)}<br><code class='faint'>{words}</code></li>"
    yield "</ul>"
    if (more := len(failed) - _MOST_FAILED) > 0:
        yield f"<p>{more} more have failed.</p>"
    yield "</section>"


def _footer() -> str:
    now = datetime.now().astimezone()
    return f"dlrun {__version__}, {now.day} {now:%B %Y, %H:%M}. The figures lie beside this page as PNG, in report/."
