from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
import pytest
from optuna.trial import TrialState, create_trial
from PIL import Image

from dlrun.errors import ConfigError
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.report.chart import blue, linear_ticks, log_ticks
from dlrun.sweep.report.curves import MOST_CURVES, learning_curves
from dlrun.sweep.report.figures import describe
from dlrun.sweep.report.importance import importance
from dlrun.sweep.report.page import page, write_report
from dlrun.sweep.report.plotly_renderer import plotly_figure
from dlrun.sweep.report.sections import Contents, Section
from dlrun.sweep.samplers.per_trial import TrialSamplers
from dlrun.sweep.settings import read_strategy
from dlrun.sweep.snapshot import take
from dlrun.sweep.space.parse import Space, parse
from dlrun.sweep.study import create_study
from dlrun.sweep.summary import answer_of, command_of

LR = {"optimizer.lr": "tag(log,interval(1e-5,1e-1))"}
SPACE = {
    **LR,
    "optimizer.momentum": "tag(one_minus_log,interval(0.9,0.999))",
    "model.activation": "relu,tanh,gelu",
    "model.width": "16,32,64",
}
ROUNDS = {
    "_target_": "dlrun.sweep.samplers.coarse_to_fine.CoarseToFineSampler",
    "trials": 24,
    "rounds": 3,
    "trials_per_round": 8,
    "first_round": "random",
    "shrink": 0.5,
    "top_k": 3,
    "epochs_per_round": None,
    "space": {},
    "seeds": 1,
    "seed": 0,
    "objective": None,
    "direction": "auto",
    "pruner": "none",
    "fail_fast": False,
    "budget": None,
    "patience": None,
    "trials_per_gpu": 1,
    "stack": "auto",
    "max_stack": 128,
    "dry_run": False,
    "columns": [],
    "ranking": None,
    "report": False,
    "raw_cells": False,
}
EPOCHS = 6
Params = Mapping[str, Any]


def final_loss(params: Params) -> float:
    """Least near lr 1e-3 with relu; momentum and width hardly count."""
    loss = 0.1 + 0.2 * (math.log10(params.get("optimizer.lr", 1e-3)) + 3) ** 2
    loss += 0.02 * math.log10(params.get("1-optimizer.momentum", 0.01)) ** 2
    return loss + {"relu": 0.0, "tanh": 0.1, "gelu": 0.03}.get(params.get("model.activation"), 0.0)


