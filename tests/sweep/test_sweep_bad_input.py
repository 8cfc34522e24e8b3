"""Sweeps that cannot be: one line that names what is wrong and the remedy, exit code 2, and nothing left behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scratch import QUICK, Look, Result

Dlrun = Callable[..., Result]
Refuse = Callable[..., str]

LR = "optimizer.lr=tag(log,interval(1e-3,1))"


@pytest.fixture
def refuse(dlrun: Dlrun, project: Path) -> Refuse:
    """Runs dlrun, which must refuse with one line and leave no file behind; the line."""

    def run(*words: str) -> str:
        before = files(project)
        result = dlrun(*words)
        assert (result.code, result.out) == (2, ""), result.err
        assert result.err.startswith("dlrun: error: ")
        assert result.err.count("\n") == 1
        assert "Traceback" not in result.err
        assert files(project) == before
        return result.err

    return run


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)


REFUSED = [
    # ranges
    ("sweep=random optimizer.lr=interval(1,0.1)", "optimizer.lr"),
    ("sweep=random optimizer.lr=tag(log,interval(0,1))", "optimizer.lr"),
    ("-m optimizer.lr=interval(0.1,1)", "sweep.points=5"),
    ("-m optimizer.lr=interval(0.1,1) sweep.points={optimizer.rl:2}", "did you mean optimizer.lr?"),
    ("sweep=random optimizer.lr=intervall(0.1,1)", "did you mean interval?"),
    # keys
    ("-m optimizer.lrr=0.1,0.2", "optimizer.lrr is swept, but is no setting; did you mean optimizer.lr?"),
    ("-m model=net,logistic model.width=4,8",  # which belongs to one of the two alone
     "model=logistic: model.width is swept, but is no setting of model=logistic"),
    ("-m model=net,nett", "model=nett: the group model has no such option; did you mean net?"),
    # values
    ("-m optimizer.lr=0.1,-1", "optimizer.lr=-1: optimizer.lr is -1, but must be a number above 0"),
    ("sweep=random optimizer.lr=interval(-1,1)", "optimizer.lr=-1"),
    ("sweep=random trainer.batch_size=interval(8,32)", "an interval of whole numbers is int(interval("),
    ("-m model=net,cnn", "model=cnn"),
    ("-m trainer.monitor=val/loss,val/acc", "did you mean val/accuracy?"),
    # how to search
    (f"sweep=random sweep.trials=0 {LR}", "sweep.trials is 0, but must be a whole number of at least 1"),
    (f"sweep=random sweep.trials=null {LR}", "sweep.trials is null, but only a grid ends by itself"),
    (f"sweep=random sweep.trials=3,4 {LR}", "sweep.trials=3,4: a sweep has one strategy with one value a setting"),
    (f"sweep=random sweep.trails=3 {LR}", "sweep.trails is not a setting of sweep; did you mean trials?"),
    (f"sweep=random sweep.pruner=medium {LR}", "did you mean median?"),
    (f"sweep=random sweep.objective=val/acc {LR}", "did you mean val/accuracy?"),
    (f"sweep=random sweep.objective=test/accuracy sweep.pruner=median {LR}", "sweep.pruner has nothing to go by"),
    (f"sweep=random sweep._target_=optuna.samplers.RandmSampler {LR}", "RandmSampler, which cannot be imported"),
    (f"sweep=tpe +sweep.n_ei_candidates=few {LR}", "sweep.n_ei_candidates is few, but must be a whole number"),
    (f"sweep=coarse_to_fine sweep.shrink=1 {LR}", "sweep.shrink is 1, but must be a number above 0 and below 1"),
    # what else is on the command line
    ("--dry-run optimizer.lr=0.1", "--dry-run shows the trials of a sweep: add sweep=random, say, or -m"),
    ("sweep.budget=5s", "sweep.budget=5s is for a sweep, not for a single run: add sweep=random, say, or -m"),
    ("sweep=random", "nothing is swept: give at least one key several values or a range"),
    (f"-m hydra.run.dir=here {LR}", "hydra.run.dir=here names one directory for many runs"),
    (LR, "add -m, or sweep=random"),
    ("experiment=tuning", "experiment=tuning describes a sweep: choose how to search, as in sweep=random"),
    ("-m model.width=4,8 hydra.sweep.dir=numbered", "which holds 7 and is no sweep: choose a new folder"),
]  # fmt: skip
REFUSED_LIKEWISE = [
    ("sweep=random optimizer.momentum=tag(one_minus_log,interval(0.9,1)) optimizer=momentum",
     "optimizer.momentum"),
    ("-m trainer.batch_size=range(5,5)", "trainer.batch_size"),
    ("-m optimizer.lr=interval(0.1,1) model.width=4,8 sweep.points={model.width:2}",
     "it lists its values and takes no points"),
    ("-m optimizer.lr=interval(0.1,1) sweep.points=0", "sweep.points is 0"),
    ("-m optimizer.lr=0.1,0.1", "optimizer.lr"),
    ("-m model.widht=4,8", "model.widht is swept, but is no setting of model=net; did you mean model.width?"),
    ("-m model=logistic,net model.width=4,8", "model.width is swept, but is no setting of model=logistic"),
    ("-m model.width=4,8 optimizer.lr=-1", "optimizer.lr is -1, but must be a number above 0"),
    ("-m loss=cross_entropy,mse", "loss=mse"),
    ("-m loss.name=cross_entropy,mse", "choose the option itself, as in loss=huber"),
    (f"sweep=randm {LR}", "did you mean random?"),
    (f"sweep=random,tpe {LR}", "sweep=random,tpe: a sweep has one strategy"),
    (f"sweep=random sweep.seeds=0 {LR}", "sweep.seeds is 0"),
    (f"sweep=random sweep.seed=-1 {LR}", "sweep.seed is -1"),
    (f"sweep=random sweep.objective=loss {LR}", "which no trial logs"),
    (f"sweep=random sweep._target_=nowhere.Sampler {LR}", "nowhere.Sampler, which cannot be imported"),
    (f"sweep=random sweep._target_=builtins.dict {LR}", "sweep._target_ is builtins.dict"),
    (f"sweep=tpe sweep.n_startup_trials=few {LR}", "sweep.n_startup_trials is few, but must be a whole number"),
    (f"sweep=random +sweep.gamma=1 {LR}", "sweep.gamma is not a setting of sweep"),
    (f"sweep=coarse_to_fine sweep.first_round=coarse {LR}", "sweep.first_round is coarse"),
    (f"sweep=coarse_to_fine sweep.epochs_per_round=5 {LR}", "as in sweep.epochs_per_round=[5]"),
    (f"sweep=random sweep.space.optimizer.lr=3 {LR}", "sweep.space"),
    ("experiment=fixed sweep=random", "which is no sweep; give it several values"),
    ("-m model.width=4,8 hydra.sweep.dir=file/below", "file/below cannot be written to"),
    ("-m model.width=4,8 hydra/launcher=jobli", "did you mean joblib?"),
    ("-m model.width=4,8 hydra/launcher=joblib hydra.launcher.n_job=2", "n_job"),
    ("-m model.width=4,8 hydra/launcher=joblib trainer.devices=2", "trainer.devices is 2, but hydra/launcher runs"),
    ("-m trainer.devices=2 trainer.batch_size=8,1", "trainer.batch_size=1: trainer.devices is 2, but a batch has"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [*REFUSED, *(pytest.param(*more, marks=pytest.mark.slow) for more in REFUSED_LIKEWISE)],
)
def test_it_is_refused_in_one_line_that_says_what_to_do(
    words: str, message: str, refuse: Refuse, project: Path
) -> None:
    if "hydra.sweep.dir=numbered" in words:
        (project / "numbered" / "7").mkdir(parents=True)
    if "=file/" in words:
        (project / "file").touch()
    if "experiment=" in words:
        write_experiments(project)
    given = words.split()
    keys = {word.partition("=")[0] for word in given}
    quick = [word for word in QUICK if word.partition("=")[0] not in keys]
    assert message in refuse("train", *quick, *given)


def write_experiments(project: Path) -> None:
    folder = project / "configs" / "experiment"
    folder.mkdir()
    text = "# @package _global_\nsweep:\n  space:\n    optimizer.lr: {}\n"
    (folder / "tuning.yaml").write_text(text.format("0.1,0.2"))
    (folder / "fixed.yaml").write_text(text.format("'0.1'"))


def test_a_directory_with_a_sweep_takes_no_other(refuse: Refuse, dlrun: Dlrun) -> None:
    words = {"model.width": "4,8", "hydra.sweep.dir": "sweep"}
    words |= dict(word.split("=", 1) for word in QUICK)
    assert dlrun("train", "-m", *typed(words)).code == 0
    for key, value, message in (
        ("model.width", "4,16", "space model.width 4,8 there, 4,16 here"),
        ("optimizer.lr", "0.1,0.2", "space optimizer.lr nothing there, 0.1,0.2 here"),
        ("trainer.max_epochs", "3", "overrides trainer.max_epochs=2 there, trainer.max_epochs=3 here"),
        ("sweep.seed", "1", "settings seed 0 there, 1 here"),
        ("sweep.objective", "train/loss", "objective val/loss there, train/loss here"),
        ("sweep", "random", "settings"),
    ):  # fmt: skip
        said = refuse("train", "-m", *typed(words | {key: value}))
        assert message in said
        assert "hydra.sweep.dir=DIR" in said


def test_a_sampler_that_needs_another_package_says_so(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)  # as where it is not installed
    target = "sweep._target_=optuna.samplers.CmaEsSampler"
    said = refuse("train", *QUICK, "sweep=random", target, LR)
    assert "optuna.samplers.CmaEsSampler, which needs a package" in said
    assert "cmaes" in said


def typed(words: dict[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in words.items()]


def test_the_same_command_goes_on_with_the_sweep_in_its_directory(
    sweep: Dlrun, look: Callable[..., Look]
) -> None:
    assert sweep("model.width=4,8").code == 0
    assert "nothing was left to train" in sweep("model.width=4,8").out
    assert look().states == ["complete"] * 2


@pytest.mark.parametrize("words", [("--dry-run",), ("sweep.dry_run=true",)])
def test_a_dry_run_shows_the_trials_and_leaves_nothing(
    words: tuple[str, ...], dlrun: Dlrun, project: Path
) -> None:
    before = files(project)
    result = dlrun("train", *QUICK, "sweep=grid", "model.width=4,8", "optimizer.lr=0.1,0.2", *words)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "4 trials; minimize val/loss",
        "trial 0: model.width=4 optimizer.lr=0.1",
        "trial 1: model.width=4 optimizer.lr=0.2",
        "trial 2: model.width=8 optimizer.lr=0.1",
        "trial 3: model.width=8 optimizer.lr=0.2",
        "dry run: nothing was trained",
    ]
    assert files(project) == before


def test_a_dry_run_shows_what_the_sweep_then_tries(dlrun: Dlrun, look: Callable[..., Look]) -> None:
    words = ("train", *QUICK, "sweep=random", "sweep.trials=3", LR, "model.width=4,8")
    shown = [line for line in dlrun(*words, "--dry-run").out.splitlines() if line[:6] == "trial "]
    assert dlrun(*words, "hydra.sweep.dir=sweep").code == 0
    tried = [
        f"trial {number}: {' '.join(f'{key}={text}' for key, text in swept.items())}"
        for number, swept in enumerate(look().swept)
    ]
    assert shown == tried


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("command: [", "sweep/sweep.yaml is not valid YAML"),
        ("- a list", "sweep/sweep.yaml does not describe a sweep"),
        ("name: half of it", "sweep/sweep.yaml lacks the command or the settings of its sweep"),
    ],
)
def test_a_damaged_sweep_is_named(damage: str, message: str, refuse: Refuse, project: Path) -> None:
    (project / "sweep").mkdir()
    (project / "sweep" / "sweep.yaml").write_text(damage)
    assert message in refuse("resume", "sweep")
