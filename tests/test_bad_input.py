"""What users get wrong: one line that names it and the remedy, exit code 2, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrun.cli import main

Capture = pytest.CaptureFixture[str]
Refuse = Callable[..., str]

MODELS = """
from torch import nn

class Crooked(nn.Module):
    "One score too many."
    def __init__(self, spec):
        super().__init__()
        self.linear = nn.Linear(spec.num_features, spec.num_outputs + 1)
    def forward(self, x):
        return self.linear(x.flatten(1))

class Flat(Crooked):
    "No axis for the scores."
    def forward(self, x):
        return self.linear(x.flatten(1))[:, 0]

class Pair(Crooked):
    "Not a tensor."
    def forward(self, x):
        return x, x

class Narrow(Crooked):
    "Layers that do not fit the input."
    def forward(self, x):
        return self.linear(x.flatten(1)[:, 1:])

class Picky(Crooked):
    def __init__(self, spec):
        raise ValueError("I want colours")

def no_module(spec):
    return "a model"
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an empty folder, a file, and models that do not fit."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "crooked_models", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # so that --debug's change is undone afterwards
    Path("folder").mkdir()
    Path("file").write_text("not a run\n")
    Path("crooked_models.py").write_text(MODELS)
    Path("configs/model").mkdir(parents=True)
    for name in ("Crooked", "Flat", "Pair", "Narrow", "Picky", "no_module"):
        Path(f"configs/model/{name}.yaml").write_text(f"_target_: crooked_models.{name}\n")
    return tmp_path


@pytest.fixture
def refuse(project: Path, capsys: Capture) -> Refuse:
    """Runs dlrun, which must refuse with one line and leave no file behind; the line."""

    def run(*words: str) -> str:
        before = files(project)
        assert main(list(words)) == 2
        said = capsys.readouterr()
        assert said.err.startswith("dlrun: error: ")
        assert said.err.count("\n") == 1
        assert "Traceback" not in said.err
        assert files(project) == before
        assert list(project.glob("outputs/*/*")) == []  # not even an empty run directory
        return said.err

    return run


def files(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.rglob("*") if file.is_file() and file.parent.name != "__pycache__"
    )


NO_SUCH_NAME = [
    # an option
    ("model=cnnn", "model=cnnn: the group model has no such option; did you mean cnn?"),
    ("optimizer=adamm", "the group optimizer has no such option; did you mean adam"),
    ("dataset=digit", "did you mean digits?"),
    ("schedule=cosin", "did you mean cosine?"),
    ("trainer=fast", "the group trainer has no such option; choose from: "),
    ("experiment=digits_cn", "did you mean digits_cnn?"),
    # a key
    ("modle=cnn", "modle is not a setting of a run; did you mean model?"),
    ("traner.max_epochs=3", "did you mean trainer?"),
    ("optimizer.lrr=1", "optimizer.lrr is not a setting of optimizer; did you mean lr?"),
    ("trainer.max_epoch=3", "did you mean max_epochs?"),
    ("trainer.early_stopping.patient=3", "did you mean patience?"),
    ("dataset.augment.flipp=true", "did you mean flip?"),
    ("dataset=iris dataset.augment.flip=true", "as chosen here, where dataset.augment is null"),
    ("loss.reducton=sum", "did you mean reduction?"),
    (
        "loss.name=mse",
        "loss.name is not a setting of loss: choose the option itself, as in loss=huber",
    ),
    # a key that is added
    ("+optimizer.lrr=1", "optimizer.lrr is not a setting of optimizer; did you mean lr?"),
    ("+model.hiden=[3]", "model.hiden is not a setting of model; did you mean hidden?"),
    ("+trainer.max_epoch=1", "trainer.max_epoch is not a setting of trainer; did you mean"),
    ("+modle=cnn", "modle is not a setting of a run; did you mean model?"),
    # a key that is taken away
    ("~optimizer.lr", "optimizer.lr is missing: give it a value, as in optimizer.lr="),
]

