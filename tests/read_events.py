#!/usr/bin/env python3
"""Reads event files that wgrad wrote with the package tensorboard, and compares them with the run's history.

    pip install tensorboard
    WGRAD_TEST_EVENTS=/tmp/events cargo test --test train event_files
    python tests/read_events.py /tmp/events
"""

import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = pathlib.Path(sys.argv[1])
history = json.loads((folder / "history.json").read_text())
for part, prefix in [("train", ""), ("validation", "val_")]:
    events = EventAccumulator(str(folder / part))
    events.Reload()
    tags = events.Tags()["scalars"]
    names = [n for n in ["loss", "accuracy", "learning_rate"] if prefix + n in history[0]]
    assert set(tags) - {"batch_loss"} == {f"epoch_{n}" for n in names}, tags
    for name in names:
        points = [(p.step, p.value) for p in events.Scalars(f"epoch_{name}")]
        expected = [(epoch["epoch"], epoch[prefix + name]) for epoch in history]
        assert len(points) == len(expected)
        for (step, value), (number, wanted) in zip(points, expected):
            assert step == number and math.isclose(value, wanted, rel_tol=1e-6), (part, name, step, value, wanted)
    print(part, {tag: [round(p.value, 4) for p in events.Scalars(tag)] for tag in tags})
print("tensorboard reads what wgrad wrote")
