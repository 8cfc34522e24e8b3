from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dlrun.cli import main
from dlrun.commands import show
from dlrun.errors import ConfigError
from dlrun.storage.run_directory import RunDirectory

Dlrun = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Path]
MakeSweep = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def config(*words: str, capsys: Capture) -> dict[str, object]:
    assert show.main([*words]) == 0
    loaded = yaml.safe_load(capsys.readouterr().out)
    assert isinstance(loaded, dict)
    return loaded


def test_alone_it_shows_the_config_of_train(project: Path, capsys: Capture) -> None:
    composed = config(capsys=capsys)
    assert {"dataset", "model", "optimizer", "schedule", "trainer", "name", "seed"} <= set(composed)
    assert "hydra" not in composed
    assert "${" not in str(composed["name"])


@pytest.mark.parametrize("word", ["model=cnn", "model/cnn"])
def test_an_option_and_changes_are_composed(word: str, project: Path, capsys: Capture) -> None:
    composed = config(word, "trainer.max_epochs=3", "seed=7", capsys=capsys)
    assert composed["model"]["_target_"] == "dlrun.models.cnn.CNN"  # type: ignore[index]
    assert composed["trainer"]["max_epochs"] == 3  # type: ignore[index]
    assert composed["seed"] == composed["dataset"]["split_seed"] == 7  # type: ignore[index]


def test_of_a_key_given_twice_the_last_word_holds_and_that_is_said(
    project: Path, capsys: Capture
) -> None:
    assert show.main(["seed=1", "seed=2"]) == 0
    said = capsys.readouterr()
    assert "seed: 2" in said.out
    assert said.err == "dlrun: seed is given twice, as 1 and as 2: the last one holds\n"


def test_what_only_a_run_can_resolve_stays_as_written(project: Path, capsys: Capture) -> None:
    for key in ("runtime.output_dir", "runtime.nothing", "job.num"):
        composed = config(f"name='in ${{hydra:{key}}}'", capsys=capsys)
        assert composed["name"] == f"in ${{hydra:{key}}}"


def test_composing_twice_in_one_process_is_possible(project: Path, capsys: Capture) -> None:
    assert config(capsys=capsys) == config(capsys=capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=cnnn"], "cnnn.*did you mean cnn"),
        (["trainer.max_epochs=x"], "trainer.max_epochs is x, but must be a whole number"),
        (["trainer.max_epoch=3"], "trainer.max_epoch .*did you mean .*max_epochs"),
        (["mlp"], "mlp is no experiment, .*; did you mean model/mlp"),
        (["model/cnnn", "seed=1"], "did you mean model/cnn"),
        (
            ["folder"],
            r"folder is a directory, but not a run or a sweep: .*`dlrun runs folder` lists",
        ),
    ],
)
def test_a_slip_is_one_line_with_the_nearest_name(
    words: list[str], said: str, project: Path
) -> None:
    Path("folder").mkdir()
    with pytest.raises(ConfigError, match=said):
        show.main(words)


def test_a_hydra_error_comes_out_as_one_line_and_2(dlrun: Dlrun) -> None:
    result = dlrun("show", "model.kernel=[1")
    assert result.returncode == 2
    assert result.stderr.startswith("dlrun: error: model.kernel=[1")
    assert result.stderr.count("\n") == 1


@pytest.fixture
def finished_run(make_run: MakeRun) -> RunDirectory:
    run = RunDirectory(make_run("2026-01-31_12-00-00_digits_cnn_12ab"))
    run.overrides_file.write_text("- model=cnn\n- trainer.max_epochs=20\n")
    facts = {"dlrun": "0.1.0", "python": "3.11.7", "torch": "2.6.0", "threads": 2,
             "git_commit": "0123456789abcdef", "git_dirty": True, "command": "dlrun train a=1"}  # fmt: skip
    run.environment_file.write_text(json.dumps(facts))
    run.checkpoints.mkdir()
    (run.checkpoints / "best.pt").write_bytes(b"x" * 1500)
    run.tensorboard.mkdir()
    return run


