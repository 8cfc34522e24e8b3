"""Classes that are balanced in training: whole runs, and what is refused."""

import pytest
import torch
from omegaconf import OmegaConf
from sklearn.datasets import load_breast_cancer

from dlrun.cli import main
from dlrun.config import compose, settings
from dlrun.errors import ConfigError
from dlrun.storage.run_directory import RunDirectory, read_metrics
from dlrun.training.build import assemble

QUICK = (
    "model=linear", "tracking.tensorboard=false", "trainer.num_threads=1", "trainer.accelerator=cpu",
    "trainer.eval_every_steps=2",
)  # fmt: skip


def built(*words):
    plain = OmegaConf.to_container(compose.compose(["name=x", *words]), resolve=True)
    del plain["sweep"]
    return assemble(settings.parse(plain))


@pytest.mark.parametrize("how", ["oversample", "undersample"])
@pytest.mark.parametrize("batch", ["16", "full"])
def test_an_epoch_has_as_many_rows_of_each_class_and_other_parts_stay(how, batch):
    words = ("dataset=breast_cancer", f"dataset.balance={how}", f"trainer.batch_size={batch}")
    made, usual = built(*words, "model=linear"), built(words[0], "model=linear")
    counts = usual.data.train.targets.long().bincount()
    each = int(counts.max() if how == "oversample" else counts.min())
    seen = torch.cat([targets for _, targets in made.engine.batches.epoch(0)])
    assert seen.long().bincount().tolist() == [each, each]
    assert made.engine.steps_per_epoch == (1 if batch == "full" else -(-2 * each // 16))
    for part in ("train", "val", "test"):
        assert torch.equal(made.data.split(part).targets, usual.data.split(part).targets)
    assert sum(map(len, (made.data.train, made.data.val, made.data.test))) == len(
        load_breast_cancer().target
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("dataset=diabetes", "but this is a regression problem: it is for one target of classes; set it to none"),
        ("dataset=csv dataset.target=[sex,smoker]", "but this is a multilabel problem"),
        ("dataset=iris trainer.shuffle=false", "but trainer.shuffle keeps the rows as they are"),
        ("dataset=iris trainer.overfit_batches=1", "but trainer.overfit_batches keeps the rows"),
        ("dataset=iris loss=focal loss.class_weights=balanced", "balance twice: set one of the two to none"),
    ],
)  # fmt: skip
def test_what_cannot_be_balanced_is_refused(words, message):
    with pytest.raises(ConfigError) as caught:
        built(*words.split(), "model=linear", "dataset.balance=oversample")
    assert message in str(caught.value)


def test_a_balanced_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("dataset=breast_cancer", "dataset.balance=undersample", *QUICK)
    steps = {"whole": 37, "parts": 21}  # 22 steps an epoch
    for name, count in steps.items():
        limits = (f"trainer.max_steps={count}", "trainer.max_epochs=null")
        assert main(["train", *words, *limits, f"hydra.run.dir={name}"]) == 0
    assert main(["resume", "parts", "trainer.max_steps=37"]) == 0
    losses = [
        [
            point["val/loss"]
            for point in read_metrics(RunDirectory(tmp_path / name))
            if "val/loss" in point
        ]
        for name in steps
    ]
    assert losses[0][-1] == losses[1][-1] and losses[0][:10] == losses[1][:10]
    assert main(["resume", "parts", "trainer.max_steps=40", "dataset.balance=none"]) == 2