class Sweeping:
    """A sweep made by hand, trial by trial, with run directories as trials leave them."""

    def __init__(self, path: Path, space: Mapping[str, str], **described: Any) -> None:
        self.directory = SweepDirectory(path)
        self.space: Space = parse([f"{key}={text}" for key, text in space.items()])
        description = {
            "name": "digits rates",
            "created": "2026-01-31T12:00:00+00:00",
            "version": "0.1.0",
            "command": ["dataset=digits", "sweep=tpe"],
            "overrides": ["dataset=digits"],
            "space": self.space.texts(),
            "settings": {"_target_": "optuna.samplers.TPESampler", "trials": 12},
            "objective": "val/loss",
            "direction": "minimize",
            **described,
        }
        self.objective = str(description["objective"])
        self.directory.write(description)
        self.study = create_study(self.directory, description["direction"])
        self.drawn = optuna.create_study(sampler=self._sampler(description["settings"]))

    def _sampler(self, settings: Mapping[str, Any]) -> optuna.samplers.BaseSampler:
        if settings["_target_"] != ROUNDS["_target_"]:
            return optuna.samplers.RandomSampler(seed=1)
        sampler: Any = TrialSamplers(read_strategy(settings, self.space), self.space).sampler(0)
        return sampler

    def complete(
        self, count: int = 1, *, seeds: int = 1, loss: Callable[[Params], float] = final_loss
    ) -> None:
        for _ in range(count):
            trial = self.drawn.ask(self.space.distributions())
            values = [loss(trial.params) + 0.01 * seed for seed in range(seeds)]
            for seed, value in enumerate(values):
                folder = self.directory.trial(trial.number)
                curve = [value + math.exp(-epoch) for epoch in range(1, EPOCHS + 1)]
                self.log(folder if seeds == 1 else folder / f"seed{seed}", curve)
            facts: dict[str, Any] = {"seconds": 2.0, "metrics": {"test/accuracy": 0.5}}
            facts |= {"values": values} if seeds > 1 else {}
            mean = sum(values) / seeds
            self.drawn.tell(trial, mean)
            self._add(TrialState.COMPLETE, trial.params, value=mean, user_attrs=facts)

    def fail(self, error: str = "loss is not a number") -> None:
        trial = self.drawn.ask(self.space.distributions())
        self.log(self.directory.trial(trial.number), [2.0, None])
        self.drawn.tell(trial, state=TrialState.FAIL)
        self._add(TrialState.FAIL, trial.params, user_attrs={"error": error})

    def prune(self) -> None:
        trial = self.drawn.ask(self.space.distributions())
        self.log(self.directory.trial(trial.number), [2.0, 1.9])
        self.drawn.tell(trial, state=TrialState.PRUNED)
        self._add(TrialState.PRUNED, trial.params, intermediate_values={1: 2.0, 2: 1.9})

    def leave(self, state: TrialState) -> None:
        """A trial that has not ended."""
        params = self.drawn.ask(self.space.distributions()).params
        self._add(state, params if state is TrialState.RUNNING else {})

    def log(self, folder: Path, values: Sequence[float | None]) -> None:
        run = RunDirectory(folder)
        folder.mkdir(parents=True)
        run.config_file.write_text("seed: 0\n")
        points = [
            {"step": 10 * epoch, "epoch": epoch, self.objective: value}
            for epoch, value in enumerate(values, 1)
        ]
        run.metrics_file.write_text("".join(f"{json.dumps(point)}\n" for point in points))

    def _add(self, state: TrialState, params: Params, **more: Any) -> None:
        distributions = {name: self.space.distributions()[name] for name in params}
        trial = create_trial(state=state, params=dict(params), distributions=distributions, **more)
        self.study.add_trial(trial)


Make = Callable[..., Sweeping]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(space: Mapping[str, str] = SPACE, **described: Any) -> Sweeping:
        return Sweeping(tmp_path / "2026-01-31_12-00-00_rates_ab12", space, **described)

    return make


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Sweeping:
    """A sweep with all that there may be, and its report."""
    sweeping = Sweeping(tmp_path_factory.mktemp("sweeps") / "usual", SPACE, settings=ROUNDS)
    sweeping.complete(9)
    sweeping.prune()
    sweeping.fail("loss is nan; try optimizer.lr < 0.05 & again")
    sweeping.complete(13)
    write_report(sweeping.directory)
    return sweeping


class Page(HTMLParser):
    """A report as a browser takes it apart: text by section, what figures are drawn from, what is loaded."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {"": ""}
        self.figures: list[dict[str, Any]] = []
        self.loaded: list[str] = []
        self.styles, self.scripts = "", 0
        self._inside, self._section = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.loaded += [f"{tag} {key}" for key in named if key in ("src", "href", "data", "srcset")]
        if tag == "section":
            self._section = str(named["id"])
            self.sections[self._section] = ""
        is_data = named.get("type") == "application/json"
        self._inside = "figure" if is_data else tag if tag in ("script", "style") else ""
        self.scripts += tag == "script" and not is_data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        if tag == "section":
            self._section = ""
        elif tag in ("td", "dt", "dd", "p"):
            self.sections[self._section] += " "

    def handle_data(self, data: str) -> None:
        if self._inside == "figure":
            self.figures.append(json.loads(data))
        elif self._inside == "style":
            self.styles += data
        elif self._inside != "script":
            self.sections[self._section] += data


@pytest.fixture(scope="module")
def usual_page(usual: Sweeping) -> Page:
    return Page(usual.directory.report_file.read_text(encoding="utf-8"))


def draw(section: Section, contents: Contents) -> list[go.Figure]:
    """The section's figures as plotly has them, which refuses what it does not know."""
    return [go.Figure(plotly_figure(chart)) for chart in describe(section, contents)]


def sections_of(sweeping: Sweeping) -> dict[str, Section]:
    """Every section, each of its figures drawn for the page."""
    contents = Contents(take(sweeping.directory))
    found = {section.kind: section for section in contents.sections()}
    for section in found.values():
        assert len(draw(section, contents)) == len(section.panels)
    return found


