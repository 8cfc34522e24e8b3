"""What torch keeps for the whole process follows the run that computes: precision, choice of kernels, repeatability."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.commands._train_words import composed_run
from dlrun.config.settings import TrainerSettings, parse
from dlrun.data.base import Spec
from dlrun.errors import ConfigError, RunFailed
from dlrun.runner import start
from dlrun.storage.run_directory import RunDirectory
from dlrun.system.hardware import TF32_SINCE
from dlrun.training import torch_state
from dlrun.training.build import Experiment, assemble
from dlrun.training.device import Device, choose

WORDS = (
    "name=x", "dataset=iris", "model=linear", "trainer.max_epochs=1", "trainer.accelerator=cpu",
    "tracking.tensorboard=false",
)  # fmt: skip
CUDA = torch.device("cuda")
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
# As torch says it, of an operation and of the variable.
NO_WAY = (
    "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set "
    "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this operation, ..."
)
TOO_LATE = (
    "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or "
    "`at::Context::setDeterministicAlgorithms(true)`, but this operation is not deterministic because it uses CuBLAS "
    "and you have CUDA >= 10.2. To enable deterministic behavior in this case, you must set an environment variable"
)

# A program: trains twice, and prints what the weights are.
TWICE = """\
import hashlib, sys
from pathlib import Path
from dlrun.cli import main
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.stored_run import read_state, weights_of

for name in ("one", "two"):
    assert main(["train", *sys.argv[1:], f"hydra.run.dir={name}"]) == 0
    weights = weights_of(read_state(RunDirectory(Path(name)), "last"))
    content = b"".join(weight.cpu().numpy().tobytes() for weight in weights.values())
    print("weights", hashlib.sha256(content).hexdigest())
"""

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
needs_tf32 = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < TF32_SINCE,
    reason="needs a CUDA device with TF32",
)


class Unrepeatable(nn.Linear):
    """A model that torch refuses at its first training step where results are to be repeatable."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(4, spec.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        outputs = super().forward(x)
        if self.training:
            outputs.register_hook(_refused)
        return outputs


class UnrepeatableAtOnce(nn.Linear):
    """A model that torch refuses wherever it is called."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(4, spec.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(NO_WAY)


def _refused(gradient: Tensor) -> None:
    raise RuntimeError(NO_WAY)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Torch's own state, given back; what its repeatability was set to, which would import its compiler."""
    cudnn, asked = torch.backends.cudnn, [False]
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: asked[-1])
    before = cudnn.benchmark, cudnn.deterministic
    yield asked
    cudnn.benchmark, cudnn.deterministic = before
    torch_state._round_to_tf32(False)


@pytest.fixture(scope="module")
def built() -> Callable[..., Experiment]:
    def build(*words: str) -> Experiment:
        return assemble(parse(composed_run([*WORDS, *words])))

    return build


@pytest.fixture(scope="module")
def iris(built: Callable[..., Experiment]) -> Experiment:
    return built()


@pytest.fixture
def settings(iris: Experiment) -> TrainerSettings:
    return iris.config.trainer


def rounding() -> list[Any]:
    """What torch says of products, convolutions and recurrent layers, by all ways to ask."""
    backends = torch.backends
    found: list[Any] = [backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32]
    found.append(torch.get_float32_matmul_precision())  # raises where settings contradict
    if hasattr(backends.cudnn, "conv"):
        parts = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
        found += [part.fp32_precision for part in parts]
    return found


def as_it_comes() -> None:
    """torch as it is imported: products exact, convolutions rounded."""
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True


def set_apart() -> None:
    """As a user's module may leave it, by the newer settings where torch has them."""
    if hasattr(torch.backends.cudnn, "conv"):
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.set_float32_matmul_precision("medium")


@pytest.mark.parametrize("before", [as_it_comes, set_apart])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16", "fp64"])
def test_products_convolutions_and_recurrent_layers_are_rounded_alike(
    precision: str, before: Callable[[], None], settings: TrainerSettings, iris: Experiment
) -> None:
    wanted = precision == "tf32"
    newer = ["tf32" if wanted else "ieee"] * (3 if hasattr(torch.backends.cudnn, "conv") else 0)
    before()
    torch_state.configure(settings, Device(CUDA, precision), iris.data)
    assert rounding() == [wanted, wanted, "high" if wanted else "highest", *newer]


