"""Runs of 1, 2 and 4 processes in float64: the same losses and metrics, whatever the data and the settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from side_by_side import PROCESSES, run

from dlrun.config.compose import compose
from dlrun.runner.start import with_absolute_paths

pytestmark = pytest.mark.cluster

ALWAYS = (
    "trainer.precision=fp64", "trainer.accelerator=cpu", "trainer.max_epochs=2", "trainer.batch_size=16",
    "trainer.log_every_steps=3", "tracking.tensorboard=false", "name=case",
)  # fmt: skip
IRIS = ("dataset=iris", "model=mlp", "model.hidden=[8]")  # 96 rows to train on
TABLE = ("dataset=table", "dataset.path=table.csv", "dataset.target=y", *IRIS[1:])
IMAGES = (
    "dataset=image_folder", "dataset.path=images", "dataset.workers=0", "model=cnn", "model.filters=[4]",
    "model.dense=[8]", "trainer.batch_size=6",
)  # fmt: skip
TEXTS = (
    "dataset=text_csv", "dataset.path=texts.csv", "dataset.text=text", "dataset.label=label",
)  # fmt: skip
TEXT_CNN = (
    *TEXTS,
    "model=text_cnn",
    "model.embedding_size=5",
    "model.filters=4",
    "model.dropout=0.0",
)
TEXT = (
    "dataset=char_lm", "dataset.path=text.txt", "dataset.window=9", "model=char_lstm",
    "model.hidden_size=8", "model.dropout=0.0", "trainer.batch_size=5",
)  # fmt: skip
SERIES = (
    "dataset=airline", "model=lstm", "model.hidden_size=6", "trainer.batch_size=10",
)  # fmt: skip
SERIES_OF_SHOPS = (
    "dataset=series", "dataset.path=shops.csv", "dataset.series=shop", "dataset.time=t", "dataset.target=y",
    "dataset.window=4", "dataset.horizon=2", *SERIES[1:],
)  # fmt: skip
FROM_CACHE = "dataset.memory_limit=1e-9"

CASES: dict[str, tuple[str, ...]] = {
    # Data.
    "classes of a table": IRIS,
    "two classes": (*TABLE,),
    "numbers": ("dataset=diabetes", *IRIS[1:], "trainer.batch_size=90"),
    "several numbers": (*TABLE, "dataset.target=[a,b]"),
    "yes and no of several targets": (*TABLE, "dataset.target=[y,z]"),
    "a table in the cache": (*TABLE, FROM_CACHE),
    "inputs to give again": ("dataset=iris", "model=autoencoder", "model.latent=2", "model.hidden=[6]"),
    "images in memory": (*IMAGES, "dataset.in_memory=true"),
    "images in files": (*IMAGES, "dataset.in_memory=false"),
    "images in the cache": (*IMAGES, FROM_CACHE),
    "images in channels_last": (*IMAGES, "trainer.channels_last=true"),
    "images to give again": (*IMAGES[:3], "model=autoencoder", "model.filters=[4]", "model.hidden=[6]"),
    "texts": TEXT_CNN,
    "texts of one length": (*TEXT_CNN, "dataset.tokens.bucketing=false"),
    "texts in the cache": (*TEXT_CNN, FROM_CACHE),
    "texts read by steps": (*TEXTS, "model=gru", "model.hidden_size=5", "model.embedding_size=4"),
    "texts read by attention": (
        *TEXTS, "model=transformer", "model.width=8", "model.heads=2", "model.dropout=0.0",
    ),
    "characters": TEXT,
    "characters in the cache": (*TEXT, FROM_CACHE),
    "characters in order": (*TEXT, "trainer.shuffle=false"),
    "characters read by attention": (
        *TEXT[:3], "model=gpt", "model.width=8", "model.layers=1", "model.heads=2", "model.context=12",
        "model.dropout=0.0", "trainer.batch_size=5",
    ),
    "a series": SERIES,
    "quantiles of a series": (*SERIES, "loss=quantile"),
    "several series": SERIES_OF_SHOPS,
    # Settings.
    "rows in order": (*IRIS, "trainer.shuffle=false"),
    "a last batch of three": (*IRIS, "trainer.batch_size=31"),
    "a last batch that is left out": (*IRIS, "trainer.batch_size=20", "trainer.drop_last=true"),
    "all rows in a batch": (*IRIS, "trainer.batch_size=full", "trainer.max_epochs=4"),
    "sums": (*IRIS, "loss.reduction=sum", "optimizer=sgd", "optimizer.lr=0.01"),
    "sums in parts": (
        *IRIS, "loss.reduction=sum", "trainer.accumulate=3", "optimizer=sgd", "optimizer.lr=0.01",
    ),
    "batches in parts": (*IRIS, "trainer.accumulate=3", "trainer.batch_size=22"),
    "more parts than a process has rows": (*IRIS, "trainer.accumulate=7", "trainer.batch_size=8"),
    "class weights": (*TABLE, "loss=cross_entropy", "dataset.target=c", "loss.class_weights=balanced"),
    "class weights of several targets": (
        *TABLE, "dataset.target=[y,z]", "loss=binary_cross_entropy", "loss.positive_weight=balanced",
    ),
    "counts": (*TABLE, "dataset.target=n", "loss=poisson"),
    "categories": (*TABLE[:3], "model=wide_deep", "model.hidden=[6]"),
    "batch norm over all processes": (
        *IRIS, "model.batch_norm=before", "trainer.sync_batch_norm=true", "trainer.batch_size=31",
    ),
    "label smoothing": (*IRIS, "loss.label_smoothing=0.1"),
    "focal": (*IRIS, "loss=focal"),
    "oversampling": (*TABLE, "dataset.target=c", "dataset.balance=oversample"),
    "undersampling": (*TABLE, "dataset.target=c", "dataset.balance=undersample"),
    "clipping": (*IRIS, "optimizer=momentum", "optimizer.clip_norm=0.05"),
    "clipped values and penalties": (
        *IRIS, "optimizer=sgd", "optimizer.clip_value=0.01", "optimizer.l1=0.01", "optimizer.weight_decay=0.1",
    ),
    "a running average": (*IRIS, "trainer.ema_decay=0.9"),
    "an averaging optimizer": (*IRIS, "optimizer=schedule_free"),
    "orthogonal steps": (*IRIS, "optimizer=muon"),
    "plateau": (
        *IRIS, "schedule=plateau", "schedule.patience=1", "optimizer=sgd", "optimizer.lr=3.0",
        "trainer.eval_every_steps=1",
    ),
    "early stopping": (
        *IRIS, "optimizer=sgd", "optimizer.lr=3.0", "trainer.eval_every_steps=1",
        "trainer.early_stopping.patience=2",
    ),
    "the training loss decides": (
        *IRIS, "dataset.val_fraction=0.0", "trainer.monitor=train/loss", "trainer.early_stopping.patience=1",
        "optimizer=sgd", "optimizer.lr=3.0",
    ),
    "metrics that were chosen": (*TABLE, "metrics=[macro_f1,mcc,log_loss]", "trainer.monitor=val/macro_f1"),
    "a layer that is released later": (*IRIS, "model.freeze={0.*: 1}", "trainer.max_epochs=3"),
    "members with a loss each": (
        *TABLE[:3], "model=tabm", "model.members=3", "model.hidden=[6]", "model.pieces=0",
    ),
    "a few batches": (*IRIS, "trainer.overfit_batches=2"),
    "fewer rows than processes in a part": (*IRIS, "dataset.val_fraction=0.02", "trainer.eval_batch_size=2"),
}  # fmt: skip


def write_data(folder: Path) -> None:
    """A table, texts, a long text, images and several series, all small and random."""
    rng = np.random.default_rng(0)
    lines = ["a,b,c,y,z,n"]
    for row in range(130):
        a, b = rng.normal(size=2)
        c = "uvw"[int(row % 5 == 0) + int(row % 11 == 0)]
        lines.append(
            f"{a:.3f},{b:.3f},{c},{'no' if a < b else 'yes'},{'no' if a < 0 else 'yes'},{row % 7}"
        )
    (folder / "table.csv").write_text("\n".join(lines))
    words = [f"w{number}" for number in range(20)]
    texts = [" ".join(rng.choice(words, rng.integers(3, 12))) for _ in range(90)]
    rows = [f"{text},{'even' if len(text) % 2 else 'odd'}" for text in texts]
    (folder / "texts.csv").write_text("\n".join(["text,label", *rows]))
    (folder / "text.txt").write_text("".join(rng.choice([*"abcdef \n"], 700)))
    for name in "ab":
        (folder / "images" / name).mkdir(parents=True)
        for number in range(18):
            pixels = rng.integers(0, 256, (6, 6), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    shops = [f"{shop},{t},{rng.normal():.3f}" for shop in "AB" for t in range(40)]
    (folder / "shops.csv").write_text("\n".join(["shop,t,y", *shops]))


def config(words: tuple[str, ...]) -> Mapping[str, Any]:
    plain: Any = OmegaConf.to_container(compose([*ALWAYS, *words]), resolve=True)
    del plain["sweep"]  # no part of a run
    return with_absolute_paths(plain)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What 1, 2 and 4 processes say to each case."""
    folder = tmp_path_factory.mktemp("ranks")
    write_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cases = {name: config(words) for name, words in CASES.items()}
    (folder / "cases.json").write_text(json.dumps(cases))
    run("ranks_of_cases.py", folder)
    compilers = [(folder / f"compilers-{number}").read_text() for number in range(PROCESSES)]
    assert not any(compilers), "torch imported one: mend dlrun/system/torch_internals.py"
    return {size: read(folder, size) for size in (1, 2, 4)}


