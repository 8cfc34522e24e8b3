"""The check of a GPU: a part loses nothing but itself, the report says what was measured, the commands are valid."""

from __future__ import annotations

import ast
import copy
import importlib
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from dlrun.data.ahead import ahead
from dlrun.stacked.cost_model import LAUNCHED, REPLAYED, Work
from dlrun.training.loop import Engine
from dlrun.training.stretches import Stretches
from emulated_graphs import Emulation

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
BENCHMARKS = SCRIPTS / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS / "check_gpu")
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture
def report(modules: None) -> ModuleType:
    return importlib.import_module("gpu_parts.report")


@pytest.fixture
def parts(modules: None) -> ModuleType:
    return importlib.import_module("gpu_parts.parts")


@pytest.fixture
def goals(modules: None) -> ModuleType:
    return importlib.import_module("gpu_parts.goals")


@pytest.fixture
def figures(modules: None) -> ModuleType:
    return importlib.import_module("gpu_parts.figures")


def imports(file: Path) -> list[tuple[str, str]]:
    """(module, name) of all that a script imports from dlrun."""
    return [
        (str(node.module), alias.name)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "dlrun"
        for alias in node.names
    ]


def test_what_scripts_import_from_dlrun_is_there() -> None:
    found = {
        (file.name, *wanted) for file in sorted(SCRIPTS.rglob("*.py")) for wanted in imports(file)
    }
    assert len(found) > 50
    missing = []
    for file, module, name in sorted(found):
        place = importlib.import_module(module)
        if not hasattr(place, name):
            try:
                importlib.import_module(f"{module}.{name}")
            except ImportError:
                missing.append(f"{file}: from {module} import {name}")
    assert not missing


def test_each_part_has_a_program(modules: None) -> None:
    check = importlib.import_module("check")
    on_card, rehearsal = check.parts("cuda"), check.parts("cpu")
    assert set(on_card) == {*rehearsal, "suite"}
    gpu = importlib.import_module("gpu")
    for place, words, _ in gpu.FIGURES.values():
        module, function = place.split(".")
        assert callable(getattr(importlib.import_module(f"gpu_parts.{module}"), function)), words
    files = [word for part in on_card.values() for word in part.command if word.endswith(".py")]
    assert files and all(Path(file).is_file() for file in files)


def test_the_table_of_parts_has_their_limits(modules: None) -> None:
    check = importlib.import_module("check")
    limits: dict[str, str] = {}
    for line in (SCRIPTS / "check_gpu" / "README.md").read_text("utf-8").splitlines():
        if line.startswith("|") and " s" in line:
            names, _, limit = [cell.strip() for cell in line.strip("|").split("|")][:3]
            limits |= dict.fromkeys(names.split(", "), limit.removesuffix(" each"))
    assert limits == {name: f"{part.seconds} s" for name, part in check.parts("cuda").items()}


def test_the_table_of_the_documents_is_that_of_the_report(goals: ModuleType) -> None:
    document = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8").splitlines()
    assert goals.HEAD[0] in document
    begin = document.index(goals.HEAD[0]) + len(goals.HEAD)
    rows = [line.split(" | ") for line in document[begin : begin + len(goals.ROWS)]]
    assert [(row[0].removeprefix("| "), row[1]) for row in rows] == [
        (row.work, row.goal) for row in goals.ROWS
    ]


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        ("mlp / graphed", 1.2, "yes"),
        ("mlp / graphed", 1.21, "no"),
        ("mlp / eager", 5.0, "yes"),
        ("mlp / eager", 4.9, "no"),
        ("resume", 0.0, "yes"),
        ("resume", 1.0, "no"),
        ("cifar10_fast seconds", 3.0, ""),
    ],
)
def test_a_row_says_whether_its_goal_is_reached(
    goals: ModuleType, figures: ModuleType, name: str, value: float, answer: str
) -> None:
    row = next(row for row in goals.ROWS if row.name == name)
    assert row.line(figures.Figure(value, value, value)).split("|")[-2].strip() == answer
    assert goals.NOT_MEASURED in row.line(None)


def test_what_a_part_told_is_read_again(
    figures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,), (file,) = zip(*figures.variables(tmp_path / "told").items(), strict=True)
    monkeypatch.setenv(name, file)
    figures.tell("ratio", [3.0, 1.0, 2.0])
    figures.tell("seconds", 1234.0, "s")
    found = figures.told(tmp_path / "told")
    assert found["ratio"] == figures.Figure(2.0, 1.0, 3.0)
    assert str(found["ratio"]) == "2.00 (1.00–3.00)"
    assert str(found["seconds"]) == "1,234 s"
    assert figures.told(tmp_path / "nothing") == {}


