#!/usr/bin/env python3
"""Writes constraints.json: Keras's constraints of weights, and a training with constraints and penalties on outputs, in float64.

    pip install tensorflow
    python tests/golden/constraints.py

Weights begin as float32 has them. src/train/tests/keras.rs does the same.
"""

import json
import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras  # noqa: E402
import numpy as np  # noqa: E402

keras.config.set_floatx("float64")
rng = np.random.default_rng(20271126)
C = keras.constraints
R = keras.regularizers


def single(array):
    return np.asarray(array, np.float32).astype(np.float64)


def flat(array):
    return np.asarray(array, np.float64).reshape(-1).tolist()


def weights(model):
    return [flat(w) for w in model.get_weights()]


out = {"values": []}
matrix = single(rng.uniform(-2, 2, (4, 3)))
matrix[:, 1] = 0.0
filters = single(rng.uniform(-1, 1, (2, 2, 3, 2)))
for config, constraint in [
    ({"kind": "non_neg"}, lambda axes: C.NonNeg()),
    ({"kind": "unit_norm"}, lambda axes: C.UnitNorm(axis=axes)),
    ({"kind": {"max_norm": 0.75}}, lambda axes: C.MaxNorm(0.75, axis=axes)),
    ({"kind": {"min_max_norm": {"min": 0.5, "max": 1.25, "rate": 1.0}}}, lambda axes: C.MinMaxNorm(0.5, 1.25, axis=axes)),
    ({"kind": {"min_max_norm": {"min": 0.5, "max": 1.25, "rate": 0.25}}},
     lambda axes: C.MinMaxNorm(0.5, 1.25, rate=0.25, axis=axes)),
]:
    for w, axes in [(matrix, [0]), (matrix, [1]), (filters, [0, 1, 2]), (filters, [-1])]:
        constrained = constraint(tuple(axes))(keras.ops.convert_to_tensor(w))
        out["values"].append({"config": {**config, "axes": axes}, "shape": list(w.shape), "w": flat(w),
                              "constrained": flat(constrained)})

x = single(rng.uniform(-1, 1, (10, 4)))
labels = rng.integers(0, 3, 10)
model = keras.Sequential([
    keras.Input((4,)),
    keras.layers.Dense(5, "tanh", kernel_constraint=C.MaxNorm(0.75), bias_constraint=C.NonNeg(),
                       activity_regularizer=R.L2(0.1)),
    keras.layers.ActivityRegularization(l1=0.05),
    keras.layers.LayerNormalization(gamma_constraint=C.MinMaxNorm(0.5, 1.5, rate=0.5), beta_constraint=C.MaxNorm(0.1)),
    keras.layers.Dense(3, kernel_constraint=C.UnitNorm(axis=1), activity_regularizer=R.L1L2(0.01, 0.02)),
])
model.set_weights([single(rng.uniform(-1, 1, w.shape)) for w in model.get_weights()])
begin = weights(model)
model.compile(keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
# 4, 4 and 2 samples a step
h = model.fit(x, labels, epochs=3, batch_size=4, shuffle=False, verbose=0)
loss = model.evaluate(x, labels, batch_size=4, verbose=0)
out["fit"] = {"x": flat(x), "labels": labels.tolist(), "begin": begin, "end": weights(model),
              "history": {name: [float(v) for v in values] for name, values in h.history.items()}, "loss": loss}

path = pathlib.Path(__file__).with_name("constraints.json")
path.write_text(json.dumps(out, separators=(",", ":")) + "\n")
print(path, path.stat().st_size)