def page_of(sweeping: Sweeping) -> Page:
    """The report without its pictures."""
    contents = Contents(take(sweeping.directory))
    described = [(section, describe(section, contents)) for section in contents.sections()]
    return Page(page(contents.snapshot, described))


def drawn(sections: Mapping[str, Section]) -> list[str]:
    return [kind for kind, section in sections.items() if section.panels]


def test_the_winner_comes_with_its_settings_and_the_command_for_them(
    usual: Sweeping, usual_page: Page
) -> None:
    best = min(take(usual.directory).ranked, key=lambda trial: trial.value or math.inf)
    answer = usual_page.sections["answer"]
    words = " ".join(usual.space.words(best.params))
    assert f"Trial {best.number} is the best" in answer
    assert f"{best.value:.4g}" in answer
    assert f"dlrun train dataset=digits {words}" in answer
    assert "test/accuracy 0.5" in answer


def test_the_head_tells_the_question(usual_page: Page) -> None:
    head = usual_page.sections[""]
    assert "digits rates" in head
    assert "31 January 2026, 12:00" in head
    assert "22 completed · 1 pruned · 1 failed" in head
    assert "minimize val/loss" in head
    assert "coarse to fine, 24 trials, rounds 3" in head
    assert "optimizer.momentum=tag(one_minus_log,interval(0.9,0.999))" in head
    assert "dlrun train dataset=digits sweep=tpe" in head


def test_the_sections_stand_in_their_order(usual_page: Page) -> None:
    order = ["answer", "best", "history", "curves", "parallel", "importance", "slice", "contour",
             "rounds", "failed"]  # fmt: skip
    assert [section for section in usual_page.sections if section] == order
    # History, curves, lines, shares; 4 slices, 3 pairs of the 3 most important, 4 parameters by round.
    assert len(usual_page.figures) == 1 + 1 + 1 + 1 + 4 + 3 + 4


def test_the_page_loads_nothing(usual_page: Page) -> None:
    assert usual_page.loaded == []
    assert "url(" not in usual_page.styles
    assert "@import" not in usual_page.styles
    assert usual_page.scripts == 2  # plotly and what draws with it, both inside


def test_parameters_have_names_that_can_be_read(usual_page: Page) -> None:
    texts = json.dumps(usual_page.figures, ensure_ascii=False)
    assert "1 − optimizer.momentum" in texts
    assert "1-optimizer.momentum" not in texts


def test_no_number_on_the_page_has_more_digits_than_it_needs(usual_page: Page) -> None:
    texts = "".join(usual_page.sections.values())
    assert not re.findall(r"\d\.\d{10,}", texts)


def test_a_failed_trial_is_told_with_its_error(usual_page: Page) -> None:
    assert "Trial 10: loss is nan; try optimizer.lr < 0.05 & again" in usual_page.sections["failed"]


def test_every_figure_is_a_picture_too(usual: Sweeping, usual_page: Page) -> None:
    files = sorted(usual.directory.report_folder.glob("*.png"))
    assert len(files) == len(usual_page.figures)
    assert {"history.png", "curves.png", "slice-optimizer.lr.png"} <= {file.name for file in files}
    for file in files:
        with Image.open(file) as picture:
            assert min(picture.size) > 200
            colours = picture.convert("RGB").resize((200, 200)).getcolors(40_000) or []
            assert len(colours) > 10  # not an empty sheet


def test_pictures_of_an_earlier_report_do_not_stay(make: Make) -> None:
    sweeping = make()
    sweeping.complete(2)
    folder = sweeping.directory.report_folder
    folder.mkdir()
    (folder / "slice-model.depth.png").touch()
    (folder / "mine.png").touch()
    write_report(sweeping.directory)
    names = {file.name for file in folder.iterdir()}
    assert "slice-model.depth.png" not in names
    assert {"mine.png", "history.png"} <= names


def test_the_winner_is_marked_in_every_figure_that_shows_it(usual: Sweeping) -> None:
    contents = Contents(take(usual.directory))
    for section in contents.sections():
        for figure in draw(section, contents):
            marked = [trace for trace in figure.data if "#e8590c" in str(trace)]
            assert len(marked) == (section.kind != "importance"), section.kind


