"""mlp and tabm beside gradient-boosted trees on tables: errors on the test part, over several seeds or folds.

The networks have the same optimizer, schedule, batches and number of epochs, and are tested with the weights of
their best epoch. scikit-learn's HistGradientBoosting has the same training part, with its own settings but for more
rounds, of which the validation part chooses the best number. One thread of the CPU each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from dlrun.config import compose, settings
from dlrun.data.base import Dataset
from dlrun.data.loaders import Split
from dlrun.sweep.data_cache import data_loader
from dlrun.system.signals import StopRequest
from dlrun.training.build import Experiment, assemble

ROUNDS = 300  # of boosting, at most
Scores = dict[str, float]


@dataclass(frozen=True)
class Case:
    """A table, and what the networks are trained by.

    Attributes:
        seeds: each with a split of its own, or the folds of one.
    """

    words: str
    seeds: int
    root: bool = False  # whether its files are in DLRUN_DATA

    @property
    def folds(self) -> bool:
        return "folds" in self.words


SMALL = "optimizer=adam schedule=one_cycle optimizer.lr=0.003 trainer.max_epochs=40 trainer.batch_size=32"
LARGE = "optimizer=adam schedule=one_cycle optimizer.lr=0.003 trainer.max_epochs=10 trainer.batch_size=256"
FOLDS = "dataset.folds={0} dataset.fold=${{seed}} dataset.split_seed=0 dataset.test_fraction=null"
CASES = {
    "breast_cancer": Case(f"dataset=breast_cancer {SMALL}", 5),
    "diabetes": Case(f"dataset=diabetes {SMALL}", 5),
    "tips": Case(f"dataset=csv {SMALL}", 5),
    "wine": Case(f"dataset=wine {SMALL}", 5),
    "pima": Case(f"dataset=pima {FOLDS.format(10)} {SMALL}", 10, root=True),
    "boston": Case(f"dataset=boston {SMALL}", 5, root=True),
    "wine_quality": Case(f"dataset=wine_quality {FOLDS.format(5)} {SMALL}", 5, root=True),
    "census": Case(f"dataset=census {LARGE}", 3, root=True),
}
ALONE = "name=x trainer.num_threads=1 trainer.accelerator=cpu"
NETWORKS = {"mlp": "model=mlp", "tabm": "model=tabm"}


def main() -> None:
    """Run the cases named on the command line, or all whose data is there."""
    parser = argparse.ArgumentParser("scripts/bench tables", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="TABLE", help=f"of {', '.join(CASES)}")
    names = parser.parse_args().cases or [
        name for name, case in CASES.items() if not case.root or "DLRUN_DATA" in os.environ
    ]
    print(f"torch {torch.__version__}, 1 thread")
    print(f"{'table':<14} {'metric':<9} {'mlp':>17} {'tabm':>17} {'trees':>17}   seconds each")
    for name in names:
        compare(name, CASES[name])


def compare(name: str, case: Case) -> None:
    """Print the rows of one table."""
    found: dict[str, list[Scores]] = {way: [] for way in (*NETWORKS, "trees")}
    for seed in range(case.seeds):
        for way, words in NETWORKS.items():
            experiment = built(f"{case.words} {words} seed={seed} {ALONE}")
            found[way].append(timed(lambda experiment=experiment: of_network(experiment)))
        data, task = experiment.data, experiment.task.name
        found["trees"].append(timed(lambda data=data, task=task: of_trees(data, task)))
    for metric in found["mlp"][0]:
        if metric != "seconds":
            cells = [spread([scores[metric] for scores in found[way]]) for way in found]
            print(f"{name:<14} {metric:<9} {' '.join(f'{cell:>17}' for cell in cells)}", end="")
            seconds = [statistics.mean(s["seconds"] for s in found[way]) for way in found]
            print("   " + " ".join(f"{value:.1f}" for value in seconds), flush=True)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def timed(work: Callable[[], Scores]) -> Scores:
    """What `work` gives, with the processor time that it took."""
    started = time.process_time()
    return {**work(), "seconds": time.process_time() - started}


def built(words: str) -> Experiment:
    """What the command line `words` would train."""
    plain: Any = OmegaConf.to_container(compose.compose(words.split()), resolve=True)
    del plain["sweep"]  # no setting of a run
    return assemble(settings.parse(plain), load=data_loader)


class Unseen:
    """An observer that looks away."""

    def stepped(self, steps: int) -> None: ...
    def logged(self, step: int, values: Scores) -> None: ...
    def evaluated(self, values: Scores) -> None: ...


def of_network(experiment: Experiment) -> Scores:
    """Train, and test with the weights of the best epoch."""
    engine, test = experiment.engine, experiment.data.test
    with StopRequest() as stop:
        engine.fit(save=lambda: None, observer=Unseen(), stop=stop)
    engine.restore_best()
    metrics = experiment.task.metrics(engine.outputs(test), test.targets)
    names = ("rmse", "mae") if experiment.task.name == "regression" else ("accuracy", "loss")
    return {name: metrics[name] for name in names}


def of_trees(data: Dataset, task: str) -> Scores:
    """Boost, and test with the number of rounds that is best on the validation part."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    spec = data.spec
    first = spec.num_features - len(spec.categories)
    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    trees = kind(
        max_iter=ROUNDS, early_stopping=False, categorical_features=[*range(first, spec.num_features)],
        random_state=0,
    )  # fmt: skip
    trees.fit(data.train.inputs.numpy(), data.train.targets.numpy().ravel())
    scale = data.preprocessing.target_std[0] if task == "regression" else 1.0
    losses = [next(iter(s.values())) for s in staged(trees, data.val, scale, "loss")]
    best = int(np.argmin(losses))
    return list(staged(trees, data.test, scale, "all"))[best]


def staged(trees: Any, part: Split, scale: float, what: str) -> list[Scores]:
    """What the trees reach after each round: of classes accuracy and loss, of numbers rmse and mae."""
    inputs, targets = part.inputs.numpy(), part.targets.numpy().ravel()
    if not hasattr(trees, "classes_"):
        errors = [(found - targets) * scale for found in trees.staged_predict(inputs)]
        return [{"rmse": float((e**2).mean() ** 0.5), "mae": float(abs(e).mean())} for e in errors]
    rows, classes = np.arange(len(targets)), targets.astype(int)
    found = list(trees.staged_predict_proba(inputs))
    scores = [
        {
            "loss": float(-np.log(chances[rows, classes].clip(1e-12)).mean()),
            "accuracy": float((chances.argmax(1) == classes).mean()),
        }
        for chances in found
    ]
    return scores


if __name__ == "__main__":
    main()