def test_a_report_is_added_to_and_a_rehearsal_fills_no_row(
    report: ModuleType, figures: ModuleType, tmp_path: Path
) -> None:
    first = report.Report(tmp_path, "cpu", "check")
    figure = {"mlp / eager": figures.Figure(7.0, 7.0, 7.0)}
    first.add("mlp", report.Outcome("0", 3.0, figure, ["a line to LOOK at"]))
    first.add("cnn", report.Outcome("left out"))
    second = report.Report(tmp_path, "cpu", "check")
    assert second.done == {"mlp"} and second.figures == figure
    second.add("mlp", report.Outcome("left out"))  # no reason to forget what was found
    second.add("cnn", report.Outcome("1", 2.0, end=["Traceback", "the cause"]))
    text = (tmp_path / "report.md").read_text()
    assert "cnn: the cause" in text and "mlp: a line to LOOK at" in text
    assert "| mlp / eager | 7.00 |" in text
    assert "| 7.00 | yes |" not in text
    assert json.loads((tmp_path / "report.json").read_text())["parts"]["mlp"]["code"] == "0"


def test_figures_of_other_code_are_put_aside(report: ModuleType, tmp_path: Path) -> None:
    first = report.Report(tmp_path, "cpu", "check")
    first.facts["commit"] = "another"
    first.add("mlp", report.Outcome("0"))
    assert report.Report(tmp_path, "cpu", "check").done == set()
    assert {file.name for file in tmp_path.iterdir()} == {"before.json", "before.md"}


def test_lines_to_look_at_are_found_in_a_log(report: ModuleType) -> None:
    log = "capture: mlp ok\ncapture: cnn LOOK off by 1\nwaits: lstm WAITS in 200 steps\nall well\n"
    assert [line.split(":")[0] for line in report.suspicious(log)] == ["capture", "waits"]


