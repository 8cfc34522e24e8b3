from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from dlrun.commands import tensorboard
from dlrun.errors import ConfigError

Dlrun = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Path]
MakeSweep = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def served(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """(words) -> what TensorBoard would be called with, without the columns that come first."""

    def called_with(*words: str) -> list[str]:
        commands: list[list[str]] = []
        monkeypatch.setattr(tensorboard, "_become", lambda command: commands.append(command) or 0)
        assert tensorboard.main([*words]) == 0
        ((python, option, main, _, *arguments),) = commands
        assert [python, option, main] == [
            sys.executable,
            "-m",
            "dlrun.commands._tensorboard_server",
        ]
        return arguments

    return called_with


Served = Callable[..., list[str]]


def test_all_runs_are_served_on_localhost(
    make_run: MakeRun, served: Served, capsys: Capture
) -> None:
    make_run("a")
    called = served("--port", "16006")
    address = capsys.readouterr().out
    assert address == "TensorBoard for outputs at http://localhost:16006/ (Ctrl-C ends it)\n"
    assert called == ["--logdir", "outputs", "--host", "localhost", "--port", "16006"]


def test_a_run_is_found_by_its_name(make_run: MakeRun, served: Served) -> None:
    (make_run("2026-01-31_12-00-00_digits_cnn_12ab") / "tensorboard").mkdir()
    assert served("cnn")[1] == "outputs/runs/2026-01-31_12-00-00_digits_cnn_12ab/tensorboard"


def test_a_folder_of_runs_is_served_as_it_is(make_run: MakeRun, served: Served) -> None:
    make_run("0", "outputs/sweeps/s")
    assert served("outputs/sweeps/s")[:2] == ["--logdir", "outputs/sweeps/s"]


def test_a_sweep_is_found_by_its_name_and_a_trial_by_its_number(
    make_sweep: MakeSweep, served: Served
) -> None:
    sweep = make_sweep("2026-01-31_12-00-00_rates_34cd", 2)
    (sweep / "1/tensorboard").mkdir()
    assert served("rates")[1] == str(sweep)
    assert served("rates/1")[1] == str(sweep / "1/tensorboard")


def test_what_follows_two_dashes_is_passed_on(make_run: MakeRun, served: Served) -> None:
    make_run("a")
    assert served("--", "--reload_interval", "5")[-2:] == ["--reload_interval", "5"]


def test_a_taken_port_that_was_asked_for_is_refused(taken_port: int) -> None:
    with pytest.raises(
        ConfigError, match=f"--port is {taken_port}, which is in use; choose another"
    ):
        tensorboard._port(taken_port, "localhost")


def test_the_next_free_port_is_taken_and_that_is_said(
    taken_port: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(tensorboard, "FIRST_PORT", taken_port)
    port = tensorboard._port(None, "localhost")
    assert taken_port < port < taken_port + tensorboard.PORTS_TRIED
    assert f"Port {taken_port} is in use" in capsys.readouterr().out


def test_without_any_free_port_it_says_so(taken_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "FIRST_PORT", taken_port)
    monkeypatch.setattr(tensorboard, "PORTS_TRIED", 1)
    with pytest.raises(ConfigError, match=r"no port from .* is free"):
        tensorboard._port(None, "localhost")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is no outputs/ here: start a run"),
        (["nowhere"], "there are no runs in outputs/ yet"),
        (["run"], "run has no tensorboard/: it ran with tracking.tensorboard=false"),
    ],
)
def test_a_missing_folder_is_refused(words: list[str], said: str, make_run: MakeRun) -> None:
    make_run("run", ".")
    with pytest.raises(ConfigError, match=said):
        tensorboard.main(words)


def test_an_impossible_port_is_refused(dlrun: Dlrun) -> None:
    result = dlrun("tensorboard", "--port", "70000")
    assert result.returncode == 2
    assert "--port is 70000, but must be a whole number from 1 to 65,535" in result.stderr


def test_the_real_tensorboard_answers_and_ends_on_ctrl_c(make_run: MakeRun) -> None:
    make_run("a")
    command = [sys.executable, "-m", "dlrun.cli", "tensorboard"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        line = next(line for line in lines if "http" in line)
        assert "TensorBoard" in wait_for(line.split(" at ")[1].split()[0])
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    finally:
        process.kill()
        process.communicate()


def wait_for(address: str, seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while True:
        try:
            with urlopen(address, timeout=10) as answer:
                return str(answer.read().decode())
        except (URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