@pytest.mark.parametrize(
    "word", ["last", "12ab", "outputs/runs/2026-01-31_12-00-00_digits_cnn_12ab"]
)
def test_a_run_is_told_in_full(word: str, finished_run: RunDirectory, capsys: Capture) -> None:
    assert show.main([word]) == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    assert text.startswith("digits_cnn_12ab  completed\n")
    assert "changed trainer.max_epochs=20 seed 0 parameters 12,345" in words
    assert "metrics best, epoch 17 final, epoch 20" in words
    assert "val/loss (monitored) 0.2500 0.5000" in words
    assert "test/accuracy - 0.8750" in words
    assert "took 3m20s, 200 steps, 20 of 20 epochs device cpu (2 threads)" in words
    assert "dlrun 0.1.0, python 3.11.7, torch 2.6.0" in words
    assert "commit 0123456789ab with changes not committed" in words
    assert "best.pt 1.5 kB" in words
    for command in ("resume", "eval", "predict", "tensorboard"):
        assert f"dlrun {command} {finished_run.path}" in text
    assert f"dlrun predict {finished_run.path} FILE" in text


def test_a_language_model_of_counted_steps_is_led_on_by_steps_and_to_its_texts(
    make_run: MakeRun, capsys: Capture
) -> None:
    best = {"epoch": 1, "step": 200, "metrics": {"val/loss": 2.0, "val/bits": 2.9}}
    run = RunDirectory(make_run("2026-01-31_12-00-00_char_lm_char_gru_12ab", best=best))
    run.overrides_file.write_text("- trainer.max_steps=200\n")
    run.checkpoints.mkdir()
    (run.checkpoints / "best.pt").touch()
    assert show.main(["last"]) == 0
    text = capsys.readouterr().out
    assert f"dlrun resume {run.path} trainer.max_steps=400\n" in text
    assert f"dlrun generate {run.path} --prompt TEXT" in text and "dlrun predict" not in text


def test_a_failed_run_shows_its_error_first(make_run: MakeRun, capsys: Capture) -> None:
    error = {"kind": "Diverged", "message": "train/loss is nan", "step": 1300}
    make_run("2026-01-31_12-00-00_digits_cnn_12ab", status="failed", error=error)
    show.main(["last"])
    text = capsys.readouterr().out
    assert text.startswith(
        "digits_cnn_12ab  failed at step 1,300\n\n  Diverged: train/loss is nan\n"
    )


def test_a_run_below_its_baseline_says_so_and_what_to_try(
    make_run: MakeRun, capsys: Capture
) -> None:
    baselines = {"majority class": {"accuracy": 0.9}}
    make_run("worse_12ab", baselines=baselines, below_baseline={"advice": "try another model"})
    make_run("better_34cd", baselines={"majority class": {"accuracy": 0.5}})
    show.main(["worse"])
    expected = "test/accuracy 0.875 is worse than majority class (0.9), which needs no model: try"
    assert expected in " ".join(capsys.readouterr().out.split())
    show.main(["better"])
    assert "warning" not in capsys.readouterr().out


def test_a_killed_run_says_how_to_carry_it_on(make_run: MakeRun, capsys: Capture) -> None:
    path = make_run("2026-01-31_12-00-00_digits_cnn_12ab", status="running")
    show.main(["last"])
    text = capsys.readouterr().out
    assert text.startswith("digits_cnn_12ab  killed: its process ended without")
    assert f"dlrun resume {path}\n" in text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"best": 3, "final": [1], "choices": "x", "error": "y"}']
)
def test_a_damaged_run_is_told_as_far_as_it_goes(
    text: str, make_run: MakeRun, capsys: Capture
) -> None:
    run = RunDirectory(make_run("2026-01-31_12-00-00_digits_cnn_12ab"))
    for file in (run.summary_file, run.environment_file, run.overrides_file):
        file.write_text(text)
    assert show.main(["last"]) == 0
    assert capsys.readouterr().out.startswith("digits_cnn_12ab  unreadable: its summary.json is")


@pytest.mark.parametrize("words", [[], ["model=cnn"], ["digits_cnn"]])
def test_a_plain_run_knows_nothing_of_sweeps(
    words: list[str], project: Path, capsys: Capture
) -> None:
    assert "sweep" not in config(*words, capsys=capsys)


@pytest.mark.parametrize("word", ["sweep/random", "sweep=random"])
def test_the_settings_of_a_sweep_are_shown_where_one_is_asked_for(
    word: str, project: Path, capsys: Capture
) -> None:
    sweep = config(word, "sweep.trials=7", capsys=capsys)["sweep"]
    assert isinstance(sweep, dict)
    assert (sweep["_target_"], sweep["trials"]) == ("optuna.samplers.RandomSampler", 7)


