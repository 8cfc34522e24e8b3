"""Exported models give the same outputs, also where nothing but numpy and onnxruntime reads them."""

from __future__ import annotations

import json
import re
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from dlrun.cli import main
from dlrun.config.instantiate import component
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.kinds import read_inputs
from dlrun.data.text.encoding import TextEncoding
from dlrun.errors import RunFailed
from dlrun.inference.export import Exported, Format, description, export
from dlrun.inference.load import Trained
from dlrun.models.cnn import CNN
from dlrun.models.language import RecurrentLanguageModel

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
IMAGES = Spec("multiclass", "image", (1, 6, 6), 3, ("a", "b", "c"))
TEXTS = Spec("multiclass", "tokens", (6,), 3, ("a", "b", "c"), vocabulary=11)
LANGUAGE = Spec("language", "tokens", (16,), 9, vocabulary=9)
Capture = pytest.CaptureFixture[str]


@pytest.fixture(params=["torch_export", pytest.param("onnx", marks=pytest.mark.slow)])
def how(request: pytest.FixtureRequest) -> Format:
    if request.param == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(package)
    return request.param  # type: ignore[no-any-return]


def trained(model: nn.Module, spec: Spec) -> Trained:
    scaling = Scaling([[[100.0]]], [[[50.0]]], [], [], 255.0)
    return Trained(model.eval(), spec, scaling, epoch=1, step=1)


def small_cnn() -> CNN:
    torch.manual_seed(0)
    knobs: Any = {
        "filters": [4], "kernel": 3, "stride": 1, "padding": "same", "pool": "max", "pool_size": 2,
        "batch_norm": True, "dropout": 0.5, "dense": [5], "dense_dropout": 0.5, "activation": "relu",
        "negative_slope": 0.01, "init": "default",
    }  # fmt: skip
    return CNN(IMAGES, **knobs)


def model_of(name: str, spec: Spec, **settings: Any) -> nn.Module:
    """The model of configs/model/<name>.yaml with these settings."""
    node = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    model: nn.Module = component("model", node | settings, given=("spec",))(spec)
    return model


