"""Command lines that cannot be meant, of every command: one line, exit code 2, nothing trained."""

from __future__ import annotations

import random
import shlex
from pathlib import Path

import pytest

from dlrun.cli import main

Capture = pytest.CaptureFixture[str]
LINES = Path(__file__).with_name("bad_command_lines.txt").read_text(encoding="utf-8").splitlines()
BLOCKS = {
    command: [line for line in LINES if line.partition(" ")[0] == command]
    for command in dict.fromkeys(line.partition(" ")[0] for line in LINES if line)
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a table, a file that is none, and configs that include themselves."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "empty").mkdir()
        (folder / "file").write_text("hello\n")
        (folder / "inf.csv").write_text("inf,1,2,3\n")
        draw = random.Random(0)
        rows = "".join(f"{i % 9 / 4},{draw.random()},{i % 7 * 1.5}\n" for i in range(60))
        (folder / "t.csv").write_text(f"a,b,target\n{rows}")
        (folder / "inf-train.csv").write_text(f"a,b,target\n{rows}inf,1,2\n")
        for group in ("experiment", "model"):
            (folder / "configs" / group).mkdir(parents=True)
            head = "# @package _global_\n" if group == "experiment" else ""
            for name, named in (("self", "self"), ("one", "other"), ("other", "one")):
                text = f"{head}defaults:\n  - /{group}: {named}\n"
                (folder / f"configs/{group}/{name}.yaml").write_text(text)
        words = ["dataset=iris", "trainer.fast_dev_run=true", "tracking.tensorboard=false"]
        assert main(["train", *words, "hydra.run.dir=run"]) == 0
    return folder


@pytest.mark.parametrize("command", BLOCKS)
def test_it_is_refused_in_one_line(
    command: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr("dlrun.runner.session.Session.train", lambda *_: 0)
    monkeypatch.setattr("dlrun.commands.tensorboard._become", lambda *_: 0)
    wrong = {}
    for line in BLOCKS[command]:
        words = [
            word.replace("NINES", "9" * 5000).replace("BYTE", "\udce9")
            for word in shlex.split(line)
        ]
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr().err
        faults = [told for told in said.splitlines() if told.startswith("dlrun: error: ")]
        notes = [told for told in said.splitlines() if told.startswith("dlrun: ")]
        if code != 2 or len(faults) != 1 or len(notes) != said.count("\n"):
            wrong[line] = (code, said[-300:])
    assert not wrong


def test_a_message_shortens_what_is_endless(capsys: Capture) -> None:
    assert main(["runs", "-n", "9" * 3000]) == 2
    said = capsys.readouterr().err
    assert "(3,000 digits), but must be" in said
    assert len(said) < 200


def test_there_are_hundreds() -> None:
    assert len(LINES) > 220
