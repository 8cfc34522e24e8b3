"""Runs of language models: resumed with what was remembered, evaluated, shown in TensorBoard, let write."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlrun.cli import main
from dlrun.commands.generate import _report_tunes
from dlrun.config.compose import compose
from dlrun.runner import resume, start
from dlrun.storage.run_directory import RunDirectory
from dlrun.training.loop import Engine

TUNE = "X:1\nT:x\nK:G\nGAB|\n\n"
# 225 characters to train on in 3 streams of 7: 10 windows an epoch.
WORDS = (
    "name=words", "dataset=char_lm", "dataset.path=text.txt", "dataset.window=7", "model=char_lstm",
    "model.hidden_size=16", "model.embedding_size=8", "model.dropout=0.2", "trainer.accelerator=cpu",
    "trainer.batch_size=3", "trainer.max_steps=22", "trainer.eval_every_steps=11", "trainer.log_every_steps=1",
    "trainer.max_epochs=null", "optimizer.lr=0.01",
)  # fmt: skip


def composed(*words: str) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(compose([*WORDS, *words]), resolve=True)
    del plain["sweep"]
    return dict(plain)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    letters = "".join(random.Random(0).choices("abcd \n", k=277))
    (folder / "text.txt").write_text(letters + "zz")  # z in the test part alone
    (folder / "tunes.txt").write_text(TUNE * 12)
    return folder


@pytest.fixture(autouse=True)
def _here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def train(name: str, *words: str) -> RunDirectory:
    run = RunDirectory(Path(name))
    assert start.train(composed(*words), run, overrides=[], choices={}) == 0
    return run


@pytest.fixture(scope="module")
def run(place: Path) -> RunDirectory:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return train("whole")


def state_of(run: RunDirectory) -> dict[str, Any]:
    return dict(torch.load(run.checkpoints / "last.pt", weights_only=True))


@pytest.mark.parametrize(
    ("stop_at", "memory_limit"), [(4, "1.0"), (10, "1.0"), (13, "1.0"), (13, "1e-9")]
)
def test_a_resumed_run_remembers_what_it_had_read(
    stop_at: int,
    memory_limit: str,
    run: RunDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In an epoch, between two and in the second, whose offset is another; in memory and from the cache."""
    import signal

    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    plain = composed("tracking.tensorboard=false", f"dataset.memory_limit={memory_limit}")
    parted, taken = RunDirectory(tmp_path / "r"), [0]
    step = Engine.train_step

    def counted(self: Engine, *batch: torch.Tensor) -> None:
        taken[0] += 1
        if taken[0] == stop_at:
            signal.raise_signal(signal.SIGTERM)
        step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "train_step", counted)
        assert start.train(plain, parted, overrides=[], choices={}) == 143
    carried = state_of(parted)["carried"]
    assert [state.shape for state in carried[0]] == [(1, 3, 16), (1, 3, 16)]
    assert resume.resume(plain, parted, overrides=[]) == 0
    expected, found = state_of(run), state_of(parted)
    for name, weight in expected["model"].items():
        assert torch.equal(found["model"][name], weight), name
    for mine, other in zip(found["carried"][0], expected["carried"][0], strict=True):
        assert torch.equal(mine, other)


def test_a_memory_of_keys_and_values_is_kept_over_a_break(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import signal

    gpt = ("model=gpt", "model.width=8", "model.heads=2", "model.layers=1", "model.context=9")
    words = [word for word in WORDS if not word.startswith("model")]
    plain: Any = OmegaConf.to_container(
        compose([*words, *gpt, "tracking.tensorboard=false", "trainer.max_steps=5"]), resolve=True
    )
    del plain["sweep"]
    whole, parted = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "parted")
    assert start.train(plain, whole, overrides=[], choices={}) == 0
    step = Engine.train_step

    def stopped(self: Engine, *batch: torch.Tensor) -> None:
        step(self, *batch)
        if self.step == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "train_step", stopped)
        assert start.train(plain, parted, overrides=[], choices={}) == 143
    assert resume.resume(plain, parted, overrides=[]) == 0
    expected, found = state_of(whole), state_of(parted)
    torch.testing.assert_close(found["model"], expected["model"], rtol=0, atol=0)
    torch.testing.assert_close(found["carried"], expected["carried"], rtol=0, atol=0)
    assert generate(parted, "--prompt", "ab", "--length", "30") == 0
    assert len(capsys.readouterr().out) > 20