WRONG_VALUE = [
    # of the wrong type
    ("trainer.max_epochs=abc", "trainer.max_epochs is abc, but must be a whole number"),
    ("trainer.max_epochs=1.5", "trainer.max_epochs is 1.5, but must be a whole number"),
    ("optimizer.lr=fast", "optimizer.lr is fast, but must be a number above 0"),
    ("model.hidden=64", "model.hidden is 64, but must be a list"),
    ("model.hidden=[64,x]", "model.hidden[1] is x, but must be a whole number"),
    ("trainer.shuffle=maybe", "trainer.shuffle is maybe, but must be true or false"),
    ("trainer.early_stopping=5", "trainer.early_stopping is 5, but must be a group of settings"),
    ("seed=null", "seed is null, but must be a whole number"),
    ("name=[1]", "name is [1], but must be text"),
    # not among the choices
    ("trainer.precision=fp8", "but must be one of fp32, tf32, bf16, fp16, fp64"),
    ("loss=cross_entropi", "did you mean cross_entropy?"),
    ("model.activation=rellu", "did you mean relu?"),
    ("dataset.normalize=standart", "did you mean standard?"),
    # out of range
    ("optimizer.lr=-0.1", "optimizer.lr is -0.1, but must be a number above 0"),
    ("optimizer.lr=0", "optimizer.lr is 0, but must be a number above 0"),
    ("optimizer.lr=nan", "optimizer.lr is nan, but must be a number above 0"),
    ("model.dropout=1.5", "model.dropout is 1.5, but must be a number of at least 0 and below 1"),
    ("model.dropout=-0.1", "model.dropout is -0.1"),
    ("trainer.max_epochs=0", "trainer.max_epochs is 0, but must be a whole number of at least 1"),
    ("trainer.batch_size=0", "trainer.batch_size is 0, but must be a whole number of at least 1"),
    ("trainer.ema_decay=1", "trainer.ema_decay is 1, but must be a number above 0 and below 1"),
    ("dataset.val_fraction=1.5", "dataset.val_fraction is 1.5"),
    ("seed=-1", "seed is -1, but must be a whole number of at least 0"),
    ("checkpoint.every_seconds=-1", "checkpoint.every_seconds is -1"),
]

DOES_NOT_FIT = [
    ("dataset=iris model=rnn", "model=rnn reads sequences, but the data has 4 plain features"),
    ("dataset=iris model=cnn", "choose model=mlp or a dataset of images"),
    ("model=lenet5", "images of at least 28x28, but the data has images of 1x8x8"),
    ("loss=binary_cross_entropy", "but the data set has 10 classes: use loss=cross_entropy"),
    ("dataset=moons loss=cross_entropy", "has 2 classes: use loss=binary_cross_entropy"),
    ("dataset=diabetes loss=cross_entropy", "has numbers to predict: use loss=mse"),
    ("dataset=diabetes loss.label_smoothing=0.1", "regression has no labels; set it to 0"),
    ("dataset.augment.shift=100", "too much for images of 8x8 pixels"),
    ("dataset.val_fraction=0.999", "leaves 0 to train"),
    ("dataset.test_fraction=null", "this data set has no test part: set it"),
    ("trainer.monitor=val/acc", "did you mean val/accuracy?"),
    ("schedule.warmup_steps=100000", "but the run has only 820 steps; set it below"),
    ("trainer.max_epochs=null", "both null: set one"),
    ("model=Crooked", "model gives (2, 11) for 2 samples, but must give raw scores of shape (2, 10)"),
    ("model=Flat", "model gives (2,) for 2 samples, but must give raw scores of shape (2, 10)"),
    ("model=Pair", "model gives tuple for 2 samples"),
    ("model=Narrow", "model does not fit the data, whose inputs are image of shape (1, 8, 8)"),
    ("model=Picky", "model: I want colours"),
    ("model=no_module", "model._target_ made a str, but must make a torch.nn.Module"),
]  # fmt: skip

CANNOT_BE_READ = [
    ("model._target_=nowhere.Net", "model._target_ is nowhere.Net, which cannot be imported: No"),
    ("model._target_=dlrun.models.mlp.MLPP", "dlrun.models.mlp.MLPP, which cannot be imported"),
    ("model._target_=dlrun.models.mlp", "which is not a class or function"),
    ("model=mlp,cnn", "several values make a sweep: add -m"),
    ("optimizer.lr=0.1,0.2", "for one list, write 'optimizer.lr=[0.1,0.2]'"),
    ("optimizer.lr=[", "optimizer.lr=[: not an override; write key=value"),
    ("optimizer.lr", "optimizer.lr: not an override; write key=value"),
    ("hydra.run.dir=file/below", "file/below cannot be written to (Not a directory)"),
    ("--config-dir=nowhere", "/nowhere' not found"),
]


