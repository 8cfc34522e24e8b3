"""torch.compile: how a model is compiled, what is said before it, and what is said where it fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlrun.commands._train_words import composed_run
from dlrun.config.settings import TrainerSettings, parse
from dlrun.errors import ConfigError, RunFailed
from dlrun.runner import start
from dlrun.runner.session import Session
from dlrun.stacked.grouping import why_alone
from dlrun.storage.run_directory import RunDirectory
from dlrun.training import compilation
from dlrun.training.build import assemble
from dlrun.training.compilation import announcement, compile_model, why_not_compiled

IRIS = (
    "name=x", "dataset=iris", "model=mlp", "model.hidden=[4]", "trainer.accelerator=cpu",
    "trainer.max_epochs=1", "trainer.num_threads=1", "tracking.tensorboard=false",
)  # fmt: skip
TEXTS = ("name=x", "dataset=text_csv", "model=bag_of_words", "trainer.accelerator=cpu")
BEST = "trainer.compile=max-autotune"
SAID = "trainer.compile: torch compiles the model at its first step"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What torch is asked to compile, which it then does not."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(nn.Module, "compile", lambda _, **how: asked.append(how))
    return asked


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[Any], Session]:
    """(trainer.compile) -> a run that says so, built without: its optimizer would import torch's compiler."""

    def begin(how: Any) -> Session:
        run = RunDirectory(tmp_path / "run")
        session = start.begin(composed_run([*IRIS]), run, overrides=[], choices={})
        session.engine.settings = replace(session.engine.settings, compile=how)
        return session

    return begin


@pytest.fixture(scope="module")
def settings() -> TrainerSettings:
    return parse(composed_run([*IRIS, "trainer.compile=true"])).trainer


def error_of(module: str, text: str, cause: BaseException | None = None) -> Exception:
    """As torch's compiler or Triton raises it, without importing them."""
    error = type("InductorError", (RuntimeError,), {"__module__": module})(text)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ((*IRIS, "trainer.compile=true"), {"mode": None, "dynamic": None}),
        ((*IRIS, BEST), {"mode": "max-autotune-no-cudagraphs", "dynamic": None}),
        ((*TEXTS, "trainer.compile=true"), {"mode": None, "dynamic": True}),
        (
            (*TEXTS, "dataset.tokens.bucketing=false", "trainer.compile=true"),
            {"mode": None, "dynamic": None},
        ),
        ((*IRIS, "trainer.compile=false"), None),
    ],
)
def test_a_model_is_compiled_as_asked_for_any_shape_where_shapes_change(
    words: tuple[str, ...], how: dict[str, Any] | None, asked: list[dict[str, Any]]
) -> None:
    plain = composed_run([*words])
    wanted = parse(plain).trainer
    plain["trainer"]["compile"] = False  # its optimizer would import torch's compiler
    engine = assemble(parse(plain)).engine
    compile_model(engine.model, wanted, engine.data)
    assert asked == ([] if how is None else [how])


def test_torchs_advice_on_tf32_is_not_shown(
    settings: TrainerSettings, asked: list[dict[str, Any]], recwarn: pytest.WarningsRecorder
) -> None:
    engine = assemble(parse(composed_run([*IRIS]))).engine
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        compile_model(engine.model, settings, engine.data)
        warnings.warn("TensorFloat32 tensor cores for … available but not enabled.", stacklevel=1)
        warnings.warn("another", stacklevel=1)
    assert [str(one.message) for one in recwarn] == ["another"]


def test_another_way_to_compile_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.compile is fast, but must be .*max-autotune"):
        parse(composed_run([*IRIS, "trainer.compile=fast"]))


@pytest.mark.parametrize(
    ("word", "alone"), [("true", True), ("max-autotune", True), ("false", False)]
)
def test_a_run_that_is_compiled_is_trained_alone(word: str, alone: bool) -> None:
    reason = why_alone(composed_run([*IRIS, f"trainer.compile={word}"]))
    assert reason == ("trainer.compile" if alone else None)


@pytest.mark.parametrize("how", [True, "max-autotune"])
def test_the_wait_is_announced_before_the_first_step(
    how: Any, begun: Callable[[Any], Session], capsys: pytest.CaptureFixture[str]
) -> None:
    with begun(how) as session, session.log:
        session.start()
    said = capsys.readouterr().err
    assert said.count(SAID) == 1 and said.count("\n") == 1
    assert ("tries out kernels" in said) == (how == "max-autotune")
    assert SAID in session.run.log.read_text()


