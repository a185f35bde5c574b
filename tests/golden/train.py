#!/usr/bin/env python3
"""Writes train.json: what Keras's fit, evaluate and callbacks do, in float64.

    pip install tensorflow
    python tests/golden/train.py

Runs begin with the weights in the file, are not shuffled, and use plain SGD. src/train/tests.rs does the same.
"""

import json
import pathlib
import sys

import keras
import numpy as np

keras.config.set_floatx("float64")
rng = np.random.default_rng(20270114)


def single(array):
    return np.asarray(array, np.float32).astype(np.float64)


def flat(array):
    return np.asarray(array, np.float64).reshape(-1).tolist()


def weights(model):
    return [flat(w) for w in model.get_weights()]


def start(model):
    """Fresh weights that float32 has exactly."""
    model.set_weights([single(rng.uniform(-0.5, 0.5, w.shape)) for w in model.get_weights()])
    return weights(model)


def history(h):
    return {name: [float(v) for v in values] for name, values in h.history.items()}


out = {}
x = single(rng.uniform(-1, 1, (10, 4)))
labels = rng.integers(0, 3, 10)
odd = (labels % 2).astype(np.float64).reshape(10, 1)
samples = single(rng.uniform(0.2, 2.0, 10))
out["x"], out["labels"], out["odd"], out["samples"] = flat(x), labels.tolist(), flat(odd), flat(samples)

SCE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BCE = keras.losses.BinaryCrossentropy(from_logits=True)
CLASSES = {0: 2.0, 2: 0.5}


def classifier():
    return keras.Sequential([
        keras.Input((4,)),
        keras.layers.Dense(5, "tanh", kernel_regularizer=keras.regularizers.L2(0.01)),
        keras.layers.Dense(3, bias_regularizer=keras.regularizers.L1(0.02)),
    ])


for name, arguments in {
    "plain": {},
    "sample_weights": {"sample_weight": samples},
    "class_weights": {"class_weight": CLASSES},
    # Keras doesn't take both; their product is meant.
    "both_weights": {"sample_weight": samples * np.array([CLASSES.get(int(c), 1.0) for c in labels])},
    "split": {"validation_split": 0.35},
}.items():
    model = classifier()
    begin = start(model)
    model.compile(keras.optimizers.SGD(0.5), SCE, metrics=["accuracy"])
    # 4, 4 and 2 samples a step
    h = model.fit(x, labels, epochs=3, batch_size=4, shuffle=False, verbose=0, **arguments)
    loss, accuracy = model.evaluate(x, labels, batch_size=4, verbose=0)
    weighted = model.evaluate(x, labels, sample_weight=samples, batch_size=4, verbose=0)[0]
    out[name] = {"begin": begin, "end": weights(model), "history": history(h), "loss": loss,
                 "accuracy": accuracy, "weighted_loss": weighted}

model = classifier()
begin = start(model)
model.compile(keras.optimizers.SGD(0.5, gradient_accumulation_steps=2), SCE)
# Four steps of an epoch, so that nothing is left over at its end.
h = model.fit(x[:8], labels[:8], epochs=3, batch_size=2, shuffle=False, verbose=0)
out["accumulate"] = {"begin": begin, "end": weights(model), "history": history(h)}

image = keras.Input((4,), name="x")
shared = keras.layers.Dense(5, "tanh")(image)
model = keras.Model(image, {"digit": keras.layers.Dense(3, name="digit")(shared),
                            "odd": keras.layers.Dense(1, name="odd")(shared)})
begin = start(model)
model.compile(keras.optimizers.SGD(0.5), {"digit": SCE, "odd": BCE}, loss_weights={"digit": 1.0, "odd": 0.3},
              metrics={"digit": ["accuracy"], "odd": [keras.metrics.BinaryAccuracy(threshold=0.0)]})
# Batches of one size: Keras's losses of single outputs are means over batches (the total is one over samples).
h = model.fit(x, {"digit": labels, "odd": odd}, epochs=3, batch_size=5, shuffle=False, verbose=0)
out["multi"] = {"begin": begin, "end": weights(model), "history": history(h)}


class Model:
    """What a callback sees of a model."""

    def __init__(self):
        self.stop_training = False
        self.optimizer = keras.optimizers.SGD(1.0)
        self.metrics = []

    def get_weights(self):
        return []

    def set_weights(self, _):
        pass


LOSSES = [1.0, 0.8, 0.79, 0.81, 0.7, 0.72, 0.705, 0.71, 0.6, 0.61, 0.62, 0.63, 0.64, 0.65]


def drive(callback, values, name):
    model = Model()
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {name: value})
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    callback.on_train_end()
    return rates


out["losses"] = LOSSES
out["early_stopping"] = []
for settings in [{}, {"patience": 2}, {"patience": 3}, {"patience": 2, "min_delta": 0.05}, {"patience": 2, "baseline": 0.75},
                 {"patience": 2, "baseline": 0.5}, {"patience": 1, "start_from_epoch": 5}, {"patience": 5}]:
    for mode in ["min", "max"]:
        values = LOSSES if mode == "min" else [-v for v in LOSSES]
        s = dict(settings)
        if mode == "max" and "baseline" in s:
            s["baseline"] = -s["baseline"]
        callback = keras.callbacks.EarlyStopping("val_x", mode=mode, **s)
        epochs = len(drive(callback, values, "val_x"))
        out["early_stopping"].append({"settings": s, "mode": mode, "epochs": epochs,
                                      "stopped": callback.stopped_epoch > 0, "best": callback.best_epoch + 1})
out["reduce"] = []
for settings in [{"patience": 2}, {"patience": 2, "cooldown": 1, "factor": 0.5}, {"patience": 1, "min_lr": 0.05},
                 {"patience": 2, "min_delta": 0.05, "factor": 0.5}, {"patience": 3, "cooldown": 3, "factor": 0.5}]:
    callback = keras.callbacks.ReduceLROnPlateau("val_x", mode="min", **settings)
    out["reduce"].append({"settings": settings, "rates": drive(callback, LOSSES, "val_x")})

path = pathlib.Path(__file__).with_name("train.json")
path.write_text(json.dumps(out) + "\n")
print(path, path.stat().st_size, "bytes, keras", keras.__version__, file=sys.stderr)
