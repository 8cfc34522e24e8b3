"""A word on the command line means the same run or sweep in every command."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun.commands import evaluate, export, generate, predict, report, runs, show
from dlrun.commands._sweep_rows import collapsed
from dlrun.errors import ConfigError
from dlrun.storage.index import (
    find_folder,
    find_run,
    find_run_or_sweep,
    find_sweep,
    next_order,
    scan,
)

Main = Callable[[list[str]], int]
MakeRun = Callable[..., Path]
MakeSweep = Callable[..., Path]

RUN, SWEEP = "2026-01-31_12-00-00_digits_cnn_12ab", "2026-01-31_12-00-00_rates_34cd"
FORMS = [
    ("last", f"sweeps/{SWEEP}"),
    ("last/1/seed0", f"sweeps/{SWEEP}/1/seed0"),
    ("rates", f"sweeps/{SWEEP}"),
    ("34cd/", f"sweeps/{SWEEP}"),
    (f"outputs/sweeps/{SWEEP}", f"sweeps/{SWEEP}"),
    ("rates/1/seed0", f"sweeps/{SWEEP}/1/seed0"),
    (f"{SWEEP}/0/seed1", f"sweeps/{SWEEP}/0/seed1"),
    ("cnn", f"runs/{RUN}"),
    (f"outputs/runs/{RUN}/", f"runs/{RUN}"),
]


@pytest.fixture
def places(make_run: MakeRun, make_sweep: MakeSweep) -> None:
    """A run, and a sweep begun after it; a trial began earlier than either, as its clock was wrong."""
    make_run(RUN, created="2026-01-31T13:00:00+00:00")
    make_sweep(SWEEP, 2, seeds=2, created="2026-01-31T14:00:00+00:00")


def refused(find: Callable[[str], object], text: str) -> str:
    with pytest.raises(ConfigError) as error:
        find(text)
    return str(error.value)


@pytest.mark.parametrize(("text", "found"), FORMS)
def test_a_word_means_one_thing(text: str, found: str, places: None) -> None:
    path = Path("outputs", found)
    assert find_run_or_sweep(text).path == path
    is_sweep = path.name == SWEEP
    fitting, other = (find_sweep, find_run) if is_sweep else (find_run, find_sweep)
    assert fitting(text).path == path
    said = refused(other, text)
    assert said.startswith(f"{text} is ")
    assert "this command takes a run" in said or "takes a sweep" in said or "not a sweep" in said


def test_last_is_the_newest_run_or_sweep_by_its_own_beginning(
    places: None, make_run: MakeRun
) -> None:
    assert find_run_or_sweep("last").path.name == SWEEP
    make_run("late", created="2026-01-31T15:00:00+00:00")
    assert find_run_or_sweep("last").path.name == "late"
    make_run("2", f"outputs/sweeps/{SWEEP}", created="2026-01-31T16:00:00+00:00")
    assert find_run_or_sweep("last").path.name == "late"  # a new trial makes no new sweep


def test_last_is_what_was_begun_last_though_the_clock_was_set_back(
    make_run: MakeRun, make_sweep: MakeSweep
) -> None:
    """Also after a run that says nothing of its order, as those of older versions, and one copied from elsewhere."""
    before = time.time()
    assert before <= next_order() <= time.time()
    make_run("zz_ahead", created="2099-01-31T15:00:00+00:00")
    make_run("first", created="2026-01-31T12:00:00+00:00", order=next_order())
    assert find_run_or_sweep("last").path.name == "first"
    sweep = make_sweep(SWEEP, 2, created="2026-01-31T11:00:00+00:00", order=next_order())
    assert find_run_or_sweep("last").path == sweep
    make_run("a_second", created="2026-01-31T10:00:00+00:00", order=next_order())
    assert find_run_or_sweep("last").path.name == "a_second"
    assert "the newest sweep is" in refused(find_sweep, "last")
    listed = [run.path.name for run in collapsed(scan(), Path("outputs"))]
    assert listed == ["a_second", SWEEP, "first", "zz_ahead"]
    make_run("copied", created="2100-01-01T00:00:00+00:00", order=1e300)
    make_run("third", order=next_order())
    assert find_run_or_sweep("last").path.name == "third"


def test_last_that_does_not_fit_the_command_names_what_would(
    places: None, make_run: MakeRun
) -> None:
    assert refused(find_run, "last") == (
        f"last is the sweep outputs/sweeps/{SWEEP}, but this command takes a run: give one of its trials, as in "
        f"{SWEEP}/0/seed0; the newest run of its own is outputs/runs/{RUN}"
    )
    make_run("late", created="2026-01-31T15:00:00+00:00")
    assert refused(find_sweep, "last") == (
        "last is the run outputs/runs/late, but this command takes a sweep: the newest sweep is "
        f"outputs/sweeps/{SWEEP}"
    )


@pytest.mark.parametrize("find", [find_run_or_sweep, find_run, find_sweep])
def test_a_name_that_fits_a_run_and_a_sweep_is_asked_about(
    find: Callable[[str], object], make_run: MakeRun, make_sweep: MakeSweep
) -> None:
    make_run("2026-01-31_12-00-00_digits_cnn_12ab")
    make_sweep("2026-01-31_12-00-00_digits_34cd", 2)
    assert "digits fits 2 runs and sweeps: " in refused(find, "digits")


def test_a_sweep_outside_its_usual_folder_is_last_as_well(places: None, make_run: MakeRun) -> None:
    trial = make_run("0", "outputs/mine")
    (trial.parent / "sweep.yaml").write_text("created: 2027-01-01T00:00:00+00:00\n")
    for text in ("last", "mine", "min"):
        assert find_run_or_sweep(text).path == Path("outputs/mine")
        assert find_sweep(text).path == Path("outputs/mine")


def test_a_trial_of_a_sweep_needs_its_name_only_where_nothing_else_fits(
    places: None, make_run: MakeRun
) -> None:
    make_run("2", f"outputs/sweeps/{SWEEP}")
    assert find_run("es_34cd/2").path.name == "2"
    assert find_run_or_sweep("es_34cd").path.name == SWEEP
    make_run("plain_2")
    assert find_run("2").path.name == "plain_2"  # and not SWEEP/2


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (evaluate.main, []),
        (export.main, []),
        (generate.main, []),
        (predict.main, ["rows.npy"]),
    ],
)
def test_commands_on_a_run_refuse_a_sweep_by_its_name(
    main: Main, words: list[str], places: None
) -> None:
    with pytest.raises(ConfigError, match=f"last is the sweep outputs/sweeps/{SWEEP}, but this"):
        main(["last", *words])


def test_the_newest_is_listed_whatever_it_is(
    places: None, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.main(["last"])
    assert capsys.readouterr().out.endswith("\n2 trials\n")
    make_run("late", created="2026-01-31T15:00:00+00:00")
    runs.main(["last"])
    assert capsys.readouterr().out.endswith("\n1 run\n")
    with pytest.raises(ConfigError, match="last is the run outputs/runs/late"):
        report.main(["last"])


def test_a_folder_of_runs_is_taken_where_nothing_is_called_so(
    places: None, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_folder("outputs/runs") == Path("outputs/runs")
    Path("digits").mkdir()
    assert find_folder("digits") == Path("outputs/runs", RUN)  # as every other command has it
    assert find_folder("./digits") == Path("digits")
    Path("empty").mkdir()
    assert find_folder("empty") == Path("empty")
    Path("outputs/runs", RUN).rename("digits/first")
    assert find_folder("digits") == Path("digits")
    assert "no such thing" in refused(find_folder, "no such thing")


def test_show_says_that_an_experiment_hides_a_run(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("2026-01-31_12-00-00_mnist_cnn_12ab")
    assert show.main(["mnist_cnn"]) == 0
    said = capsys.readouterr()
    assert "model:" in said.out
    assert "shown as experiment=mnist_cnn" in said.err
    assert "12ab" in said.err
