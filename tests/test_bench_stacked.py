"""The benchmarks of stacked sweeps and of growth: what their figures are made of."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "scripts" / "benchmarks"


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import stacked

    return stacked


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import growth

    return growth


@pytest.mark.parametrize(("name", "known"), [("stacked", "digits-mlp"), ("growth", "width")])
def test_an_unknown_name_is_refused_with_the_known_ones(
    name: str,
    known: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        request.getfixturevalue(name).main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert "nonsense" in said.err and known in said.err


def test_what_is_measured_on_fewer_trials_counts_start_and_end_once(stacked: ModuleType) -> None:
    asked = []

    def seconds(trials: int) -> float:  # 5 to start, 3 more for the first trial, 2 for each
        asked.append(trials)
        return 5 + 3 + 2 * trials

    assert stacked.whole(seconds, 64, 16) == 5 + 3 + 2 * 64
    assert sorted(asked) == [2, 16]
    asked.clear()
    assert stacked.whole(seconds, 12, 16) == 5 + 3 + 2 * 12
    assert asked == [12]


def test_work_elsewhere_leaves_nothing_behind(
    stacked: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path.cwd()
    with pytest.raises(ZeroDivisionError), stacked.elsewhere("log") as folder:
        print("unseen")
        assert Path.cwd().samefile(folder)
        raise ZeroDivisionError
    assert Path.cwd() == before and not folder.exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("mode", "as_one"), [("on", True), ("off", False)])
def test_a_sweep_is_timed_whole_and_says_how_it_was_trained(
    stacked: ModuleType, mode: str, as_one: bool
) -> None:
    case = stacked.Case("dataset=iris model=logistic", epochs=1)
    swept = stacked.sweep(mode, case, 2)
    assert 0 < swept.seconds < 60 and swept.as_one is as_one and len(swept.losses) == 2


def test_a_sweep_that_cannot_run_is_no_figure(
    stacked: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        stacked.sweep("on", stacked.Case("dataset=iris model=nonsense"), 2)
    assert ended.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_steps_compared_are_of_the_same_model_and_as_many(
    growth: ModuleType, stacked: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = stacked.plain_config(
        stacked.Case(
            "dataset=blobs dataset.size=200 model=mlp model.hidden=[4] trainer.batch_size=8"
        )
    )
    monkeypatch.setattr(growth, "_STEPS", 3)
    assert len(growth._our_steps(plain)) == len(growth._bare_steps(plain, [4])) == 3
    ours = stacked.make_engine(plain, 0.1)
    bare = growth.mlp(growth._INPUTS, 4, growth._CLASSES)
    shapes = [[p.shape for p in model.parameters()] for model in (ours.model, bare)]
    assert shapes[0] == shapes[1]


def test_made_up_options_are_listed_under_names_of_their_own(growth: ModuleType) -> None:
    with growth._project(100) as folder:
        files = list((folder / "configs").rglob("*.yaml"))
    assert len({(file.parent.name, file.stem) for file in files}) == 100


def test_made_up_runs_are_read_as_so_many(
    growth: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlrun.storage.index import scan

    monkeypatch.chdir(tmp_path)
    lone, sweeps = growth._made_up(tmp_path, 12)
    for place in (lone, sweeps):
        runs = scan(place / "outputs")
        assert [run.status for run in runs] == ["completed"] * 12
        assert len({run.created for run in runs}) == 12