def test_ticks_between_two_epochs_or_trials_are_left_out(make: Make) -> None:
    sweeping = make(LR)
    sweeping.complete(3)
    contents = Contents(take(sweeping.directory))
    history, curves = (draw(section, contents)[0] for section in contents.sections()[:2])
    assert (history.layout.xaxis.dtick, curves.layout.xaxis.dtick) == (1, 1)


def test_the_winners_line_is_told_from_those_that_equal_it(make: Make) -> None:
    sweeping = make({"model.width": "int(interval(1,1000))", **LR})
    sweeping.complete(8, loss=lambda params: 0.5)
    snapshot = take(sweeping.directory)
    contents = Contents(snapshot)
    section = next(s for s in contents.sections() if s.kind == "parallel")
    (figure,) = draw(section, contents)
    (line,) = [trace for trace in figure.data if trace.line.color == "#e8590c"]
    widths = [trial.params["model.width"] for trial in snapshot.trials]
    place = (widths[0] - min(widths)) / (max(widths) - min(widths))
    assert line.y[1] == pytest.approx(place)  # of trial 0, the earliest of equals


def test_bands_of_a_round_hold_the_trials_that_it_drew(usual: Sweeping) -> None:
    rounds = Contents(take(usual.directory)).rounds
    assert rounds is not None
    for name in rounds.names:
        boxes, dots = rounds.boxes(name), rounds.dots(name)
        assert len(dots) == 24
        for dot in dots:
            inside = [b for b in boxes if b[0] <= dot.x <= b[1] and b[2] <= dot.y <= b[3]]
            assert len(inside) == 1, (name, dot)
    first, *_, last = (box for box in rounds.boxes("optimizer.lr"))
    assert last[3] / last[2] < first[3] / first[2]


def test_with_one_parameter_pairs_are_left_out_in_words(make: Make) -> None:
    sweeping = make(LR)
    sweeping.complete(6)
    sections = sections_of(sweeping)
    assert drawn(sections) == ["history", "curves", "slice"]
    assert sections["contour"].caption == (
        "It takes 2 parameters; only optimizer.lr took different values."
    )
    assert "two parameters" in sections["importance"].caption


def test_one_completed_trial_is_shown_and_compared_with_nothing(make: Make) -> None:
    sweeping = make()
    sweeping.complete()
    sections = sections_of(sweeping)
    assert drawn(sections) == ["curves"]
    assert sections["slice"].caption == "One completed trial is too few to compare."
    assert list(answer_of(take(sweeping.directory)).lead()) == [
        "It is the only completed trial: there is nothing to compare it with."
    ]


def test_without_a_completed_trial_the_page_tells_what_failed(make: Make) -> None:
    sweeping = make()
    sweeping.fail("no memory left")
    sweeping.prune()
    written = write_report(sweeping.directory)
    shown = Page(written.page.read_text(encoding="utf-8"))
    assert "No trial has completed: 1 failed, 1 pruned." in shown.sections["answer"]
    assert "Trial 0: no memory left" in shown.sections["failed"]
    assert "No trial has completed yet." in shown.sections["slice"]
    assert [file.name for file in written.pictures] == ["curves.png"]


def test_a_sweep_under_way_says_that_there_is_more_to_come(make: Make) -> None:
    sweeping = make(settings=ROUNDS)
    sweeping.complete(8)
    sweeping.leave(TrialState.RUNNING)
    sweeping.leave(TrialState.WAITING)
    shown = page_of(sweeping)
    assert "2 trials have not ended" in shown.sections[""]
    assert "is the best" in shown.sections["answer"]


def test_a_sweep_without_any_trial_has_a_report(make: Make) -> None:
    sweeping = make(settings=ROUNDS)
    assert drawn(sections_of(sweeping)) == []
    assert write_report(sweeping.directory).pictures == []


def test_categories_alone_can_be_drawn(make: Make) -> None:
    sweeping = make({"model.activation": "relu,tanh,gelu", "model": "mlp,cnn", "batch": "8,16"})
    sweeping.complete(10)
    sections = sections_of(sweeping)
    assert len(sections["slice"].panels) == 3
    assert len(sections["contour"].panels) == 3
    assert len(write_report(sweeping.directory).pictures) == 10


