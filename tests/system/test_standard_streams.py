"""Streams that are closed, lose their reader, or know ASCII alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dlrun.diagnostics.views import going_on
from dlrun.system.hardware import container_quota
from dlrun.system.standard_streams import Unbroken


def test_what_nobody_reads_is_dropped() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    file = Unbroken(writing, "w")
    assert [file.write(b"abc"), file.write(b"defg")] == [3, 4]
    file.close()


@pytest.mark.parametrize(
    "closed",
    [
        pytest.param(">&-", marks=pytest.mark.slow),
        pytest.param("2>&-", marks=pytest.mark.slow),
        ">&- 2>&- <&-",
    ],
)
def test_a_run_trains_with_streams_closed(closed: str, tmp_path: Path) -> None:
    words = (
        "train dataset=iris trainer.fast_dev_run=true tracking.tensorboard=false hydra.run.dir=run"
    )
    line = f"{shlex.quote(sys.executable)} -m dlrun {words} trainer.num_threads=1 {closed}"
    ended = subprocess.run(line, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False)
    assert '"completed"' in (tmp_path / "run/summary.json").read_text()


def test_a_terminal_that_knows_ascii_alone_shows_other_letters_written_out() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "dlrun", "größe"]
    ended = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"dlrun: error: there is no command gr\\xf6\\xdfe")


def test_what_is_only_looked_at_ends_no_run(caplog: pytest.LogCaptureFixture) -> None:
    with going_on("a picture"):
        raise ZeroDivisionError("no pixels")
    assert caplog.messages == ["a picture failed and is left out: no pixels"]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, float("inf")),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_the_quota_of_a_container_counts(
    files: dict[str, str], cores: float, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert container_quota(tmp_path) == cores
