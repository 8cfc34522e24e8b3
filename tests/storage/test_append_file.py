"""A file that only grows: when its bytes are there, and how many there will be."""

import os

import pytest

from dlrun.storage.append_file import Appender


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_what_is_written_at_once_is_there_at_once(tmp_path):
    file = Appender(tmp_path / "f")
    file.write(b"one")
    file.write(b"two")
    assert (tmp_path / "f").read_bytes() == b"onetwo"
    assert file.size == 6
    file.close()


@pytest.mark.parametrize("end", [Appender.flush, Appender.close])
def test_what_may_wait_is_written_whole_at_the_end(end, tmp_path):
    file = Appender(tmp_path / "f", flush_seconds=1000)
    file.write(b"one")
    file.write(b"two")
    assert not (tmp_path / "f").exists()
    assert file.size == 6
    end(file)
    assert (tmp_path / "f").read_bytes() == b"onetwo"


def test_nothing_waits_longer_than_it_may_once_more_is_written(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    file = Appender(tmp_path / "f", flush_seconds=10)
    for clock[0], expected in [(1, None), (9, None), (10, b"xxx"), (19, b"xxx"), (20, b"xxxxx")]:
        file.write(b"x")
        found = (tmp_path / "f").read_bytes() if (tmp_path / "f").exists() else None
        assert found == expected


def test_what_is_there_already_is_kept_and_counted(tmp_path):
    (tmp_path / "f").write_bytes(b"before")
    file = Appender(tmp_path / "f")
    assert file.size == 6
    file.write(b", after")
    assert (tmp_path / "f").read_bytes() == b"before, after"
    assert file.size == 13
    file.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files by /proc")
def test_files_that_may_wait_are_not_kept_open(tmp_path):
    before = open_files()
    files = [Appender(tmp_path / str(i), flush_seconds=1000) for i in range(20)]
    for file in files:
        file.write(b"x")
        file.flush()
    assert open_files() == before


def test_writing_goes_on_after_a_close(tmp_path):
    file = Appender(tmp_path / "f")
    for data in (b"one", b"two"):
        file.write(data)
        file.close()
    assert (tmp_path / "f").read_bytes() == b"onetwo"
