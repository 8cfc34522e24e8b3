"""Event files: framed as TensorBoard's own writer frames them, and read back by its own reader."""

import io

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from dlrun.tracking.event_file import EventFile, framed, shown


def read(folder):
    (file,) = folder.iterdir()
    return list(EventFileLoader(str(file)).Load())


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 50])
def test_records_are_framed_as_tensorboard_frames_them(data):
    expected = io.BytesIO()
    RecordWriter(expected).write(data)
    assert framed(data) == expected.getvalue()


def test_an_event_is_read_back_with_its_step_values_and_time(tmp_path):
    events = EventFile(tmp_path / "deep" / "er", purge_step=None)
    events.add(7, Summary.Value(tag="a", simple_value=1.5), Summary.Value(tag="b", simple_value=2))
    events.close()
    version, event = read(tmp_path / "deep" / "er")
    assert version.file_version == "brain.Event:2"
    assert event.step == 7
    assert [value.tag for value in event.summary.value] == ["a", "b"]
    assert event.wall_time >= version.wall_time > 1.7e9


def test_a_purge_says_that_a_session_starts_at_its_step(tmp_path):
    EventFile(tmp_path, purge_step=12).close()
    start = read(tmp_path)[-1]
    assert (start.step, start.session_log.status) == (12, SessionLog.START)


def test_two_files_of_one_second_have_two_names(tmp_path):
    for _ in range(3):
        EventFile(tmp_path, purge_step=None).close()
    assert len(list(tmp_path.iterdir())) == 3


def test_events_that_may_wait_are_written_by_a_flush(tmp_path):
    events = EventFile(tmp_path, purge_step=None, flush_seconds=1000)
    events.add(1, Summary.Value(tag="a", simple_value=1.5))
    assert list(tmp_path.iterdir()) == []
    events.flush()
    assert len(read(tmp_path)) == 2


def test_shown_are_the_values_of_all_files_as_far_as_they_are_whole_and_not_purged(tmp_path):
    for step, tag in ((7, "a"), (7, "b"), (8, "c")):
        events = EventFile(tmp_path, purge_step=None)
        events.add(step, Summary.Value(tag=tag, simple_value=1))
        events.close()
    newest = max(tmp_path.iterdir(), key=lambda file: file.name)
    newest.write_bytes(newest.read_bytes()[:-5])
    assert [(one.step, one.summary.value[0].tag) for one in shown(tmp_path)] == [(7, "a"), (7, "b")]
    EventFile(tmp_path, purge_step=7).close()
    assert shown(tmp_path) == []
