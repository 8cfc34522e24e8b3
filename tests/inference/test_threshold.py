"""The threshold of a decision: the best of all on the validation part, kept with the run, and used by what follows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from dlrun.cli import main
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.inference.threshold import Thresholds, choose, gain_of

BINARY = Spec("binary", "features", (2,), 1, class_names=("no", "yes"))
PAIR = Spec(
    "multilabel", "features", (2,), 2, target_names=("x", "y"), labels=("no", "yes", "no", "yes")
)
RANDOM = np.random.default_rng(1)
ANSWERS = (RANDOM.random(90) < 0.25).astype(float)
SCORES = RANDOM.normal(ANSWERS - 1, 1.0).round(1)  # with ties


def youden(answers, decided):
    (true_no, false_yes), (false_no, true_yes) = confusion_matrix(answers, decided)
    return true_yes / (true_yes + false_no) - false_yes / (true_no + false_yes)


def cost(answers, decided):
    (_, false_yes), (false_no, _) = confusion_matrix(answers, decided)
    return -(5 * false_no + false_yes)


@pytest.mark.parametrize(
    ("rule", "measure"),
    [("f1", f1_score), ("accuracy", accuracy_score), ("youden", youden), ("cost=5", cost)],
)
def test_no_other_threshold_is_better(rule, measure):
    scores, answers = torch.tensor(SCORES).unsqueeze(1), torch.tensor(ANSWERS)
    values = choose(rule, scores, answers, BINARY)
    decided = Thresholds(rule, values, "best", 1).decisions(scores).squeeze(1) > 0
    others = [measure(ANSWERS, cut < SCORES) for cut in np.concatenate(([-9.0], np.unique(SCORES)))]
    assert measure(ANSWERS, decided.numpy()) == pytest.approx(max(others))


def test_what_a_threshold_of_a_half_does_best_keeps_it():
    scores, answers = torch.tensor([[-2.0], [-1.0], [1.0], [3.0]]), torch.tensor([0.0, 0, 1, 1])
    assert choose("f1", scores, answers, BINARY) == (0.5,)


def test_each_target_has_its_own():
    scores = torch.tensor([[-3.0, 0.0], [-2.0, 1.0], [-1.0, 2.0], [0.0, 3.0]])
    answers = torch.tensor([[0.0, 0], [1, 0], [1, 0], [1, 1]])
    values = choose("f1", scores, answers, PAIR)
    decided = Thresholds("f1", values, "best", 1).decisions(scores) > 0
    assert torch.equal(decided, answers > 0.5)
    assert choose("0.3", scores, answers, PAIR) == (0.3, 0.3)


def test_a_part_without_one_of_the_classes_is_refused():
    with pytest.raises(ConfigError, match="no sample of yes"):
        choose("f1", torch.zeros(3, 1), torch.zeros(3), BINARY)


@pytest.mark.parametrize("rule", ["f2", "cost", "cost=0", "cost=nan", "1.5", "0", "", "f1=2"])
def test_other_rules_are_refused(rule):
    with pytest.raises(ConfigError, match="must be f1, youden"):
        gain_of(rule)


def test_it_is_kept_and_used_until_it_is_removed_or_other_weights_come(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    def dlrun(*words, code=0):
        capsys.readouterr()
        assert main([*words]) == code
        return capsys.readouterr()

    def evaluated(*words):
        return json.loads(dlrun("eval", "run", "--json", *words).out)

    words = ("dataset=breast_cancer", "model=logistic", "trainer.max_epochs=2")
    dlrun("train", *words, "hydra.run.dir=run", "tracking.tensorboard=false")
    before = evaluated()
    chosen = evaluated("--threshold", "0.9")
    assert chosen["metrics"]["test/recall"] < before["metrics"]["test/recall"]
    for name in ("loss", "roc_auc"):
        assert chosen["metrics"][f"test/{name}"] == before["metrics"][f"test/{name}"]
    assert chosen["at_0.5"] == {name: before["metrics"][name] for name in chosen["at_0.5"]}
    assert evaluated() == chosen

    np.save("rows.npy", RANDOM.normal(0, 1, (40, 30)) * 30 + 60)
    dlrun("predict", "run", "rows.npy", "--output", "rows.json")
    rows = json.loads(Path("rows.json").read_text())
    benign = np.array([row["probabilities"]["benign"] for row in rows])
    assert [row["prediction"] == "benign" for row in rows] == (benign > 0.9).tolist()

    assert "choose it anew" in dlrun("eval", "run", "checkpoint=last", code=2).err
    Path("run/threshold.json").write_text('{"rule": "f1", "values": [7]}')
    assert "holds no thresholds" in dlrun("predict", "run", "rows.npy", code=2).err
    assert evaluated("--threshold", "none") == before


def test_it_is_for_two_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ("dataset=iris", "model=logistic", "trainer.max_epochs=1")
    assert main(["train", *words, "hydra.run.dir=run", "tracking.tensorboard=false"]) == 0
    assert main(["eval", "run", "--threshold", "f1"]) == 2
    assert "the run has 3 classes: it is for two classes" in capsys.readouterr().err
