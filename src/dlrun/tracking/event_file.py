"""TensorBoard's event file, written without a thread and without a checksum in plain Python.

Records as TensorFlow frames them (tensorflow/core/lib/io/record_writer.cc): length, masked CRC-32C of
the length, data, masked CRC-32C of the data; each an `Event`.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event, SessionLog, SourceMetadata, TaggedRunMetadata
from tensorboard.compat.proto.summary_pb2 import Summary

from dlrun.storage.append_file import Appender

_NUMBERS = itertools.count()  # two files of one process and second need two names
_PREFIX = "events.out.tfevents."
_VERSION = "brain.Event:2"


class EventFile:
    """A new event file in `folder`.

    Args:
        purge_step: TensorBoard forgets what earlier files of the folder hold from this step on.
        kept: what it is to show all the same, which begins the file.
        flush_seconds: how long events may wait in memory for the next one; 0: each is written at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        purge_step: int | None,
        kept: Iterable[Event] = (),
        flush_seconds: float = 0.0,
    ) -> None:
        name = f"{_next_second(folder):010d}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS)}"
        with suppress(OSError):  # as of a full disk: the file then says what is wrong
            folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{_PREFIX}{name}"
        # Pictures for people: no reason to end a run.
        self._file = Appender(file, flush_seconds=flush_seconds, needed=False)
        first = [_event(file_version=_VERSION, source_metadata=SourceMetadata(writer="dlrun"))]
        if purge_step is not None:
            first.append(_event(purge_step, file_version=_VERSION))
            start = _event(purge_step, session_log=SessionLog(status=SessionLog.START))
            # Twice: TensorBoard takes the first one of a folder for no restart.
            first += [start, start]
        self._write(*first, *kept)

    def add(self, step: int, *values: Summary.Value) -> None:
        """One event with all the values; none without any."""
        if values:
            self._write(_event(step, summary=Summary(value=values)))

    def add_curve(self, tag: str, values: Sequence[float]) -> None:
        """An event for each value, at steps 1, 2, …; all or none."""
        points = (Summary.Value(tag=tag, simple_value=value) for value in values)
        self._write(
            *(_event(step, summary=Summary(value=[one])) for step, one in enumerate(points, 1))
        )

    def add_graph(self, graph: bytes, statistics: bytes) -> None:
        """A serialised `GraphDef` and the `RunMetadata` that belong to it."""
        run = TaggedRunMetadata(tag="step1", run_metadata=statistics)
        self._write(_event(graph_def=graph), _event(tagged_run_metadata=run))

    def flush(self) -> None:
        """Write out all events, for TensorBoard to see."""
        self._file.flush()

    def close(self) -> None:
        """Write out what is left."""
        self._file.close()

    def _write(self, *events: Event) -> None:
        self._file.write(b"".join(framed(event.SerializeToString()) for event in events))


def _event(step: int = 0, **what: Any) -> Event:
    return Event(wall_time=time.time(), step=step, **what)


def shown(folder: Path) -> list[Event]:
    """The values that TensorBoard shows of the event files in `folder`, as far as these can be read."""
    events: list[Event] = []
    for file in sorted(folder.glob(f"{_PREFIX}*")):
        # One that ends in half a record, or is damaged, is read as far as it goes.
        with suppress(Exception), file.open("rb") as stream:
            while head := stream.read(12):
                data = stream.read(struct.unpack("<Q", head[:8])[0] + 4)[:-4]
                event = Event.FromString(data)
                if event.HasField("summary"):
                    events.append(event)
                elif event.HasField("session_log"):
                    events = [one for one in events if one.step < event.step]
    return events


def _next_second(folder: Path) -> int:
    """Now, or after the newest file where the clock was set back: files are read in the order of their names."""
    names = (file.name.removeprefix(_PREFIX) for file in folder.glob(f"{_PREFIX}*"))
    seconds = [int(name[:10]) for name in names if name[:10].isdigit()]
    return max([int(time.time()), *(second + 1 for second in seconds)])


def framed(data: bytes) -> bytes:
    """`data` as one record of an event file."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, _checksum(length), data, _checksum(data)))


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)