class Bag(nn.Module):
    """The mean of word vectors, padding left out."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors, self.head = nn.Embedding(11, 4), nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        real = (ids != 0).unsqueeze(2)
        return self.head((self.vectors(ids) * real).sum(1) / real.sum(1).clamp(min=1))


def test_an_image_model_takes_any_batch(how: Format, tmp_path: Path) -> None:
    batches = [torch.randn(size, 1, 6, 6) for size in (1, 4)]
    found = export(trained(small_cnn(), IMAGES), tmp_path / "m", how=how, samples=batches)
    assert found.inputs == {"inputs": ["batch", 1, 6, 6]}
    assert found.outputs == {"scores": ["batch", 3]}
    assert found.batch_sizes == [1, 4]
    assert found.largest_difference < 1e-5


@pytest.mark.slow
def test_a_text_model_takes_any_length(how: Format, tmp_path: Path) -> None:
    batches = [torch.tensor([[3, 4, 0]]), torch.randint(1, 11, (4, 6))]
    found = export(trained(Bag(), TEXTS), tmp_path / "m", how=how, samples=batches)
    assert found.inputs == {"inputs": ["batch", "length"]}


@pytest.mark.parametrize("cell", ["lstm", pytest.param("gru", marks=pytest.mark.slow)])
def test_a_language_model_hands_its_state_on(cell: Any, tmp_path: Path) -> None:
    model = RecurrentLanguageModel(
        LANGUAGE, cell=cell, embedding_size=4, hidden_size=5, layers=1, input_dropout=0.0,
        dropout=0.0, tied=False, layer_norm="none", residual=False, forget_bias=0.0, init="default",
    )  # fmt: skip
    path = tmp_path / "m.pt2"
    batches = [torch.randint(0, 9, (size, 8)) for size in (1, 2)]
    found = export(trained(model, LANGUAGE), path, how="torch_export", samples=batches)
    states = [f"state_{number}" for number in range(2 if cell == "lstm" else 1)]
    assert found.inputs == {"inputs": ["batch", 1]} | {name: [1, "batch", 5] for name in states}
    assert list(found.outputs) == ["scores", *(f"new_{name}" for name in states)]
    run = torch.export.load(path).module()
    text, state = torch.tensor([[1, 2, 3]]), [torch.zeros(1, 1, 5) for _ in states]
    for token in text.split(1, dim=1):
        scores, state = run(token, state)
    with torch.no_grad():
        whole, _ = model(text)
    torch.testing.assert_close(scores, whole[:, -1:])


@pytest.mark.parametrize("name", ["transformer", pytest.param("tcn", marks=pytest.mark.slow)])
def test_a_model_that_masks_padding_takes_any_length(name: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"channels": 4, "layers": 1}
    if name == "transformer":
        settings = {"width": 8, "heads": 2, "layers": 1, "pooling": "cls"}
    model = model_of(name, TEXTS, **settings)
    batches = [torch.tensor([[3, 4, 0]]), torch.randint(1, 11, (4, 6))]
    found = export(trained(model, TEXTS), tmp_path / "m", how="torch_export", samples=batches)
    assert found.inputs == {"inputs": ["batch", "length"]}


def test_a_memory_of_keys_and_values_begins_with_zeros_in_any_batch(tmp_path: Path) -> None:
    model = model_of("gpt", LANGUAGE, width=8, heads=2, layers=1, context=3)
    path, text = tmp_path / "m.pt2", torch.randint(0, 9, (2, 8))
    found = export(trained(model, LANGUAGE), path, how="torch_export", samples=[text, text[:1]])
    memory: Any = {f"state_{number}": ["batch", 2, 3, 4] for number in (1, 2)}
    assert found.inputs == {"inputs": ["batch", 1], "state_0": [1]} | memory
    run = torch.export.load(path).module()
    state = [torch.zeros(1), torch.zeros(2, 2, 3, 4), torch.zeros(2, 2, 3, 4)]
    for token in text.split(1, dim=1):
        scores, state = run(token, state)
    with torch.no_grad():
        torch.testing.assert_close(scores, model.eval()(text)[0][:, -1:])


def test_a_full_disk_is_no_fault_of_the_model(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    model, spec = nn.Linear(2, 1), Spec("regression", "features", (2,), 1)
    try:
        with pytest.raises(OSError, match="File too large"):
            export(
                trained(model, spec), tmp_path / "m", how="torch_export", samples=[torch.ones(1, 2)]
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "m").exists()


def test_another_answer_is_a_failure_that_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded_wrongly(model: Any, *_: Any) -> Any:
        return lambda tensors: [tensor + 0.01 for tensor in model(tensors)]

    monkeypatch.setattr("dlrun.inference.export._loaded", loaded_wrongly)
    path = tmp_path / "m.pt2"
    with pytest.raises(RunFailed, match=r"other outputs than the run's, by 0\.01"):
        export(
            trained(small_cnn(), IMAGES), path, how="torch_export", samples=[torch.ones(2, 1, 6, 6)]
        )
    assert not path.exists()


class Undecided(nn.Module):
    """What it does depends on its input's values."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1)) if float(x.sum()) > 0 else x.flatten(1)[:, :3]


def test_a_model_that_torch_cannot_export_fails_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="torch cannot export this model") as failure:
        export(
            trained(Undecided(), IMAGES),
            tmp_path / "m.pt2",
            how="torch_export",
            samples=[torch.ones(2, 1, 6, 6)],
        )
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "m.pt2").exists()


def test_the_description_is_plain_and_names_what_a_reader_needs(tmp_path: Path) -> None:
    model = trained(small_cnn(), IMAGES)
    found = export(model, tmp_path / "m", how="torch_export", samples=[torch.ones(2, 1, 6, 6)])
    facts = json.loads(json.dumps(description(model, found)))
    assert facts["class_names"] == ["a", "b", "c"]
    assert facts["preprocessing"]["mean"] == [[[100.0]]]
    assert facts["inputs"] == [{"name": "inputs", "type": "float32", "shape": ["batch", 1, 6, 6]}]
    assert "softmax" in facts["reading"]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_an_image_file_becomes_what_the_description_says(
    channels: int, mode: str, tmp_path: Path
) -> None:
    """Done again by what it says, on a picture of other sides and colours that lies on its side."""
    spec = replace(IMAGES, input_shape=(channels, 5, 6))
    model = replace(trained(nn.Identity(), spec), spec=spec)
    about = description(model, Exported({}, {}, 0.0, []))
    steps = about["preprocessing"]["image_files"]
    assert (steps["mode"], steps["size"]) == (mode, {"height": 5, "width": 6})
    assert all(word in about["preparing"] for word in ("channels first", "pixel_max / 255"))
    assert "lanczos" in steps["resize"] and "upright as Exif" in steps["orientation"]

    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 4), np.uint8)
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=sideways)
    upright = Image.fromarray(np.rot90(pixels, -1).copy())
    assert steps["transparency"] == "laid on white"
    white = Image.new("RGBA", upright.size, "white")
    upright = Image.alpha_composite(white, upright).convert(mode)
    expected = np.asarray(upright.resize((6, 5), Image.Resampling.LANCZOS), np.float32)
    scaling = model.preprocessing
    assert isinstance(scaling, Scaling)
    found = read_inputs(path, spec, replace(scaling, pixel_max=16.0))
    rows = expected.reshape(5, 6, channels).transpose(2, 0, 1)
    np.testing.assert_allclose(found[0], rows * (16 / 255), rtol=1e-6)


