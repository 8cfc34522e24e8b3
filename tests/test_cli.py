from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun import __version__
from dlrun.cli import main
from dlrun.commands._names import COMMANDS
from dlrun.errors import ConfigError, RunFailed

Main = Callable[[list[str]], int]
Command = Callable[[Main], None]
Capture = pytest.CaptureFixture[str]

HEAVY = ("torch", "torchvision", "numpy", "sklearn", "hydra", "omegaconf", "tensorboard")


def run_module(*words: str, code: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "dlrun.cli"]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 60}
    return subprocess.run([*command, *words], check=False, **{**given, **options})  # type: ignore[call-overload,no-any-return]


def modules_after(*words: str, cwd: Path) -> set[str]:
    """The modules that a fresh interpreter holds after running these words."""
    code = (
        "import json, sys; from dlrun.cli import main; main(sys.argv[1:]); "
        "print(json.dumps(list(sys.modules)), file=sys.stderr)"
    )
    return set(json.loads(run_module(*words, code=code, cwd=cwd).stderr.splitlines()[-1]))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Puts a function in the place of `dlrun doctor`."""

    def put(function: Main) -> None:
        module = types.ModuleType("dlrun.commands.doctor")
        module.main = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "dlrun.commands.doctor", module)
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    return put


def raising(error: BaseException) -> Main:
    def function(argv: list[str]) -> int:
        raise error

    return function


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert max(map(len, text.splitlines())) <= 80


def test_help_loads_no_command_and_not_even_argparse(tmp_path: Path) -> None:
    loaded = modules_after("--help", cwd=tmp_path)
    ours = {name for name in loaded if name.startswith("dlrun")}
    assert ours == {
        "dlrun", "dlrun.cli", "dlrun.commands", "dlrun.commands._names", "dlrun.system", "dlrun.system.terminal",
    }  # fmt: skip
    assert not loaded & {"argparse", "difflib", "typing", *HEAVY}


@pytest.mark.parametrize("words", [["list"], ["list", "model"], ["runs"], ["completion", "zsh"]])
def test_looking_around_loads_neither_torch_nor_hydra(words: list[str], tmp_path: Path) -> None:
    assert not modules_after(*words, cwd=tmp_path) & set(HEAVY)


@pytest.mark.parametrize("words", [["show", "model=cnn"], ["_complete", "train", "model="]])
def test_composing_a_config_loads_no_torch(words: list[str], tmp_path: Path) -> None:
    assert not modules_after(*words, cwd=tmp_path) & {"torch", "numpy"}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dlrun {__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("trian", "did you mean train?"),
        ("model=cnn", "did you mean `dlrun train model=cnn`?"),
        ("--verison", "see `dlrun --help`"),
    ],
)
def test_an_unknown_command_exits_with_2_and_a_hint(word: str, hint: str) -> None:
    result = run_module(word)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("dlrun: error: ")
    assert hint in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_of_a_command_can_be_asked_for_in_two_ways() -> None:
    first, second = run_module("help", "runs"), run_module("runs", "--help")
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout != ""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("model.width is 0"), 2, "dlrun: error: model.width is 0"),
        (ConfigError("two\nlines"), 2, "dlrun: error: two lines"),
        (RunFailed("the loss is not finite"), 1, "dlrun: error: the loss is not finite"),
        (KeyboardInterrupt(), 130, "dlrun: interrupted"),
        (
            PermissionError(13, "Not allowed", "x/y"),
            2,
            "dlrun: error: x/y: Not allowed (--debug shows where)",
        ),
        (OSError("no space"), 2, "dlrun: error: no space (--debug shows where)"),
    ],
)
def test_expected_errors_are_one_line(
    error: BaseException, code: int, line: str, command: Command, capsys: Capture
) -> None:
    command(raising(error))
    assert main(["doctor"]) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_an_unexpected_error_keeps_its_traceback(command: Command, capsys: Capture) -> None:
    command(raising(ZeroDivisionError("in the user's model")))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "ZeroDivisionError: in the user's model" in text


@pytest.mark.parametrize("words", [["--debug", "doctor", "-x"], ["doctor", "-x", "--debug"]])
def test_debug_adds_the_traceback_and_the_command_never_sees_it(
    words: list[str], command: Command, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    seen = []

    def fail(argv: list[str]) -> int:
        seen.append(argv)
        raise ConfigError("wrong")

    command(fail)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # so that it is put back afterwards
    assert main(words) == 2
    text = capsys.readouterr().err
    assert seen == [["-x"]]
    assert "Traceback" in text
    assert text.endswith("\ndlrun: error: wrong\n")


def test_hydras_variable_adds_the_traceback_too(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    command(raising(ConfigError("wrong")))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(["doctor"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_exit_by_the_command_passes_through(command: Command) -> None:
    command(raising(SystemExit(7)))
    with pytest.raises(SystemExit, match="7"):
        main(["doctor"])


def test_the_commands_exit_code_is_returned(command: Command) -> None:
    command(lambda argv: 3)
    assert main(["doctor"]) == 3


def test_a_closed_pipe_is_met_in_silence(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = run_module("list", stdout=writing, cwd=tmp_path)
    finally:
        os.close(writing)
    assert result.returncode == 141
    assert result.stderr == ""


def test_wrong_arguments_exit_with_2(tmp_path: Path) -> None:
    assert run_module("runs", "-n", "none", cwd=tmp_path).returncode == 2


def test_what_no_terminal_shows_is_written_out(command: Command, capsys: Capture) -> None:
    def refuse(words: list[str]) -> int:
        raise ConfigError("a\x00b\x1b[2J é…")

    command(refuse)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "dlrun: error: a\\x00b\\x1b[2J é…\n"


def test_of_a_message_that_quotes_a_whole_file_the_middle_is_left_out(
    command: Command, capsys: Capture
) -> None:
    def refuse(words: list[str]) -> int:
        raise ConfigError(f"the cell {'x ' * 10**6}; mend it")

    command(refuse)
    assert main(["doctor"]) == 2
    error = capsys.readouterr().err
    assert len(error) < 5000 and error.endswith("x ; mend it\n")


def test_python_runs_the_package_as_the_command() -> None:
    command = [sys.executable, "-m", "dlrun", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == f"dlrun {__version__}\n"