def test_a_parameter_that_never_changed_is_not_drawn(make: Make) -> None:
    sweeping = make({**LR, "model.width": "choice(16)", "model.activation": "relu,tanh"})
    sweeping.complete(6)
    panels = sections_of(sweeping)["slice"].panels
    assert set(panels) == {("optimizer.lr",), ("model.activation",)}


def test_trials_without_some_parameter_do_not_disturb(make: Make) -> None:
    sweeping = make()
    sweeping.complete(6)
    for trial in sweeping.study.get_trials()[:2]:
        params = {name: trial.params[name] for name in ("optimizer.lr", "model.activation")}
        sweeping._add(TrialState.COMPLETE, params, value=0.01 * (trial.number + 1))
    assert "slice" in drawn(sections_of(sweeping))
    write_report(sweeping.directory)
    answer = page_of(sweeping).sections["answer"]
    assert "Trial 6 is the best" in answer
    assert "momentum" not in answer


def test_a_deleted_run_directory_costs_only_its_curve(make: Make) -> None:
    sweeping = make()
    sweeping.complete(3)
    shutil.rmtree(sweeping.directory.trial(1))
    sweeping.directory.trial(2).joinpath("metrics.jsonl").write_text("{torn\n{}\n")
    section = sections_of(sweeping)["curves"]
    assert len(section.panels) == 1
    assert "Without a curve, or deleted since: 2 trials." in section.caption
    for left in (0, 2):
        shutil.rmtree(sweeping.directory.trial(left))
    section = sections_of(sweeping)["curves"]
    assert not section.panels
    assert "their directories have been deleted" in section.caption


def test_without_run_directories_the_study_knows_curves_that_were_reported(make: Make) -> None:
    sweeping = make()
    sweeping.prune()
    shutil.rmtree(sweeping.directory.trial(0))
    curves = learning_curves(take(sweeping.directory))
    assert (curves.axis, curves.shown[0].y) == ("evaluation", (2.0, 1.9))


def test_a_curve_is_the_mean_over_the_seeds_with_a_gap_where_one_is_no_number(make: Make) -> None:
    sweeping = make()
    folder = sweeping.directory.trial(0)
    sweeping.log(folder / "seed0", [1.0, None, 3.0, 9.0])
    sweeping.log(folder / "seed1", [2.0, 2.0, 4.0])
    sweeping._add(TrialState.FAIL, {})
    (curve,) = learning_curves(take(sweeping.directory)).shown
    assert curve.x == (1, 2, 3)
    assert curve.y[0::2] == (1.5, 3.5)
    assert math.isnan(curve.y[1])


def test_an_objective_measured_once_has_no_curve(make: Make) -> None:
    sweeping = make(objective="test/accuracy", direction="maximize")
    sweeping.log(sweeping.directory.trial(0), [0.5])
    sweeping._add(TrialState.COMPLETE, {}, value=0.5)
    caption = sections_of(sweeping)["curves"].caption
    assert caption.startswith("test/accuracy was measured only once in each trial")


def test_several_seeds_show_their_spread_and_a_lead_within_it_is_doubted(make: Make) -> None:
    sweeping = make()
    sweeping.complete(1, seeds=3, loss=lambda _: 0.504)
    sweeping.complete(1, seeds=3, loss=lambda _: 0.5)
    answer = page_of(sweeping).sections["answer"]
    assert "Trial 1 is the best" in answer
    assert "0.51 ± 0.01" in answer
    assert "0.5, 0.51, 0.52" in answer
    assert "0.004 lower than the runner-up, trial 0 (0.514)." in answer
    assert "less than the seeds differ (standard deviation 0.01)" in answer


def test_the_table_has_the_metrics_that_sweep_columns_names(make: Make) -> None:
    columns = ["test/accuracy", "val/loss", "test/mcc"]  # the objective has a column anyway
    settings = {"_target_": "optuna.samplers.TPESampler", "trials": 12, "columns": columns}
    sweeping = make(settings=settings)
    sweeping.complete(2)
    told = " ".join(" ".join(page_of(sweeping).sections.values()).split())
    assert "trialval/losstest/accuracytest/mccoptimizer.lr" in told
    assert " 0.5000 – " in told


