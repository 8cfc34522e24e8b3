"""Hydra's own keys, interpolations and files of options: used, or refused in one line that names what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from dlrun.cli import main
from dlrun.config.option_files import read_option
from dlrun.config.search_path import config_folders

Capture = pytest.CaptureFixture[str]
Refuse = Callable[..., str]

QUICK = (
    "dataset=iris", "model=logistic", "trainer.max_epochs=1", "trainer.accelerator=cpu",
    "trainer.num_threads=1", "tracking.tensorboard=false",
)  # fmt: skip


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "configs" / "experiment").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    # Where a run's directory has no name, Hydra leaves its config to whoever comes next in this process.
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    return tmp_path


@pytest.fixture
def refuse(capsys: Capture) -> Refuse:
    """Runs dlrun, which must refuse with exit code 2 and one line; the line."""

    def run(*words: str) -> str:
        assert main(list(words)) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1, said.err
        return said.err.removeprefix("dlrun: error: ")

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("hydra.job.chdir=true", "hydra.job.chdir is True, but a run stays in the folder"),
        ("hydra.job.name=x", "hydra.job.name is x, but a run is named by name=NAME"),
        ("hydra.verbose=true", "hydra.verbose is True, but what a run says is in its train.log"),
        ("hydra.run.dir=", "hydra.run.dir is empty, but must name a folder"),
        ("hydra.sweep.dir=x", "a single run takes hydra.run.dir=DIR"),
        ("-m seed=1,2 hydra.job.chdir=true", "hydra.job.chdir is True"),
        ("-m seed=1,2 hydra.sweep.subdir=${seed}", "hydra.sweep.subdir is ${seed}, but the folder"),
        ("-m seed=1,2 hydra.output_subdir=.hydra", "hydra.output_subdir is .hydra, but each trial"),
        ("-m seed=1,2 +hydra.job.env_set.A=1", "hydra.job.env_set is {'A': '1'}, but trials"),
        ("optimizer.clip_norm=choice(null,1.0)",
         "choice() takes no null; list the values without it, as optimizer.clip_norm=null,1.0"),
        ("optimizer.weight_decay=${optimizer.nolr}",
         "optimizer.weight_decay is ${optimizer.nolr}: there is no key optimizer.nolr; did you mean optimizer.lr?"),
        ("seed=${nope}", "seed is ${nope}: there is no key nope"),
        ("name=${name}", "name is ${name}: Recursive interpolation detected"),
        ("name=${oc.env:NOPE_}", "name is ${oc.env:NOPE_}: Environment variable 'NOPE_' not found"),
        ("hydra.nope=1", "hydra.nope is not a setting of hydra; choose from: callbacks, env"),
        ("hydra/launcher=ray hydra.launcher.num_cpu=2",
         "hydra.launcher.num_cpu is not a setting of hydra/launcher=ray; did you mean num_cpus?"),
        ("hydra/launcher=ray hydra.launcher.foo=2",
         "hydra.launcher.foo is not a setting of hydra/launcher=ray; choose from: init, max_concurrent, num_cpus"),
        ("hydra.launcher.n_jobs=2",
         "hydra.launcher.n_jobs is not a setting of hydra/launcher=basic; choose another"),
        ("~dataset.tset_fraction", "dataset.tset_fraction is not a setting of dataset; did you mean test_fraction?"),
        ("größe=3", "größe is not a setting of a run"),
        ("hydra.run.dir=${nope}/x", "hydra.run.dir is ${nope}/x: there is no key nope"),
        ("-m seed=1,2 optimizer.weight_decay=${optimizer.nolr}",
         "optimizer.weight_decay: there is no key optimizer.nolr"),
        ("-m seed=1,2 hydra.sweep.dir=${nope}/x", "hydra.sweep.dir is ${nope}/x: there is no key nope"),
    ],
)  # fmt: skip
def test_what_hydra_would_do_in_vain_or_only_say_in_its_own_words_is_refused(
    words: str, message: str, refuse: Refuse, project: Path
) -> None:
    said = refuse("train", *words.split())
    assert message in said
    assert not list(project.rglob("config.yaml"))


def test_a_config_may_not_ask_for_it_either(refuse: Refuse, project: Path) -> None:
    text = "# @package _global_\nhydra:\n  job:\n    chdir: true\n"
    (project / "configs/experiment/moving.yaml").write_text(text)
    assert "hydra.job.chdir is True" in refuse("train", "experiment=moving", "hydra.run.dir=run")
    assert not (project / "run").exists()


GLOBAL = "# @package _global_\n"
BROKEN = {
    "without the line": (b"seed: 1\n", "lacks the line # @package _global_, by which"),
    "another package": (b"# @package trainer\nseed: 1\n", "lacks the line # @package _global_"),
    "byte order mark": (b"\xef\xbb\xbf# @package _global_\r\nseed: 1\r\n", "begins with a byte order mark"),
    "latin": (GLOBAL.encode() + b"name: gr\xf6\xdfe\n", "is not UTF-8 (byte 0xf6 in line 2)"),
    "latin far below": (GLOBAL.encode() + b"# x\n" * 9000 + b"# \xe9\n", "is not UTF-8 (byte 0xe9 in line 9002)"),
    "nothing": (b"", "lacks the line # @package _global_"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_an_experiment_that_hydra_would_misread_is_named_with_what_to_do(
    kind: str, refuse: Refuse, project: Path
) -> None:
    content, message = BROKEN[kind]
    (project / "configs/experiment/mine.yaml").write_bytes(content)
    for words in (["train", "experiment=mine"], ["summary", "experiment=mine"], ["show", "mine"]):
        said = refuse(*words)
        assert said.startswith("configs/experiment/mine.yaml ") and message in said
    option = read_option("experiment", "mine", config_folders())
    assert option is not None and message in option.description


@pytest.mark.parametrize("where", ["here", "--config-dir"])
def test_a_file_that_another_one_chooses_is_named_too(
    where: str, refuse: Refuse, project: Path
) -> None:
    folder = project / ("configs" if where == "here" else "more")
    (folder / "model").mkdir(parents=True)
    (folder / "model/bad.yaml").write_bytes(b"# \xe9\n")
    text = GLOBAL + "defaults:\n  - override /model: bad\n"
    (project / "configs/experiment/mine.yaml").write_text(text)
    options = [] if where == "here" else [f"--config-dir={folder}"]
    assert f"{folder.name}/model/bad.yaml is not UTF-8" in refuse(
        "train", "experiment=mine", *options
    )


def test_a_text_that_hydra_cannot_read_is_kept_through_run_resume_and_sweep(
    project: Path, capsys: Capture
) -> None:
    assert (
        main(["train", *QUICK, "name=größe (1), 50 €".replace(",", ""), "hydra.run.dir=run"]) == 0
    )
    overrides = yaml.safe_load((project / "run/overrides.yaml").read_text(encoding="utf-8"))
    assert "name='größe (1) 50 €'" in overrides
    assert main(["resume", "run", "trainer.max_epochs=2", "name=it's"]) == 0
    config = yaml.safe_load((project / "run/config.yaml").read_text(encoding="utf-8"))
    assert config["name"] == "it's"
    assert main(["train", "-m", *QUICK, "name=größe,it's", "hydra.sweep.dir=sweep"]) == 0
    names = [
        yaml.safe_load((project / f"sweep/{n}/config.yaml").read_text(encoding="utf-8"))["name"]
        for n in (0, 1)
    ]
    assert names == ["größe", "it's"]
    assert main(["resume", "sweep"]) == 0


def test_a_path_in_the_home_folder_is_there(
    project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = project / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    rows = "".join(f"{n},{n % 2}\n" for n in range(40))
    (home / "x.csv").write_text("a,y\n" + rows)
    words = ["dataset=csv", "dataset.path=~/x.csv", "dataset.target=y", *QUICK[1:]]
    assert main(["train", *words, "hydra.run.dir=~/runs/one"]) == 0
    config = yaml.safe_load((home / "runs/one/config.yaml").read_text())
    assert config["dataset"]["path"] == str(home / "x.csv")
    assert main(["train", "-m", *words, "seed=0,1", "hydra.sweep.dir=~/sweep"]) == 0
    assert (home / "sweep/sweep.yaml").exists()
    assert main(["predict", str(home / "runs/one"), str(home / "x.csv"), "--output=~/p.csv"]) == 0
    assert (home / "p.csv").exists()
    assert not (project / "~").exists()
