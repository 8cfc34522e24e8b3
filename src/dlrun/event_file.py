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
from contextlib import suppress
from pathlib import Path
from typing import Any

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event, SessionLog, SourceMetadata, TaggedRunMetadata
from tensorboard.compat.proto.summary_pb2 import Summary

from dlrun.appending import Appender

_NUMBERS = itertools.count()  # two files of one process and second need two names
_VERSION = "brain.Event:2"


class EventFile:
    """A new event file in `folder`.

    Args:
        purge_step: TensorBoard forgets what earlier files of the folder hold from this step on.
        flush_seconds: how long events may wait in memory for the next one; 0: each is written at once.
    """

    def __init__(self, folder: Path, *, purge_step: int | None, flush_seconds: float = 0.0) -> None:
        name = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS)}"
        with suppress(OSError):  # as of a full disk: the file then says what is wrong
            folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"events.out.tfevents.{name}"
        # Pictures for people: no reason to end a run.
        self._file = Appender(file, flush_seconds=flush_seconds, needed=False)
        self._add(file_version=_VERSION, source_metadata=SourceMetadata(writer="dlrun"))
        if purge_step is not None:
            self._add(purge_step, file_version=_VERSION)
            self._add(purge_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, *values: Summary.Value) -> None:
        """One event with all the values; none without any."""
        if values:
            self._add(step, summary=Summary(value=values))

    def add_graph(self, graph: bytes, statistics: bytes) -> None:
        """A serialised `GraphDef` and the `RunMetadata` that belong to it."""
        self._add(graph_def=graph)
        run = TaggedRunMetadata(tag="step1", run_metadata=statistics)
        self._add(tagged_run_metadata=run)

    def flush(self) -> None:
        """Write out all events, for TensorBoard to see."""
        self._file.flush()

    def close(self) -> None:
        """Write out what is left."""
        self._file.close()

    def _add(self, step: int = 0, **what: Any) -> None:
        self._file.write(
            framed(Event(wall_time=time.time(), step=step, **what).SerializeToString())
        )


def tags_at(folder: Path, step: int) -> set[str]:
    """The tags of which the event files in `folder` hold a value at `step`, as far as they can be read."""
    found: set[str] = set()
    for file in folder.glob("events.out.tfevents.*"):
        # One that ends in half a record, or is damaged, is read as far as it goes.
        with suppress(Exception), file.open("rb") as stream:
            while head := stream.read(12):
                data = stream.read(struct.unpack("<Q", head[:8])[0] + 4)[:-4]
                event = Event.FromString(data)
                if event.step == step:
                    found.update(value.tag for value in event.summary.value)
    return found


def framed(data: bytes) -> bytes:
    """`data` as one record of an event file."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, _checksum(length), data, _checksum(data)))


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)