def test_the_run_that_computes_decides_not_the_one_that_was_built_last(
    tmp_path: Path, kept: list[bool]
) -> None:
    first, second = (
        start.begin(
            composed_run([*WORDS, f"trainer.deterministic={value}"]),
            RunDirectory(tmp_path / value),
            overrides=[],
            choices={},
        )
        for value in ("true", "false")
    )
    assert not kept[-1] and not torch.backends.cudnn.deterministic
    with first, second:
        first.start()
        assert kept[-1] and torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        second.start()
        assert not kept[-1] and torch.backends.cudnn.benchmark


@pytest.mark.parametrize(
    ("words", "fixed"),
    [
        ((), True),
        (("dataset=digits", "model=cnn"), True),
        (("dataset=airline",), True),
        (("dataset=irish_tunes", "model=char_rnn"), True),
        (("dataset=pass_class", "model=mlp"), True),
        (("dataset=text_csv", "model=bag_of_words"), False),
        (("dataset=text_csv", "model=bag_of_words", "dataset.tokens.bucketing=false"), True),
    ],
)
def test_kernels_are_tried_out_where_batches_keep_their_shape(
    words: tuple[str, ...], fixed: bool, built: Callable[..., Experiment]
) -> None:
    experiment = built(*words)
    assert torch_state.has_fixed_shapes(experiment.data) is fixed
    assert torch.backends.cudnn.benchmark is fixed
    repeatable = replace(experiment.config.trainer, deterministic=True)
    torch_state.configure(repeatable, experiment.device, experiment.data)
    assert torch.backends.cudnn.benchmark is False


@pytest.mark.parametrize(
    ("given", "device", "deterministic", "left"),
    [
        (None, CUDA, True, ":4096:8"),
        (":16:8", CUDA, True, ":16:8"),
        (None, CUDA, False, None),
        (None, torch.device("cpu"), True, None),
        (":0:0", torch.device("cpu"), True, ":0:0"),
        (":0:0", CUDA, False, ":0:0"),
    ],
)
def test_cublas_is_asked_to_repeat_where_that_is_wanted(
    given: str | None, device: torch.device, deterministic: bool, left: str | None,
    settings: TrainerSettings, iris: Experiment, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(WORKSPACE, given or "")
    if given is None:
        monkeypatch.delenv(WORKSPACE)
    wanted = replace(settings, deterministic=deterministic)
    torch_state.configure(wanted, Device(device, "fp32"), iris.data)
    assert os.environ.get(WORKSPACE) == left


def test_a_workspace_that_does_not_repeat_is_refused(
    settings: TrainerSettings, iris: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE, ":4096:2")
    wanted = replace(settings, deterministic=True)
    with pytest.raises(ConfigError, match=f"{WORKSPACE} is :4096:2 .* must be :4096:8 or :16:8"):
        torch_state.configure(wanted, Device(CUDA, "fp32"), iris.data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NO_WAY, "needs adaptive_avg_pool2d_backward_cuda, which gives other results"),
        (TOO_LATE, f"start again with {WORKSPACE}=:4096:8"),
    ],
)
def test_what_cannot_be_repeated_is_told_in_words(text: str, words: str) -> None:
    error = RuntimeError(text)
    assert torch_state.is_not_repeatable(error)
    said = torch_state.not_repeatable(error)
    assert said.startswith("trainer.deterministic is true, but ") and words in said
    assert "\n" not in said
    assert not torch_state.is_not_repeatable(RuntimeError("out of memory"))


def test_a_run_that_cannot_be_repeated_fails_with_one_line(tmp_path: Path) -> None:
    plain = composed_run([*WORDS, "trainer.deterministic=true"])
    plain["model"] = {"_target_": f"{__name__}.Unrepeatable", "freeze": None}
    run = start.begin(plain, RunDirectory(tmp_path / "run"), overrides=[], choices={})
    with pytest.raises(RunFailed, match=r"trainer\.deterministic is true"):
        run.train()


def test_a_model_that_cannot_be_repeated_is_refused_before_the_training() -> None:
    plain = composed_run([*WORDS, "trainer.deterministic=true"])
    plain["model"] = {"_target_": f"{__name__}.UnrepeatableAtOnce", "freeze": None}
    with pytest.raises(
        ConfigError, match=r"trainer\.deterministic is true, but the model, its loss"
    ):
        assemble(parse(plain))