def test_texts_are_described_by_the_words_of_their_options(tmp_path: Path) -> None:
    encoding = TextEncoding(["", "?", "a"], "character", True, 6, "utf-8", None)
    model = Trained(Bag(), TEXTS, encoding, epoch=1, step=1)
    about = description(model, Exported({}, {}, 0.0, []))
    assert f"level {encoding.level}: each character" in about["preparing"]


@pytest.fixture
def digits_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    monkeypatch.chdir(tmp_path)
    words = ["dataset=digits", "model=logistic", "trainer.max_epochs=1", "trainer.accelerator=cpu",
             "tracking.tensorboard=false", "hydra.run.dir=run"]  # fmt: skip
    assert main(["train", *words]) == 0
    capsys.readouterr()
    return tmp_path / "run"


@pytest.mark.slow
def test_a_program_without_dlrun_predicts_what_dlrun_predicts(
    digits_run: Path, capsys: Capture
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert main(["export", "run"]) == 0
    assert "checked  on batches of 1, 2, 5, 16" in capsys.readouterr().out
    raw = np.random.default_rng(0).integers(0, 17, (7, 1, 8, 8)).astype(np.float32)
    np.save("raw.npy", raw)
    assert main(["predict", "run", "raw.npy", "--output", "expected.json"]) == 0
    expected = [one["probabilities"] for one in json.loads(Path("expected.json").read_text())]

    about = json.loads((digits_run / "export" / "model.onnx.json").read_text())
    session = onnxruntime.InferenceSession(digits_run / "export" / "model.onnx")
    scale = about["preprocessing"]
    inputs = ((raw - np.array(scale["mean"])) / np.array(scale["std"])).astype(np.float32)
    (scores,) = session.run(None, {about["inputs"][0]["name"]: inputs})
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    for row, wanted in zip(chances, expected, strict=True):
        assert dict(zip(about["class_names"], row.tolist(), strict=True)) == pytest.approx(
            wanted, abs=1e-5
        )


def test_what_export_is_refused_for(
    digits_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert main(["export", "run", "--format", "torch_export", "--output", "a.onnx"]) == 2
    assert "--output is a.onnx, but must end in .pt2" in capsys.readouterr().err
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "onnxscript" else find(name, *more),
    )
    assert main(["export", "run"]) == 2
    assert "--format onnx needs onnxscript: pip install 'dlrun[export]'" in capsys.readouterr().err
    assert not (digits_run / "export").exists()


@pytest.mark.slow
def test_a_program_without_dlrun_reads_texts_as_dlrun_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    words = ["dataset=text_csv", "model=bag_of_words", "trainer.max_epochs=1", "trainer.accelerator=cpu",
             "tracking.tensorboard=false", "hydra.run.dir=run"]  # fmt: skip
    assert main(["train", *words]) == 0
    assert main(["export", "run"]) == 0
    text = "It isn't what the King said, is it? Xyzzy!"
    Path("texts.txt").write_text(f"{text}\n")
    assert main(["predict", "run", "texts.txt", "--output", "expected.json"]) == 0
    (expected,) = json.loads(Path("expected.json").read_text())

    about = json.loads(Path("run/export/model.onnx.json").read_text())
    how = about["preprocessing"]
    tokens = re.findall(how["words"], text.lower() if how["lower"] else text)
    known = {token: number for number, token in enumerate(how["vocabulary"])}
    ids = np.array([[known.get(token, 1) for token in tokens]], np.int64)
    session = onnxruntime.InferenceSession("run/export/model.onnx")
    (scores,) = session.run(None, {about["inputs"][0]["name"]: ids})
    if len(about["class_names"]) == 2:
        second = 1 / (1 + np.exp(-scores[0, 0]))
        chances = [1 - second, second]
    else:
        chances = np.exp(scores[0]) / np.exp(scores[0]).sum()
    found = dict(zip(about["class_names"], map(float, chances), strict=True))
    assert found == pytest.approx(expected["probabilities"], abs=1e-5)