def read(folder: Path, size: int) -> dict[str, Any]:
    files = folder.glob(f"answers-{size}-*.json")
    return {name: said for file in files for name, said in json.loads(file.read_text()).items()}


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two answers are further apart than rounding."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [d for key in one for d in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [d for at, pair in pairs for d in differences(*pair, f"{where}/{at}")]
    if isinstance(one, float) and isinstance(other, float):
        near = math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
        return (
            [] if near or (math.isnan(one) and math.isnan(other)) else [f"{where}: {one} {other}"]
        )
    return [] if one == other else [f"{where}: {one} {other}"]


@pytest.mark.parametrize("case", CASES)
def test_several_processes_answer_as_one(case: str, answers: dict[int, dict[str, Any]]) -> None:
    alone = answers[1][case]
    assert "refused" not in alone, alone
    assert len(alone["points"]) > 1
    for size in (2, 4):
        several = answers[size][case]
        assert "refused" not in several, several
        assert several.pop("apart") == 0, f"the weights of {size} processes"
        assert not differences(alone | {"apart": 0}, several | {"apart": 0})[:5]


def test_what_the_cases_are_to_show_comes_up(answers: dict[int, dict[str, Any]]) -> None:
    alone = answers[1]
    assert alone["early stopping"]["steps"] < 12
    assert len({point["lr"] for point in alone["plateau"]["points"]}) > 2