@pytest.mark.parametrize(
    ("capability", "variable", "words"),
    [
        ((7, 5), None, "TF32 needs compute capability 8.0, and this GPU has 7.5; use fp32"),
        ((9, 0), "0", "NVIDIA_TF32_OVERRIDE=0 in the environment switches TF32 off; use fp32"),
        ((8, 0), None, ""),
        ((9, 0), "1", ""),
        ((12, 0), None, ""),
    ],
)
def test_a_gpu_without_tf32_refuses_it(
    capability: tuple[int, int], variable: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", variable or "")
    if words:
        with pytest.raises(ConfigError, match=words):
            choose("cuda", "tf32")
        assert choose("cuda", "fp32").precision == "fp32"
    else:
        assert choose("cuda", "tf32").dtype == torch.float32


def test_a_cpu_refuses_tf32_before_the_training(built: Callable[..., Experiment]) -> None:
    words = "only GPUs of NVIDIA multiply in TF32, and the run is on the device cpu; use fp32"
    with pytest.raises(ConfigError, match=f"trainer.precision is tf32, but {words}"):
        built("trainer.precision=tf32")


def _products(x: Tensor, weight: Tensor) -> Tensor:
    return x.flatten(1) @ weight.flatten(1).T


def _convolutions(x: Tensor, weight: Tensor) -> Tensor:
    return nn.functional.conv2d(x, weight, padding=1)


@gpu
@needs_tf32
@pytest.mark.parametrize("compute", [_products, _convolutions])
def test_on_a_gpu_fp32_and_tf32_are_as_exact_as_their_names(
    compute: Callable[[Tensor, Tensor], Tensor], settings: TrainerSettings, iris: Experiment
) -> None:
    generator = torch.Generator(CUDA).manual_seed(0)
    shapes = {
        _products: ((256, 1024), (256, 1024)),
        _convolutions: ((8, 64, 16, 16), (64, 64, 3, 3)),
    }
    x, weight = (torch.randn(shape, generator=generator, device=CUDA) for shape in shapes[compute])
    exact = compute(x.double(), weight.double())
    errors = {}
    for precision in ("fp32", "tf32", "fp32"):
        torch_state.configure(settings, choose("cuda", precision), iris.data)
        apart = (compute(x, weight).double() - exact).norm() / exact.norm()
        errors[precision] = apart.item()
    assert (
        errors["fp32"] < 2**-16
    )  # of sums of products that are right to 2**-24, also by Winograd's way
    assert 2**-14 < errors["tf32"] < 2**-9  # of factors that are right to 2**-11


@gpu
@needs_tf32
@pytest.mark.parametrize("wanted", ["fp32", "tf32"])
def test_on_a_gpu_recurrent_layers_are_as_exact_as_the_name_says(
    wanted: str, settings: TrainerSettings, iris: Experiment
) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(64, 64, batch_first=True)
    x = torch.randn(32, 16, 64)
    exact = layer.double()(x.double())[0]
    layer.float().to(CUDA)
    torch_state.configure(settings, choose("cuda", wanted), iris.data)
    found = layer(x.to(CUDA))[0].double().cpu()
    apart = ((found - exact).norm() / exact.norm()).item()
    assert apart < (1e-5 if wanted == "fp32" else 1e-2)


@gpu
@needs_cuda
@pytest.mark.parametrize(
    "words",
    [
        ("dataset=digits", "model=cnn"),
        ("dataset=airline", "model=lstm"),
        ("dataset=text_csv", "model=text_cnn", "trainer.max_steps=20"),
        ("dataset=digits", "model=mlp", "model.dropout=0.3", "trainer.precision=bf16"),
    ],
)
def test_on_a_gpu_a_deterministic_run_gives_the_same_weights_twice(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """In a process of its own: this one may have multiplied before the variable of cuBLAS was set."""
    given = [*WORDS, "trainer.accelerator=cuda", "trainer.deterministic=true", *words]
    said = subprocess.run(
        [sys.executable, "-c", TWICE, *given],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    first, second = (line for line in said.splitlines() if line.startswith("weights "))
    assert first == second
