#!/usr/bin/env python3
"""Writes sequences.json and recurrent.json: reference values and gradients of Keras in float64 for layers of sequences and of volumes.

    pip install tensorflow
    python tests/golden/sequences.py

The first has entries as in layers.json, which tests/golden_layers.rs checks in the same way. The second has recurrent layers with a
state and a mask, what they give and the state after it, for tests/layers/recurrent.rs. Inputs and weights are exact in single precision.
"""

import json
import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers as L  # noqa: E402

keras.backend.set_floatx("float64")
rng = np.random.default_rng(20261126)
layers, runs = [], []


def rand(*shape, low=-2.0, high=2.0):
    """Multiples of 1/64: exact in single precision, and short."""
    return np.round(rng.uniform(low, high, shape) * 64) / 64


def spread(*shape):
    """Every value once: no ties."""
    n = int(np.prod(shape))
    return (rng.permutation(n).reshape(shape) - n // 2) * 0.0625


def plain(a):
    return np.asarray(a).reshape(-1).tolist()


def short(a):
    """To the digits that single precision can be compared with."""
    return [float(f"{v:.7g}") for v in plain(a)]


def upstream_of(shape, start=0.5):
    n = int(np.prod(shape))
    return (np.round(np.linspace(start, -1.25, n) * 64) / 64).reshape(shape)


NAMES = {"kernel": "weight", "recurrent_kernel": "recurrent_weight", "depthwise_kernel": "depthwise_weight",
         "pointwise_kernel": "pointwise_weight"}


def named(variables, shapes=None):
    """Names and shapes as they are here."""
    out = []
    for v in variables:
        direction = [d for d in ("forward", "backward") if f"/{d}_" in v.path]
        name = ".".join(direction + [NAMES.get(v.name, v.name)])
        out.append({"name": name, "shape": (shapes or {}).get(name, list(v.shape)), "values": short(v.numpy())})
    return out


def randomise(made):
    for v in made.weights:
        v.assign(rand(*v.shape, low=-1.0, high=1.0))


def array(x):
    return {"shape": list(np.shape(x)), "dtype": "float", "values": plain(x)}


def layer(call, made, inputs, args=None, note=None, sample=None, shapes=None):
    """A Keras layer on one or several batches. `sample` is a shape in which dimensions are None: batches have others there."""
    made.build((None, *(sample or np.shape(inputs[0])[1:])))
    randomise(made)
    x = tf.Variable(inputs[-1])
    trained = list(made.trainable_weights)
    with tf.GradientTape() as tape:
        y = made(x)
    up = upstream_of(tuple(y.shape))
    grads = tape.gradient(y, [x] + [v.value for v in trained], output_gradients=tf.constant(up))
    grads = [short(tf.convert_to_tensor(g)) for g in grads]
    names = ["input"] + [w["name"] for w in named(trained)]
    e = {"layer": call, "args": args or [], "inputs": [array(x) for x in inputs], "training": False,
         "weights": named(made.weights, shapes), "shape": list(y.shape), "output": short(y), "upstream": plain(up),
         "grads": [{"name": name, "values": g} for name, g in zip(names, grads)], "after": [], "predicted": short(y)}
    if sample:
        e["sample"] = list(sample)
        e["built"] = list(made.compute_output_shape((None, *sample))[1:])
    if note:
        e["note"] = note
    layers.append(e)


def run(call, made, x, states, mask=None, args=None, note=None):
    """A recurrent layer with return_state from a state, with a mask."""
    made.build(np.shape(x))
    randomise(made)
    x = tf.Variable(x)
    states = [tf.Variable(s) for s in states]
    weights = list(made.trainable_weights)
    more = {} if mask is None else {"mask": tf.constant(mask != 0)}
    with tf.GradientTape() as tape:
        results = made(x, initial_state=[tf.identity(s) for s in states] or None, **more)
    ups = [upstream_of(tuple(r.shape), 0.5 - i / 8) for i, r in enumerate(results)]
    grads = tape.gradient(results, [x, *states] + [v.value for v in weights], output_gradients=[tf.constant(u) for u in ups])
    runs.append({
        "layer": call, "args": args or [], "note": note or "", "input": array(x.numpy()), "state": [array(s.numpy()) for s in states],
        "mask": [] if mask is None else plain(mask), "weights": named(weights),
        "results": [{"shape": list(r.shape), "values": short(r), "upstream": plain(u)} for r, u in zip(results, ups)],
        "grads": [short(tf.convert_to_tensor(g)) for g in grads]})


# The last number: whether sequences are returned, the one before: whether it goes backwards.
layer("simple_rnn", L.SimpleRNN(3), [rand(2, 5, 4)], [3, 0, 0])
layer("simple_rnn", L.SimpleRNN(3, return_sequences=True, activation="relu", use_bias=False), [rand(2, 4, 2)], [3, 0, 1], "relu, no bias")
layer("lstm", L.LSTM(3), [rand(2, 5, 4)], [3, 0, 0])
layer("lstm", L.LSTM(4, return_sequences=True, go_backwards=True), [rand(3, 4, 2)], [4, 1, 1], "backwards")
layer("lstm", L.LSTM(3), [rand(2, 1, 4)], [3, 0, 0], "one step")
layer("gru", L.GRU(3), [rand(2, 5, 4)], [3, 0, 0])
layer("gru", L.GRU(4, return_sequences=True), [rand(3, 4, 2)], [4, 0, 1])
layer("gru_before", L.GRU(3, reset_after=False, return_sequences=True), [rand(2, 5, 4)], [3, 0, 1], "reset before")
layer("gru_before", L.GRU(3, reset_after=False, use_bias=False, go_backwards=True), [rand(2, 4, 2)], [3, 1, 0], "reset before, no bias")
for code, mode in enumerate(["concat", "sum", "mul", "ave"]):
    sequences = code % 2 == 0
    layer("bidirectional", L.Bidirectional(L.LSTM(2, return_sequences=sequences), merge_mode=mode), [rand(2, 4, 3)],
          [2, code, int(sequences)], mode)
layer("bidirectional", L.Bidirectional(L.LSTM(2)), [rand(2, 4, 3)], [2, 0, 0], "last outputs")
layer("time_distributed", L.TimeDistributed(L.Conv2D(2, (2, 2))), [rand(2, 3, 3, 3, 2)])
lengths = (4, 1, 6)
layer("lstm", L.LSTM(3, return_sequences=True), [rand(2, n, 4) for n in lengths], [3, 0, 1], "any length", sample=(None, 4))
layer("gru", L.GRU(3), [rand(2, n, 4) for n in lengths], [3, 0, 0], "any length", sample=(None, 4))
layer("bidirectional", L.Bidirectional(L.LSTM(2, return_sequences=True)), [rand(2, n, 3) for n in lengths], [2, 0, 1], "any length",
      sample=(None, 3))

# Convolution and pooling. Paddings: 0 valid, 1 same, 2 causal.
layer("conv1d", L.Conv1D(4, 3, padding="causal", dilation_rate=2), [rand(2, 6, 3)], [4, 3, 1, 2, 2, 1], "causal")
layer("conv1d", L.Conv1D(4, 4, strides=2, padding="same", groups=2), [rand(2, 5, 4)], [4, 4, 2, 1, 1, 2], "same, groups")
layer("conv1d", L.Conv1D(2, 3, strides=2, padding="causal"), [rand(2, n, 2) for n in (1, 6, 5)], [2, 3, 2, 2, 1, 1], "any length",
      sample=(None, 2))
layer("conv_transpose1d", L.Conv1DTranspose(3, 4, strides=2, padding="same"), [rand(2, 3, 2)], [3, 4, 2, 1])
layer("conv_transpose1d", L.Conv1DTranspose(3, 2, strides=3), [rand(2, n, 2) for n in (1, 3)], [3, 2, 3, 0], "any length", sample=(None, 2))
layer("depthwise_conv1d", L.DepthwiseConv1D(3, padding="same", depth_multiplier=2), [rand(2, 5, 2)], [3, 2, 1], shapes={"weight": [3, 1, 4]})
layer("separable_conv1d", L.SeparableConv1D(3, 2, depth_multiplier=2), [rand(2, 5, 2)], [3, 2, 2],
      shapes={"depthwise_weight": [2, 1, 4]})
layer("max_pool1d", L.MaxPooling1D(2, strides=1, padding="same"), [spread(2, 5, 2)], [2, 1, 1])
layer("max_pool1d", L.MaxPooling1D(3), [spread(2, 7, 2)], [3, 3, 0])
layer("avg_pool1d", L.AveragePooling1D(3, strides=2, padding="same"), [rand(2, n, 2) for n in (5, 6)], [3, 2, 1], "any length",
      sample=(None, 2))
layer("global_avg_pool1d", L.GlobalAveragePooling1D(), [rand(2, n, 3) for n in (5, 4)], sample=(None, 3))
layer("global_max_pool1d", L.GlobalMaxPooling1D(keepdims=True), [spread(2, 5, 3)])
layer("zero_pad1d", L.ZeroPadding1D((1, 2)), [rand(2, 3, 2)], [1, 2])
layer("cropping1d", L.Cropping1D((1, 2)), [rand(2, 5, 2)], [1, 2])
layer("upsample1d", L.UpSampling1D(3), [rand(2, 3, 2)], [3])

mask = np.array([[1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]])
for call, made, count in [("simple_rnn", L.SimpleRNN, 1), ("lstm", L.LSTM, 2), ("gru", L.GRU, 1)]:
    for sequences in (0, 1):
        for backwards in (0, 1):
            settings = {"return_state": True, "return_sequences": bool(sequences), "go_backwards": bool(backwards)}
            states = [rand(3, 3) for _ in range(count)]
            x = rand(3, 6, 2)
            if backwards != sequences:
                run(call, made(3, **settings), x, states, None, [3, backwards, sequences], "state")
            elif backwards:
                # Keras gives zeros before the first step that counts, wgrad the state: a state of zeros.
                run(call, made(3, **settings), x, [s * 0 for s in states], mask, [3, backwards, sequences], "mask")
            else:
                run(call, made(3, **settings), x, states, mask, [3, backwards, sequences], "state and mask")
run("lstm", L.LSTM(2, return_state=True, return_sequences=True), rand(3, 6, 2), [rand(3, 2), rand(3, 2)], mask, [2, 0, 1], "sequences, mask")

# Volumes. Paddings: 0 valid, 1 same.
layer("conv3d", L.Conv3D(2, (2, 3, 2), strides=(2, 1, 2), padding="same", activation="relu"), [rand(1, 3, 3, 4, 2)],
      [2, 2, 3, 2, 2, 1, 2, 1, 1])
layer("conv3d", L.Conv3D(4, (2, 2, 2), groups=2), [rand(1, n, 3, 3, 4) for n in (3, 2)], [4, 2, 2, 2, 1, 1, 1, 0, 2], "any depth",
      sample=(None, 3, 3, 4))
layer("conv_transpose3d", L.Conv3DTranspose(2, (2, 3, 2), strides=(2, 2, 1), padding="same"), [rand(1, 2, 2, 3, 2)],
      [2, 2, 3, 2, 2, 2, 1, 1])
layer("conv_transpose3d", L.Conv3DTranspose(2, (1, 2, 3), strides=(2, 1, 2)), [rand(1, n, 2, 2, 2) for n in (1, 2)],
      [2, 1, 2, 3, 2, 1, 2, 0], "any depth", sample=(None, 2, 2, 2))
# (TensorFlow has no windows of pooling over volumes in double precision.)
layer("global_avg_pool3d", L.GlobalAveragePooling3D(), [rand(2, 2, 3, 2, 3)])
layer("global_max_pool3d", L.GlobalMaxPooling3D(keepdims=True), [spread(2, 2, 2, 3, 2)])
layer("zero_pad3d", L.ZeroPadding3D(((1, 0), (0, 2), (1, 1))), [rand(1, 2, 2, 2, 2)], [1, 0, 0, 2, 1, 1])
layer("cropping3d", L.Cropping3D(((1, 0), (0, 2), (1, 1))), [rand(1, 3, 4, 3, 2)], [1, 0, 0, 2, 1, 1])
layer("upsample3d", L.UpSampling3D((2, 1, 3)), [rand(1, 2, 2, 2, 2)], [2, 1, 3])


def write(name, key, entries):
    path = pathlib.Path(__file__).with_name(name)
    lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)
    path.write_text('{"keras":"%s","%s":[\n%s\n]}\n' % (keras.__version__, key, lines))
    print(f"{len(entries)} {key}, {path.stat().st_size} bytes")


write("sequences.json", "layers", layers)
write("recurrent.json", "runs", runs)
