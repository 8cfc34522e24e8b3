"""The probability from which a sample counts as the second of two classes: chosen on the validation part of a run.

It is kept with the run and belongs to one checkpoint: other weights give other probabilities.
Shapes: N samples, D questions of yes and no (one of a binary task, one for each target of multilabel).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dlrun.data.base import Spec
from dlrun.errors import ConfigError, command, note
from dlrun.inference.load import Trained
from dlrun.storage.run_directory import RunDirectory, write_whole
from dlrun.training.tasks import TASKS

FORMS = "f1, youden, accuracy, cost=NUMBER, a probability between 0 and 1, or none"

# What a rule makes as large as possible, from how many of P positives and N negatives are above a threshold.
Gain = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
_RULES: dict[str, Gain] = {
    "f1": lambda hits, alarms, p, n: 2 * hits / (hits + alarms + p),
    "youden": lambda hits, alarms, p, n: hits / p - alarms / n,  # Youden (1950)
    "accuracy": lambda hits, alarms, p, n: hits - alarms,
}


@dataclass(frozen=True)
class Thresholds:
    """What a run decides by.

    Attributes:
        rule: as it was asked for.
        values: D probabilities.
        checkpoint, step: of the weights that they belong to.
    """

    rule: str
    values: tuple[float, ...]
    checkpoint: str
    step: int

    def described(self, spec: Spec) -> str:
        """In words, for a person."""
        kept = f"({self.rule} on the validation part, as kept in threshold.json)"
        if spec.task == "reconstruction":
            return f"takes an input for an anomaly from a score of {self.values[0]:.4g} on {kept}"
        names = spec.target_names or (spec.classes[0][1],)
        pairs = zip(names, self.values, strict=True)
        each = ", ".join(
            f"for {name} from a probability of {value:.3g} on" for name, value in pairs
        )
        return f"decides {each} {kept}"

    def decisions(self, outputs: Tensor) -> Tensor:
        """Raw scores (N, D), moved so that 0 is the threshold: what is above it is yes."""
        return outputs - torch.logit(outputs.new_tensor(self.values, dtype=torch.float64)).to(
            outputs
        )


def gain_of(rule: str) -> Gain | float:
    """What `rule` makes as large as possible, or the threshold that it names.

    Raises:
        ConfigError: it is no rule.
    """
    if rule in _RULES:
        return _RULES[rule]
    name, value = _parsed(rule)
    if name == "cost" and 0 < value < math.inf:
        return lambda hits, alarms, p, n: -(value * (p - hits) + alarms)
    if not name and 0 < value < 1:
        return value
    raise ConfigError(
        f"--threshold is {rule}, but must be {FORMS}; cost=5 says that to miss a sample of the second class "
        "costs five times as much as a false alarm"
    )


def _parsed(rule: str) -> tuple[str, float]:
    """A name, or none, and a number, or nan."""
    name, _, number = rule.rpartition("=")
    try:
        return name, float(number)
    except ValueError:
        return name, math.nan


def check_rule(rule: str, spec: Spec) -> None:
    """Refuse a rule that does not fit what a model was made for.

    Raises:
        ConfigError: there is no such rule, or nothing to decide.
    """
    if spec.task == "reconstruction":
        anomaly_threshold(rule, torch.zeros(1))
    elif spec.task in ("binary", "multilabel"):
        gain_of(rule)
    else:
        raise ConfigError(
            f"--threshold is {rule}, but the run has {TASKS[spec.task].asked(spec)}: it is for two classes, several "
            "targets of yes and no, or anomaly scores; leave it out"
        )


def anomaly_threshold(rule: str, scores: Tensor) -> float:
    """The score that `rule` names, or which as large a share of `scores` (N,) does not surpass.

    Raises:
        ConfigError: it is no rule.
    """
    name, value = _parsed(rule)
    if name == "quantile" and 0 < value < 1:
        return float(np.quantile(scores.double().numpy(), value))
    if not name and -math.inf < value < math.inf:
        return value
    raise ConfigError(
        f"--threshold is {rule}, but must be quantile=0.99, the share of the validation part below it, a score, or none"
    )


def choose(rule: str, outputs: Tensor, targets: Tensor, spec: Spec) -> tuple[float, ...]:
    """The thresholds (D,) that are best by `rule` for raw scores (N, D) and targets 0 and 1 (N,) or (N, D).

    Raises:
        ConfigError: a class has no sample.
    """
    gain = gain_of(rule)
    if not callable(gain):
        return (gain,) * outputs.shape[1]
    chances = torch.sigmoid(outputs.double()).numpy()
    answers = targets.reshape(chances.shape).numpy() > 0.5
    found = []
    for at, labels in enumerate(spec.classes):
        positives = int(answers[:, at].sum())
        if positives in (0, len(answers)):
            lacking = labels[0] if positives else labels[1]
            raise ConfigError(
                f"--threshold is {rule}, but the validation part has no sample of {lacking}: set a number, as in "
                "--threshold 0.3"
            )
        found.append(_best(chances[:, at], answers[:, at], gain))
    return tuple(found)


def _best(chances_N: np.ndarray, answers_N: np.ndarray, gain: Gain) -> float:
    """The threshold with the largest gain, half way between two probabilities; of several the one next to 0.5."""
    order = np.argsort(-chances_N)
    sorted_chances = np.concatenate(([1.0], chances_N[order], [0.0]))
    hits = np.concatenate(([0], np.cumsum(answers_N[order])))
    alarms = np.arange(len(hits)) - hits
    upper, lower = sorted_chances[:-1], sorted_chances[1:]
    middle = np.where((lower < 0.5) & (upper > 0.5), 0.5, (lower + upper) / 2)
    # Between equal probabilities there is no threshold, nor at 0 and 1.
    possible = (lower < middle) & (middle < upper)
    positives = int(hits[-1])
    gains = gain(hits[possible], alarms[possible], positives, int(alarms[-1]))
    best = middle[possible][gains >= gains.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def keep(run: RunDirectory, thresholds: Thresholds | None) -> None:
    """Keep them with the run; None forgets them."""
    if thresholds is None:
        run.threshold_file.unlink(missing_ok=True)
    else:
        write_whole(run.threshold_file, json.dumps(asdict(thresholds)) + "\n")


def with_kept(trained: Trained, run: RunDirectory) -> Trained:
    """The model with the thresholds that are kept with its run.

    Raises:
        ConfigError: the file is damaged, or they belong to other weights.
    """
    facts = run.read_threshold()
    if facts is None:
        return trained
    reconstructs = trained.spec.task == "reconstruction"
    anew = command("eval", run.path, "--threshold", "quantile=0.99" if reconstructs else "f1")
    remedy = f"choose it anew with `{anew}`, or remove it with --threshold none"
    try:
        values = tuple(float(value) for value in facts["values"])
        found = Thresholds(str(facts["rule"]), values, str(facts["checkpoint"]), int(facts["step"]))
        (low, high), count = (0.0, 1.0), len(trained.spec.classes)
        if reconstructs:
            (low, high), count = (-math.inf, math.inf), 1
        if len(values) != count or not all(low < value < high for value in values):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{run.threshold_file} holds no thresholds: {remedy}") from error
    if (found.checkpoint, found.step) != (trained.which, trained.step):
        raise ConfigError(
            f"{run.threshold_file} belongs to the {found.checkpoint} weights of step {found.step}, but these are the "
            f"{trained.which} weights of step {trained.step}: {remedy}"
        )
    note(f"{run.path}: {found.described(trained.spec)}")
    return replace(trained, thresholds=found)