@pytest.mark.parametrize(
    ("words", "message"), NO_SUCH_NAME + WRONG_VALUE + DOES_NOT_FIT + CANNOT_BE_READ
)
def test_train_refuses_it_in_one_line_that_says_what_to_do(
    words: str, message: str, refuse: Refuse
) -> None:
    assert message in refuse("train", *words.split())


@pytest.mark.parametrize(
    ("failing", "error", "message"),
    [
        (
            "dlrun.training.build.place_model",
            RuntimeError("can't allocate memory: you tried to allocate 3240000000000 bytes. Error"),
            "model needs more memory than there is (3,017.5 GiB at once): make it smaller",
        ),
        (
            "dlrun.training.build.prepare",
            MemoryError(),
            "dataset needs more memory than there is: take fewer",
        ),
    ],
)
def test_what_has_no_room_in_memory_is_refused_before_the_first_step(
    failing: str, error: Exception, message: str, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(failing, fail)
    assert message in refuse("train", "dataset=iris", "trainer.accelerator=cpu")


def test_a_precision_that_the_device_cannot_train_in_is_refused(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        if torch.is_autocast_enabled("cpu") and torch.is_grad_enabled():
            raise RuntimeError("could not create a primitive descriptor. Run again")
        return None

    monkeypatch.setattr("torch.nn.Linear.forward", lambda self, x: fail() or x @ self.weight.T)
    words = ("dataset=iris", "model=mlp", "trainer.accelerator=cpu", "trainer.precision=fp16")
    text = refuse("train", *words)
    assert "trainer.precision is fp16, in which cpu cannot compute this model" in text
    assert "(could not create a primitive descriptor); use fp32" in text


def test_a_precision_without_a_way_back_is_refused(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(gradient: torch.Tensor) -> None:
        raise RuntimeError("could not create a primitive descriptor for the backward propagation")

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        outputs = x @ self.weight.T
        if outputs.dtype == torch.bfloat16:
            outputs.register_hook(fail)
        return outputs

    monkeypatch.setattr("torch.nn.Linear.forward", forward)
    words = ("dataset=iris", "model=mlp", "trainer.accelerator=cpu", "trainer.precision=bf16")
    text = refuse("train", *words)
    assert "trainer.precision is bf16, in which cpu cannot compute this model" in text
    assert "for the backward propagation); use fp32" in text


@pytest.mark.parametrize("group", ["model", "optimizer"])
def test_train_refuses_to_go_without_a_choice_it_needs(group: str, refuse: Refuse) -> None:
    assert group in refuse("train", f"{group}=null")


@pytest.mark.parametrize(
    ("content", "words", "rule"),
    [
        (b"PK\x03\x04\x00", ["dataset=csv"], "is a zip archive, not a text; unpack it"),
        (b'{"a": 1}\n', ["dataset=series"], "is JSON, an object a line, not a table of rows; save it"),
        (b"\x1f\x8b\x08", ["dataset=char_lm"], "cannot be read: "),
        (b"1,2,x\n1,3,y\n" * 9, ["dataset=csv", "dataset.target=price"], "no header was found in row 1 (1, 2, x)"),
        (b"a,y\n1,2\na,y\n", ["dataset=csv", "dataset.target=y"], "row 3 repeats the header; take it out"),
    ],
)  # fmt: skip
def test_train_refuses_a_file_that_is_no_table(
    content: bytes, words: list[str], rule: str, refuse: Refuse, project: Path
) -> None:
    (project / "t.csv").write_bytes(content)
    assert rule in refuse("train", *words, "dataset.path=t.csv")


def test_train_refuses_an_infinite_learning_rate(refuse: Refuse) -> None:
    assert "optimizer.lr is inf" in refuse("train", "optimizer.lr=inf", "trainer.fast_dev_run=true")


def test_a_refused_first_run_leaves_no_empty_folder(refuse: Refuse, project: Path) -> None:
    refuse("train", "optimizer.lr=-1")
    assert not (project / "outputs").exists()


def test_a_missing_data_folder_is_named_with_the_files_that_belong_there(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*given: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("dlrun.data.files._OPENER.open", unreachable)
    text = refuse("train", "dataset=mnist", "dataset.root=nowhere")
    for words in ("dataset.root is nowhere", "no network", "MNIST/raw/train-images", "DLRUN_DATA"):
        assert words in text


def test_a_data_file_cut_short_is_named(refuse: Refuse, project: Path) -> None:
    folder = project / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (folder / f"{part}-{kind}-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0]))
    text = refuse("train", "dataset=mnist", "dataset.root=data")
    assert "data/MNIST/raw/train-images-idx3-ubyte" in text
    assert "delete it" in text


@pytest.mark.parametrize("command", ["resume", "eval", "predict"])
@pytest.mark.parametrize("target", ["nowhere", "folder", "./folder", "file", "last"])
def test_what_is_not_a_run_is_refused(command: str, target: str, refuse: Refuse) -> None:
    inputs = ["file"] if command == "predict" else []
    text = refuse(command, target, *inputs)
    assert "there are no runs" in text or "is not a run" in text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[", "is not valid YAML"),
        ("- a list", "holds no mapping"),
        ("seed: 0", "_target_ is None, which no config on the search path offers"),
    ],
)
@pytest.mark.parametrize("command", ["resume", "eval"])
def test_a_run_with_a_broken_config_is_refused(
    command: str, config: str, message: str, refuse: Refuse
) -> None:
    Path("folder/config.yaml").write_text(config)
    assert message in refuse(command, "folder")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("split=all",), "split is all, but must be one of test, val, train"),
        (("checkpoint=first",), "checkpoint is first, but must be one of best, last"),
        (("optimizer.lr=1",), "dlrun eval takes split=… and checkpoint=…"),
    ],
)
def test_eval_refuses_what_it_cannot_do(
    words: tuple[str, ...], message: str, refuse: Refuse
) -> None:
    assert message in refuse("eval", "last", *words)


@pytest.fixture
def iris(capsys: Capture) -> str:
    """A run that has seen one batch of four measurements."""
    words = ("dataset=iris", "trainer.fast_dev_run=true", "tracking.tensorboard=false")
    assert main(["train", *words, "hydra.run.dir=iris"]) == 0
    capsys.readouterr()
    return "iris"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.npy", None, "absent.npy is not a file"),
        ("rows.txt", "1 2 3 4", "files ending in .txt are not known; give an image, .npy"),
        ("rows.npy", "no array", "rows.npy cannot be read as a NumPy array"),
        ("rows.csv", "1,2,3\n", "row 1, has 3 columns, but this run takes 4"),
        ("rows.csv", "1,2,3,4\n1,2,x,4\n", "row 2, column 3: x is not a number"),
        ("rows.csv", "", "holds no rows"),
        ("photo.png", "no picture", "this run was trained on features"),
    ],
)
def test_predict_refuses_inputs_it_cannot_read(
    name: str, content: str | None, message: str, iris: str, refuse: Refuse
) -> None:
    if content is not None:
        Path(name).write_text(content)
    assert message in refuse("predict", iris, name)


def test_predict_refuses_to_write_what_it_does_not_know(iris: str, refuse: Refuse) -> None:
    Path("rows.csv").write_text("1,2,3,4\n")
    assert "must end in .csv, .tsv" in refuse("predict", iris, "rows.csv", "--output", "a.xml")
    assert "file/a.csv" in refuse("predict", iris, "rows.csv", "--output", "file/a.csv")


@pytest.mark.parametrize("words", [["--debug"], []])
def test_the_traceback_is_shown_on_request_alone(
    words: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not words:
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(["train", "optimizer.lr=-1", *words]) == 2
    text = capsys.readouterr().err
    assert "Traceback (most recent call last)" in text
    assert text.splitlines()[-1].startswith("dlrun: error: optimizer.lr is -1")


def test_the_program_exits_with_2_and_says_it_on_stderr_alone() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    result = subprocess.run(
        [sys.executable, "-m", "dlrun.cli", "train", "optimizer.lrr=1"],
        capture_output=True, text=True, timeout=90, check=False, env=environment,
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "dlrun: error: optimizer.lrr is not a setting of optimizer; did you mean lr?\n"
    )
