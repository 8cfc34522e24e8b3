"""The cache of large data: built once, by one of several processes, and never read half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from dlrun.cli import main
from dlrun.data.cache import Source, clear, entries, entry
from dlrun.errors import ConfigError
from dlrun.system.hardware import free_memory

# Builds the entry of argv[1] in argv[2] seconds, and prints whether this process built it.
_BUILDER = """
import sys, time
from pathlib import Path
from dlrun.data.cache import Source, entry
built = []
def build(folder):
    built.append(folder)
    (folder / "values").write_text("first ")
    print("building", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "values").write_text("whole")
found = entry("one", [Source.of(Path(sys.argv[1]))], build)
print((found.path / "values").read_text(), len(built))
"""


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    return path


def _build(folder: Path) -> None:
    (folder / "values").write_text("whole")


def _process(source: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _BUILDER, str(source), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_an_entry_is_built_once(source):
    built = []
    for _ in range(2):
        found = entry("one", [Source.of(source)], lambda folder: built.append(_build(folder)))
        assert (found.path / "values").read_text() == "whole"
    assert len(built) == 1


def test_one_of_several_processes_builds_and_the_others_wait(source):
    processes = [_process(source, 0.5) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].split() for process in processes]
    assert all("whole" in words for words in said)
    assert sum(int(words[-1]) for words in said) == 1


def test_a_process_that_waits_for_another_says_so(source, capsys):
    (source.parent / "cache").mkdir()
    began = threading.Event()

    def hold() -> None:
        with FileLock(source.parent / "cache/one.lock"):
            began.set()
            time.sleep(0.2)

    threading.Thread(target=hold).start()
    began.wait()
    found = entry("one", [Source.of(source)], _build)
    assert (found.path / "values").read_text() == "whole"
    assert f"another process reads {source} into the cache" in capsys.readouterr().err
    entry("two", [Source.of(source)], _build)
    assert capsys.readouterr().err == ""


def test_what_a_killed_process_left_is_never_read(source, tmp_path):
    process = _process(source, 60)
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / "cache/one.part/values").exists()
    assert entries() == []
    found = entry("one", [Source.of(source)], _build)
    assert (found.path / "values").read_text() == "whole"
    assert not (tmp_path / "cache/one.part").exists()


def test_clearing_leaves_what_a_process_is_building(source, tmp_path):
    entry("old", [Source.of(source)], _build)
    process = _process(source, 1.5)
    assert process.stdout is not None
    process.stdout.readline()
    assert [name for name, _ in clear()] == ["old"]
    assert process.communicate(timeout=60)[0].split() == ["whole", "1"]


def test_a_failed_build_leaves_nothing(source, tmp_path):
    def fail(folder: Path) -> None:
        _build(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match=r"No space left on device.*DLRUN_CACHE"):
        entry("one", [Source.of(source)], fail)
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_an_entry_is_current_until_its_file_is_changed(source):
    found = entry("one", [Source.of(source)], _build)
    assert found.is_current
    time.sleep(0.01)
    os.utime(source)
    assert not entries()[0].is_current


def test_the_command_lists_and_clears(source, capsys):
    assert main(["cache"]) == 0
    assert "empty" in capsys.readouterr().out
    entry("one", [Source.of(source)], _build)
    entry("two", [Source.of(source)], _build)
    assert main(["cache"]) == 0
    listed = capsys.readouterr().out
    assert "one  " in listed and str(source) in listed
    assert main(["cache", "--clear", "one"]) == 0
    assert capsys.readouterr().out.startswith("1 deleted")
    assert [one.name for one in entries()] == ["two"]
    assert main(["cache", "--clear", "three"]) == 2
    assert "has no entry three" in capsys.readouterr().err
    assert main(["cache", "--clear"]) == 0
    assert entries() == []


def test_free_memory_respects_the_limit_of_a_control_group(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert free_memory(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) > 2**20