def test_the_greatest_wins_where_that_was_asked(make: Make) -> None:
    sweeping = make(LR, objective="val/accuracy", direction="maximize")
    accuracies = iter([0.5, 0.9, 0.8])
    sweeping.complete(3, loss=lambda _: next(accuracies))
    snapshot = take(sweeping.directory)
    assert [trial.number for trial in snapshot.ranked] == [1, 2, 0]
    assert list(answer_of(snapshot).lead()) == [
        "0.1 higher than the runner-up, trial 2 (0.8).",
        "0.1 higher than the median of the 3 completed trials (0.8).",
    ]
    assert "best" in sections_of(sweeping)["history"].caption


def test_equals_are_called_equals(make: Make) -> None:
    sweeping = make()
    sweeping.complete(6, loss=lambda _: 0.5)
    assert list(answer_of(take(sweeping.directory)).lead()) == [
        "The same as the runner-up, trial 1; the earlier of equals is named.",
        "The same as the median of the 6 completed trials (0.5).",
    ]
    sections = sections_of(sweeping)
    assert "Too many trials have the same objective value" in sections["importance"].caption
    assert sections["contour"].caption == "val/loss is the same in all completed trials."


def test_a_diverged_trial_is_drawn_at_the_edge_and_that_is_said(make: Make) -> None:
    sweeping = make(LR)
    losses = iter([0.1, 0.2, 0.3, 1e9])
    sweeping.complete(4, loss=lambda _: next(losses))
    snapshot = take(sweeping.directory)
    edge = 0.1 + 20 * (0.25 - 0.1)  # 20 times as far from the best as the median is
    assert snapshot.edge == pytest.approx(edge)
    assert [snapshot.shown(trial) for trial in snapshot.ranked] == [0.1, 0.2, 0.3, snapshot.edge]
    caption = sections_of(sweeping)["history"].caption
    assert "1 trial worse than 3.1 is drawn at that value." in caption


def test_losses_over_magnitudes_get_a_logarithmic_axis(make: Make) -> None:
    sweeping = make(LR)
    losses = iter([0.001, 0.01, 0.1])
    sweeping.complete(3, loss=lambda _: next(losses))
    contents = Contents(take(sweeping.directory))
    section = contents.sections()[0]
    assert "The vertical axis is logarithmic." in section.caption
    assert draw(section, contents)[0].layout.yaxis.type == "log"


def test_what_the_objective_depends_on_is_the_most_important(make: Make) -> None:
    sweeping = make()
    sweeping.complete(40)
    shares = importance(take(sweeping.directory)).shares
    assert next(iter(shares)) == "optimizer.lr"
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == importance(take(sweeping.directory)).shares
    caption = sections_of(sweeping)["importance"].caption
    assert "the best 5 trials" in caption
    assert "PED-ANOVA" in caption


def test_importance_is_not_told_from_a_handful_of_trials(make: Make) -> None:
    sweeping = make()
    sweeping.complete(4)
    caption = sections_of(sweeping)["importance"].caption
    assert caption == "It takes at least 5 completed trials to tell; there are 4."


def test_a_later_round_brings_its_epochs_into_the_command(make: Make) -> None:
    sweeping = make(LR, settings=ROUNDS | {"trials_per_round": 2, "epochs_per_round": [5, 9]})
    sweeping.complete(4)
    snapshot = take(sweeping.directory)
    rows = {row.number: row for row in answer_of(snapshot).trials}
    assert command_of(snapshot, rows[1]).endswith(" trainer.max_epochs=5")
    assert command_of(snapshot, rows[2]).endswith(" trainer.max_epochs=9")


def test_many_trials_are_limited_and_that_is_said(make: Make) -> None:
    sweeping = make(LR | {"dropout": "interval(0,0.5)"})
    sweeping.complete(210)
    contents = Contents(take(sweeping.directory))
    sections = {section.kind: section for section in contents.sections()}
    assert f"Only the best {MOST_CURVES} are drawn; 160 are left out." in sections["curves"].caption
    assert "Only the best 200 trials are drawn; 10 are left out." in sections["parallel"].caption
    best = {trial.number for trial in contents.snapshot.ranked[:MOST_CURVES]}
    assert {curve.trial for curve in contents.curves.shown} == best
    (contour,) = draw(sections["contour"], contents)
    assert len(contour.data[0].z) <= 33  # 30 steps make 31 values, and there is a margin
    assert len(contour.data[1].x) == 210