def test_without_compiling_nothing_is_announced(
    settings: TrainerSettings, begun: Callable[[Any], Session], capsys: pytest.CaptureFixture[str]
) -> None:
    assert announcement(replace(settings, compile=False)) is None
    with begun(False) as session:
        session.start()
    assert "compile" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            error_of(
                "torch._inductor.exc", "InvalidCxxCompiler: No working C++ compiler found in …"
            ),
            "there is no C++ compiler: install one, such as g++, or name it in the variable CXX",
        ),
        (
            error_of(
                "torch._dynamo.exc",
                "backend='inductor' raised:\nRuntimeError: …",
                RuntimeError(
                    "Failed to find C compiler. Please specify via CC environment variable"
                ),
            ),
            "there is no C compiler: install one, such as gcc, or name it in the variable CC",
        ),
        (
            error_of("torch._inductor.exc", "CppCompileError: fatal error: Python.h: No such file"),
            "the header files of Python are missing",
        ),
        (
            error_of("torch._inductor.exc", "Cannot find a working triton installation. Either …"),
            "there is no Triton that fits this version of torch",
        ),
        (
            error_of("torch._inductor.exc", "Found P100 which is too old to be supported by …"),
            "this GPU is too old for Triton",
        ),
        (
            error_of("triton.runtime.errors", "out of resource: shared memory\nmore"),
            "torch cannot compile the model (out of resource: shared memory)",
        ),
    ],
)
def test_what_compiling_lacks_is_told_in_words(
    error: Exception, words: str, settings: TrainerSettings
) -> None:
    said = why_not_compiled(error, settings)
    assert said is not None and said.startswith(f"trainer.compile is true, but {words}")
    assert said.endswith("; or set trainer.compile=false") and "\n" not in said
    assert why_not_compiled(error, replace(settings, compile=False)) is None


def test_an_error_of_another_kind_is_none_of_compiling(settings: TrainerSettings) -> None:
    assert why_not_compiled(RuntimeError("no C++ compiler in my own layer"), settings) is None


def test_a_run_that_cannot_be_compiled_fails_with_one_line(
    begun: Callable[[Any], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begun("max-autotune")

    def fail(*_: Any) -> None:
        raise error_of("torch._inductor.exc", "Cannot find a working triton installation.")

    monkeypatch.setattr(session.engine, "learn", fail)
    with pytest.raises(
        RunFailed, match=r"trainer\.compile is max-autotune, but there is no Triton"
    ):
        session.train()


@pytest.mark.slow
@pytest.mark.parametrize("word", ["true", "max-autotune"])
def test_a_compiled_model_learns_what_it_learns_otherwise(word: str) -> None:
    plain, compiled = (
        assemble(parse(composed_run([*IRIS, f"trainer.compile={how}"]))).engine
        for how in ("false", word)
    )
    for engine in (plain, compiled):
        for inputs, targets in engine.batches.epoch(0):
            engine.train_step(inputs, targets)
            engine.step += 1
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(compiled.model.state_dict()[name], value)
    found = compiled.outputs(compiled.data.val)
    torch.testing.assert_close(found, plain.outputs(plain.data.val))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which torch's compiler itself looks at
def test_texts_of_any_length_are_compiled_once_for_training() -> None:
    from torch._dynamo.utils import counters

    words = [*TEXTS, "trainer.compile=true", "trainer.num_threads=1", "trainer.batch_size=8"]
    engine = assemble(parse(composed_run(words))).engine
    counters.clear()
    widths, graphs = set(), set()
    for _, (inputs, targets) in zip(range(8), engine.batches.epoch(0), strict=False):
        widths.add(inputs.shape[1])
        engine.train_step(inputs, targets)
        engine.step += 1
        graphs.add(counters["stats"]["unique_graphs"])
    assert len(widths) > 3
    assert len(graphs) == 1 and graphs != {0}


@pytest.mark.usefixtures("asked")
def test_what_was_compiled_for_another_kind_of_model_is_forgotten_not_run_uncompiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resets: list[int] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    monkeypatch.setattr(compilation, "_compiled", [])
    for words, expected in (
        (["seed=0"], 0),
        (["seed=1"], 0),  # of the same kind: its code is used again
        (["model.hidden=[5]"], 1),
        (["model.hidden=[5]", "model.dropout=0.1"], 2),
        (["model.hidden=[5]", "model.dropout=0.2"], 3),
    ):
        assemble(parse(composed_run([*IRIS, "trainer.compile=true", *words])))
        assert len(resets) == expected, words
