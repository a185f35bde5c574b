#!/usr/bin/env python3
"""Writes events.bin: an event file as the package tensorboard writes it.

    pip install tensorboard
    python tests/golden/events.py

The test in src/train/events.rs compares its own bytes with these.
"""

import pathlib

from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

START = 1_700_000_000.25
path = pathlib.Path(__file__).with_name("events.bin")
with open(path, "wb") as file:
    writer = RecordWriter(file)
    writer.write(event_pb2.Event(wall_time=START, file_version="brain.Event:2").SerializeToString())
    for step, tag, value in [
        (0, "epoch_loss", 2.5),
        (1, "epoch_loss", 0.125),
        (300, "a/b c", -1e-7),
        (1 << 40, "x", float("nan")),
    ]:
        event = event_pb2.Event(wall_time=START + step, step=step)
        event.summary.value.add(tag=tag, simple_value=value)
        writer.write(event.SerializeToString())
    writer.flush()