@pytest.mark.cluster
def test_a_part_that_crashes_or_hangs_loses_nothing_but_itself(
    report: ModuleType, parts: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell = (
        "import json, os; print('said'); open(os.environ['DLRUN_FIGURES'], 'a').write(json.dumps("
        "dict(name='x', value=1, low=1, high=1, unit='s')) + chr(10)); "
    )
    # What hangs has started a process of its own that holds its output open.
    hang = "import subprocess, time; subprocess.Popen(['sleep', '100']); time.sleep(100)"
    python = [sys.executable, "-u", "-c"]
    given = [
        parts.Part("crash", 20, [*python, tell + "os.abort()"]),
        parts.Part("hang", 1, [*python, tell + hang]),
        parts.Part("good", 20, [*python, tell]),
    ]
    found = report.Report(tmp_path, "cpu", "check")
    assert not parts.run_all(given, found, limit=60, scale=1)
    codes = {name: one.code for name, one in found.outcomes.items()}
    assert codes == {"crash": "-6", "hang": "time was up", "good": "0"}
    assert all(one.figures["x"].value == 1 for one in found.outcomes.values())
    assert capsys.readouterr().out.count("said") == 3
    assert (tmp_path / "report.log").read_text().count("said") == 3
    parts.run_all(given, late := report.Report(tmp_path, "cpu", "check"), limit=1, scale=1)
    assert late.outcomes["good"].code == "0"  # no time was left, and it stays what it was


def test_turns_are_of_as_many_steps_of_each_and_the_warm_up_is_left_out(modules: None) -> None:
    pace = importlib.import_module("gpu_parts.pace")

    class Other:
        taken = 0

        def take(self, count: int) -> None:
            self.taken += count

    size = pace.Size(warm_up=3, block=4, turns=2)
    words = "dataset=iris model=logistic trainer.accelerator=cpu trainer.batch_size=8"
    engine, other = pace.built(words, *pace.of_length(size)).engine, Other()
    turns = pace.take_turns(engine, {"other": other}, size)
    assert engine.step == 3 + 4 * 2
    assert len(turns.own) == len(turns.theirs["other"]) == 2
    assert other.taken == 4 + 4 * 2  # it is warmed up as well
    assert all(seconds > 0 for seconds in turns.own)


def test_turns_end_with_stretches_that_are_graphs(
    modules: None, emulated_graphs: Emulation
) -> None:
    pace = importlib.import_module("gpu_parts.pace")
    size = pace.Size(warm_up=20, block=20, turns=2)
    words = "dataset=iris model=logistic trainer.accelerator=cpu trainer.batch_size=2"
    engine = pace.built(words, *pace.of_length(size)).engine
    with_graphs(engine)
    turns = pace.take_turns(engine, {}, size)
    assert emulated_graphs.replays > 0
    assert len(turns.own) == 2 and 60 <= engine.step <= size.steps


def test_steps_are_timed_as_runs_and_stacks_make_them_by_graphs(
    modules: None, emulated_graphs: Emulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = importlib.import_module("_pace")
    stacked = importlib.import_module("stacked")
    monkeypatch.setattr(pace, "_SECONDS", 100)
    monkeypatch.setattr(pace, "may_be_stacked", lambda engine: True)
    case = stacked.Case("dataset=iris model=logistic trainer.batch_size=2", epochs=9).on("cpu")
    engine = stacked.make_engine(stacked.plain_config(case), 0.1)
    with_graphs(engine)
    assert pace.step_seconds(engine) > 0
    alone = emulated_graphs.replays
    stack = stacked.stack_of(case, 3)
    assert pace.stack_step_seconds(stack) > 0
    assert emulated_graphs.replays > alone > 0


def with_graphs(engine: Engine) -> None:
    """Have the steps of `engine` be graphs, which are emulated."""
    batches = ahead(engine.batches)
    assert batches is not None
    engine.captured = Stretches(engine, batches, required=True)


@pytest.mark.slow  # torch's optimizers import its compiler
def test_the_bare_loop_in_pieces_is_the_bare_loop(modules: None) -> None:
    by_hand = importlib.import_module("peer_programs.by_hand")
    data = torch.randn(20, 3), torch.arange(20) % 4
    val = data[0][:4], data[1][:4]
    models = [nn.Linear(3, 4), nn.Linear(3, 4)]
    models[1].load_state_dict(models[0].state_dict())
    torch.manual_seed(1)
    adam = torch.optim.Adam(models[0].parameters(), lr=0.1, fused=True)
    by_hand.train(models[0], adam, data, val, epochs=2, batch_size=8)
    torch.manual_seed(1)
    steps = by_hand.Steps(models[1], data, batch_size=8, lr=0.1)
    for count in (1, 3, 2):
        steps.take(count)
    torch.testing.assert_close(models[0].weight, models[1].weight, rtol=0, atol=0)


@pytest.mark.slow
def test_the_command_lines_of_the_check_are_valid(modules: None) -> None:
    from dlrun.config import compose

    probe, smoke, variants = map(importlib.import_module, ("probe", "smoke", "gpu_parts.variants"))
    tables = [probe.CAPTURED, probe.UNWAITING, probe.STACKED, probe.RESUMED, probe.DETERMINISTIC]
    for table in (*tables, smoke.CASES, variants.CASES):
        for words in table.values():
            first, *quoted = words.split("|")
            compose.compose([*first.split(), *quoted])


def test_prices_are_found_again_from_the_times_that_they_make(modules: None) -> None:
    prices = importlib.import_module("gpu_parts.prices")
    true = replace(LAUNCHED, call=3e-6, flop=0.02e-12, byte=0.5e-12)
    pairs = []
    for calls, flops, moved, runs in itertools.product((20, 60), (1e5, 1e9), (1e5, 1e8), (4, 32)):
        alone = Work(calls=calls, views=calls, flops=flops, bytes=moved)
        two = replace(alone, calls=2 * calls, flops=2 * flops, bytes=3 * moved)
        seconds = alone.seconds(true), two.seconds(true, share=runs / 2)
        pairs.append(prices.Pair(runs, alone, two, *seconds))
    found = prices.fitted(pairs, LAUNCHED)
    assert found.flop == pytest.approx(true.flop, rel=0.2)
    assert found.byte == pytest.approx(true.byte, rel=0.2)
    # Nothing tells a price that no step pays.
    assert found.grouped_flop == pytest.approx(LAUNCHED.grouped_flop)
    assert prices.fitted(pairs, REPLAYED).view == 0
    assert all(pair.expected(found) == pytest.approx(pair.gain, rel=0.2) for pair in pairs)


@pytest.mark.slow  # torch's optimizers import its compiler
@pytest.mark.parametrize("length", [1, 2])
def test_the_loop_by_hand_with_graphs_takes_the_steps_of_adam(
    modules: None, emulated_graphs: Emulation, length: int
) -> None:
    graphed = importlib.import_module("peer_programs.graphed")
    data, lr = (torch.randn(16, 3), torch.arange(16) % 4), 0.1
    model = nn.Linear(3, 4)
    steps = graphed.GraphedSteps(model, data, batch_size=4, lr=lr, length=length)
    alone = nn.Linear(3, 4)
    alone.load_state_dict(model.state_dict())
    adam = torch.optim.Adam(alone.parameters(), lr=lr)
    adam.load_state_dict(copy.deepcopy(steps.optimizer.state_dict()))
    torch.manual_seed(1)
    steps.orders = steps._orders()  # an epoch from its beginning
    steps.take(4)
    torch.manual_seed(1)
    for rows in torch.randperm(16).split(4):
        adam.zero_grad()
        nn.functional.cross_entropy(alone(data[0][rows]), data[1][rows]).backward()
        adam.step()
    assert emulated_graphs.captures == 1 and emulated_graphs.replays == 4 // length
    torch.testing.assert_close(model.weight, alone.weight)


@pytest.mark.slow
def test_what_the_check_wants_as_graphs_is_not_refused(modules: None) -> None:
    from dlrun.training.cuda_graph import why_not

    probe, pace = importlib.import_module("probe"), importlib.import_module("gpu_parts.pace")
    refused = {}
    for label, words in probe.CAPTURED.items():
        engine = pace.built(words, "trainer.accelerator=cpu").engine
        engine.device = replace(engine.device, torch_device=torch.device("cuda"))
        refused[label] = why_not(engine)
    assert not {label: reason for label, reason in refused.items() if reason}