def test_an_experiment_that_describes_a_sweep_shows_it(project: Path, capsys: Capture) -> None:
    Path("configs/experiment").mkdir(parents=True)
    text = "# @package _global_\nsweep:\n  space:\n    seed: [0, 1]\n"
    Path("configs/experiment/tuning.yaml").write_text(text)
    assert config("tuning", capsys=capsys)["sweep"]["space"] == {"seed": [0, 1]}  # type: ignore[index]


class TestTrial:
    """A run that is part of a sweep."""

    @pytest.fixture
    def sweep(self, make_sweep: MakeSweep) -> Path:
        return make_sweep("2026-01-31_12-00-00_rates_34cd", 3)

    @pytest.mark.parametrize("word", ["rates/1", "34cd/1", "rates_34cd/1/"])
    def test_it_is_found_by_its_number(self, word: str, sweep: Path, capsys: Capture) -> None:
        assert show.main([word]) == 0
        words = " ".join(capsys.readouterr().out.split())
        assert words.startswith("rates_34cd/1 completed")
        assert "swept optimizer.lr=0.05 " in words

    def test_it_leads_to_its_sweep_and_is_not_trained_on_alone(
        self, sweep: Path, capsys: Capture
    ) -> None:
        (sweep / "1/checkpoints").mkdir()
        (sweep / "1/checkpoints/last.pt").write_bytes(b"")
        show.main(["rates/1"])
        text = capsys.readouterr().out
        assert f"dlrun show {sweep}\n" in text
        assert "resume" not in text

    def test_a_killed_one_is_carried_on_by_the_sweep(
        self, sweep: Path, make_run: MakeRun, capsys: Capture
    ) -> None:
        make_run("7", str(sweep), status="running")
        show.main(["rates/7"])
        assert f"dlrun resume {sweep}\n" in capsys.readouterr().out

    def test_a_pruned_one_says_why(self, sweep: Path, make_run: MakeRun, capsys: Capture) -> None:
        make_run("7", str(sweep), status="pruned")
        show.main(["rates/7"])
        out = capsys.readouterr().out
        assert out.startswith("rates_34cd/7  pruned: its sweep ended it early")

    def test_the_seeds_of_one_are_told_apart(self, make_sweep: MakeSweep, capsys: Capture) -> None:
        make_sweep("2026-01-31_12-00-00_seeds_56ef", 2, seeds=2)
        show.main(["seeds/1/seed1"])
        assert capsys.readouterr().out.startswith("seeds_56ef/1/seed1  completed")
        with pytest.raises(ConfigError, match=r"seeds/1 fits 2 runs: .*1/seed1, .*1/seed0"):
            show.main(["seeds/1"])

    def test_part_of_a_runs_name_and_of_a_sweeps_is_refused(
        self, sweep: Path, make_run: MakeRun
    ) -> None:
        make_run("2026-01-31_13-00-00_rates_12ab")
        with pytest.raises(
            ConfigError, match=r"rates fits 2 runs and sweeps: .*12ab, .*34cd; give"
        ):
            show.main(["rates"])