def test_a_long_curve_is_thinned_and_keeps_its_end(make: Make) -> None:
    sweeping = make()
    sweeping.log(sweeping.directory.trial(0), [1 / epoch for epoch in range(1, 5001)])
    sweeping._add(TrialState.FAIL, {})
    (curve,) = learning_curves(take(sweeping.directory)).shown
    assert len(curve.x) <= 202
    assert (curve.x[-1], curve.y[-1]) == (5000, 1 / 5000)


def test_no_text_becomes_markup(make: Make) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    sweeping = make(
        {"model.activation": f"'{evil}','$a$ & $b$'", **LR, "m.c": "a,b"},
        name=evil,
        command=[evil],
        overrides=[f"name='{evil}'"],
        objective=f"val/{evil}",
    )
    sweeping.complete(6)
    sweeping.fail(evil)
    written = write_report(sweeping.directory)
    shown = Page(written.page.read_text(encoding="utf-8"))
    assert shown.loaded == []
    assert evil in shown.sections[""]
    assert f"Trial 6: {evil}" in shown.sections["failed"]
    assert len(shown.figures) == len(written.pictures)
    for text in re.findall(r'"(?:text|title|name)": ?"([^"]*)"', json.dumps(shown.figures)):
        assert "<img" not in text


def test_a_folder_that_is_no_sweep_or_has_no_study_is_refused(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path)
    with pytest.raises(ConfigError, match=r"is not a sweep: it has no sweep\.yaml"):
        write_report(directory)
    directory.write({"space": {}})
    with pytest.raises(ConfigError, match=r"nothing to report: it has no study"):
        write_report(directory)


def test_colours_go_from_light_to_dark() -> None:
    brightness = [int(blue(share / 8)[1:3], 16) for share in range(9)]
    assert brightness == sorted(brightness, reverse=True)
    assert blue(-1) == blue(0)
    assert blue(2) == blue(1)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 5.5, [1, 2, 5]),
        (1e-5, 1e-1, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (0.0098, 0.21, [0.01, 0.02, 0.05, 0.1, 0.2]),
        (0.3, 0.31, [0.3, 0.31]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_few_and_round(
    low: float, high: float, ticks: list[float]
) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 5.5, [1, 2, 3, 4, 5]),
        (0.129, 0.893, [0.2, 0.4, 0.6, 0.8]),
        (-30, 1000, [0, 200, 400, 600, 800, 1000]),
    ],
)
def test_ticks_of_a_linear_axis_are_few_and_round(
    low: float, high: float, ticks: list[float]
) -> None:
    assert linear_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.slow
def test_two_thousand_trials_take_seconds_and_megabytes(make: Make) -> None:
    sweeping = make(SPACE)
    sweeping.complete(2000)
    start = time.monotonic()
    written = write_report(sweeping.directory)
    assert time.monotonic() - start < 30  # 5 s on an idle machine
    assert written.page.stat().st_size < 15e6


def browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on the PATH: none of {', '.join(names)}")
    return found


def test_a_browser_draws_every_figure_and_shows_the_winner(
    usual: Sweeping, usual_page: Page, tmp_path: Path
) -> None:
    command = [
        browser(),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--virtual-time-budget=20000"),
        *("--dump-dom", usual.directory.report_file.as_uri()),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    dom = result.stdout
    assert 'data-drawn="all"' in dom, result.stderr[-2000:]
    plots = re.split(r'class="plot js-plotly-plot"', dom)[1:]
    assert len(plots) == len(usual_page.figures)
    for plot in plots:
        own, _, _ = plot.partition("</section>")
        assert re.search(r'<path[^>]* d="M', own), own[:500]
    winner = take(usual.directory).ranked[0]
    assert f"winner, trial {winner.number}" in plots[0]
    assert f"Trial {winner.number} is the best" in dom
    assert "CONSOLE" not in result.stderr, result.stderr[-2000:]