def test_what_the_run_measured_is_measured_again(run: RunDirectory, capsys: Any) -> None:
    summary = run.read_summary() or {}
    assert set(summary["baselines"]) == {"character frequencies", "pairs of characters"}
    assert main(["eval", str(run.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert found["test/loss"] == pytest.approx(summary["best"]["metrics"]["test/loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["bits", "perplexity"])
def test_the_weights_of_the_fewest_bits_are_kept(name: str) -> None:
    """At this rate the first evaluation is the better one, and the last the worst."""
    words = (f"trainer.monitor=val/{name}", "optimizer.lr=1", "tracking.tensorboard=false")
    summary = train(name, *words).read_summary() or {}
    points = [json.loads(line) for line in (Path(name) / "metrics.jsonl").read_text().splitlines()]
    measured = [point[f"val/{name}"] for point in points if f"val/{name}" in point]
    assert summary["mode"] == "min" and summary["directions"][name] == "min"
    assert len(set(measured)) == 2
    assert summary["best"]["metrics"][f"val/{name}"] == min(measured)


def test_tensorboard_shows_what_it_writes_at_the_end(run: RunDirectory) -> None:
    events = EventAccumulator(str(run.tensorboard))
    events.Reload()
    page = events.Tensors("sample/text_summary")[-1]
    assert page.step == 22
    first = (Path("text.txt").read_text()[:2]).split("\n")[0]
    assert page.tensor_proto.string_val[0].decode().startswith(f"    {first}")


def generate(run: RunDirectory, *words: str) -> int:
    return main(["generate", str(run.path), *words])


def test_texts_are_printed_the_same_for_the_same_seed(run: RunDirectory, capsys: Any) -> None:
    def texts(*words: str) -> str:
        assert generate(run, "--prompt", "ab", "--length", "30", *words) == 0
        return str(capsys.readouterr().out)

    assert texts("--seed", "3") == texts("--seed", "3") != texts("--seed", "4")
    assert texts().startswith("ab") and "z" not in texts("--temperature", "5")
    assert texts("--number", "3").count("\n" + "-" * 40 + "\n") == 2
    assert texts("--until", "\\n").count("\n") == 1  # its own alone: that of the text is stripped
    weights = [texts("--temperature", "0", "--checkpoint", which) for which in ("best", "last")]
    assert all(len(text) > 20 for text in weights)


def test_a_text_without_a_prompt_begins_as_after_an_empty_line(
    run: RunDirectory, capsys: Any
) -> None:
    texts = []
    for prompt in ((), ("--prompt", "")):
        assert generate(run, *prompt, "--length", "20", "--seed", "1") == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and len(texts[0].strip()) > 5


def test_a_last_window_that_is_shorter_is_learned_from(run: RunDirectory, tmp_path: Path) -> None:
    words = ("trainer.shuffle=false", "tracking.tensorboard=false", "trainer.log_every_steps=100")
    in_order = train(str(tmp_path / "in_order"), *words)
    assert (in_order.read_summary() or {})["step"] == 22  # of 11 an epoch, the last of 5 characters


def test_texts_are_written_to_a_file(run: RunDirectory, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "texts.txt"
    assert generate(run, "--prompt", "a", "--number", "2", "--output", str(file)) == 0
    assert "2 texts in" in capsys.readouterr().out
    assert file.read_text().startswith("a")


def test_tunes_are_counted(capsys: Any) -> None:
    words = ("model.dropout=0", "model.hidden_size=32", "trainer.max_steps=150")
    tunes = train("tunes", "dataset.path=tunes.txt", "tracking.tensorboard=false", *words)
    capsys.readouterr()

    def told(prompt: str, *more: str) -> tuple[str, str]:
        likeliest = ("--prompt", prompt, "--check", "abc", "--temperature", "0", *more)
        assert generate(tunes, *likeliest) == 0
        out, err = capsys.readouterr()
        return str(out), str(err)

    # The model has hardly seen a beginning that no tune comes before: more than X: tells it where it is.
    out, err = told("X:1\\nT:", "--number", "3")
    assert out.startswith(TUNE.strip()) and out.count(TUNE.strip()) == 3
    assert err == "3 of 3 are tunes in ABC notation\n"
    _, err = told("X:", "--length", "4")
    assert err.startswith("0 of 1") and "not ended within --length" in err
    _, err = told("T:x\\nK:")
    assert err.startswith("0 of 1") and "text 1: the header has no X:" in err


def test_blank_lines_before_a_tune_are_no_part_of_it(capsys: Any) -> None:
    _report_tunes(["\n\n" + TUNE, TUNE.strip() + "\n"], "\n\n")
    assert capsys.readouterr().err.startswith("1 of 2 are tunes")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--prompt", "abz"), "--prompt has 'z', which the model has never seen"),
        (("--prompt", "a", "--temperature", "-1"), "--temperature is -1"),
        (("--prompt", "a", "--temperature", "nan"), "--temperature is nan"),
        (("--prompt", "a", "--top-k", "0"), "--top-k is 0"),
        (("--prompt", "a", "--length", "0"), "--length is 0"),
        (("--prompt", "a", "--seed", "-1"), "--seed is -1"),
        (("--prompt", "a", "--output", "nowhere/x"), "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_line(
    words: tuple[str, ...], message: str, run: RunDirectory, capsys: Any
) -> None:
    assert generate(run, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_each_kind_of_run_points_to_the_command_for_it(run: RunDirectory, capsys: Any) -> None:
    assert main(["predict", str(run.path), "text.txt"]) == 2
    assert "dlrun generate" in capsys.readouterr().err
    for name, does in (("iris", "classifies"), ("diabetes", "predicts numbers")):
        words = [f"dataset={name}", "trainer.max_epochs=1", "tracking.tensorboard=false"]
        assert main(["train", *words, f"hydra.run.dir={name}"]) == 0
        capsys.readouterr()
        assert main(["generate", name]) == 2
        assert f"{name} {does}, and writes no text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trainer.batch_size=200",), "lower one of them"),
        (("trainer.batch_size=full",), "number of streams"),
        (("trainer.accumulate=2",), "cannot be taken in parts"),
        (("dataset.path=texts.txt",), "did you mean text.txt"),
        (("model=mlp", "~model.embedding_size", "~model.hidden_size"), "a text to continue"),
        (("dataset.window=300",), "which leaves"),
    ],
)
def test_settings_that_no_text_can_follow_are_refused_in_a_line(
    words: tuple[str, ...], message: str, capsys: Any
) -> None:
    kept = [word for word in WORDS if not (words[0] == "model=mlp" and word.startswith("model"))]
    words = tuple(word for word in words if not word.startswith("~"))
    assert main(["train", *kept, *words]) == 2
    assert message in capsys.readouterr().err