@pytest.fixture(scope="module")
def swept_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a sweep of three rates was run, the last of which is too high."""
    place = tmp_path_factory.mktemp("project")
    words = ("dataset=iris", "model=logistic", "optimizer=sgd", "trainer.max_epochs=2")
    quick = ("trainer.accelerator=cpu", "tracking.tensorboard=false", "sweep.seeds=2")
    folder = "hydra.sweep.dir=outputs/sweeps/2026-01-31_12-00-00_rates_34cd"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        rates = "optimizer.lr=0.01,1e-6,1e38"
        assert main(["train", "-m", *words, *quick, rates, folder]) == 1
    return place


class TestSweep:
    """A real one, seen from the project that it was run in."""

    @pytest.fixture
    def sweep(self, swept_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(swept_project)
        monkeypatch.delenv("COLUMNS", raising=False)
        return Path("outputs/sweeps/2026-01-31_12-00-00_rates_34cd")

    @pytest.fixture
    def text(self, sweep: Path, capsys: Capture) -> str:
        capsys.readouterr()
        assert show.main([str(sweep)]) == 0
        return capsys.readouterr().out

    @pytest.mark.parametrize("word", ["rates", "34cd/"])
    def test_it_is_found_by_part_of_its_name(
        self, word: str, text: str, sweep: Path, capsys: Capture
    ) -> None:
        show.main([word])
        assert capsys.readouterr().out == text

    def test_it_says_what_was_asked_and_how_far_it_is(self, text: str) -> None:
        assert text.startswith("rates_34cd  completed: 3 of 3 trials done, 1 failed\n")
        words = " ".join(text.split())
        assert "objective minimize val/loss strategy grid, seeds 2 searched optimizer.lr=" in words
        assert "fixed dataset=iris model=logistic optimizer=sgd " in words

    def test_it_gives_the_best_setting_to_type(self, text: str, sweep: Path) -> None:
        summaries = [RunDirectory(sweep / f"0/seed{seed}").read_summary() for seed in (0, 1)]
        losses = [(found or {})["best"]["metrics"]["val/loss"] for found in summaries]
        assert f"best: trial 0, val/loss {sum(losses) / 2:.4g} ± " in text
        command = next(line for line in text.splitlines() if line.startswith("  dlrun train"))
        assert {"dataset=iris", "optimizer=sgd", "optimizer.lr=0.01"} <= set(command.split())

    def test_it_names_what_failed(self, text: str) -> None:
        assert "failed: trial 2 (optimizer.lr=1e38): " in text

    def test_it_says_where_things_are_and_where_to_look_on(self, text: str, sweep: Path) -> None:
        assert "leaderboard.csv  every trial" in text
        assert "best.yaml " in text
        for command in ("runs", "report", "tensorboard"):
            assert f"dlrun {command} {sweep}\n" in f"{text}\n"
        assert f"dlrun runs {sweep}/0\n" in text  # of several seeds, none is the trial
        assert "resume" not in text

    def test_one_that_was_stopped_says_how_to_go_on(
        self, sweep: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        stopped = tmp_path / "stopped"
        shutil.copytree(sweep, stopped)
        description = yaml.safe_load((stopped / "sweep.yaml").read_text())
        description["settings"]["trials"] = 10
        (stopped / "sweep.yaml").write_text(yaml.safe_dump(description))
        show.main([str(stopped)])
        text = capsys.readouterr().out
        assert text.startswith("stopped  not finished: 3 of 10 trials done, 1 failed\n")
        assert f"dlrun resume {stopped}\n" in text

    def test_it_needs_no_torch(self, sweep: Path) -> None:
        code = f"import sys; from dlrun.cli import main; main(['show', '{sweep}']); "
        code += "sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestOneWord:
    """What one word means: a directory of a run, an experiment, GROUP/OPTION, part of a name."""

    @pytest.fixture(autouse=True)
    def everything_is_called_the_same(self, make_run: MakeRun) -> None:
        Path("configs/experiment").mkdir(parents=True)
        Path("configs/experiment/same.yaml").write_text("# @package _global_\nseed: 42\n")
        make_run("2026-01-31_12-00-00_same_model_12ab")

    def test_an_experiment_comes_before_part_of_a_name(self, capsys: Capture) -> None:
        assert config("same", capsys=capsys)["seed"] == 42

    def test_an_experiment_can_be_changed(self, capsys: Capture) -> None:
        composed = config("same", "model=cnn", capsys=capsys)
        assert composed["seed"] == 42
        assert composed["model"]["_target_"] == "dlrun.models.cnn.CNN"  # type: ignore[index]

    def test_the_directory_of_a_run_comes_first(self, make_run: MakeRun, capsys: Capture) -> None:
        make_run("same", ".")
        show.main(["same"])
        assert capsys.readouterr().out.startswith("same  completed\n")

    def test_part_of_a_name_comes_last(self, capsys: Capture) -> None:
        show.main(["same_model"])
        assert capsys.readouterr().out.startswith("same_model_12ab  completed\n")

    def test_part_of_several_names_is_refused(self, make_run: MakeRun) -> None:
        make_run("2026-01-31_12-00-00_same_model_34cd")
        with pytest.raises(ConfigError, match="same_model fits 2 runs"):
            show.main(["same_model"])


def test_a_run_is_shown_alone(make_run: MakeRun) -> None:
    make_run("2026-01-01_00-00-00_blobs_mlp_abcdef")
    with pytest.raises(ConfigError, match="blobs_mlp is part of the name of a run or sweep, which"):
        show.main(["blobs_mlp", "seed=1"])
