#!/usr/bin/env python3
"""Writes layers.json: reference values and gradients of PyTorch and Keras in float64.

    pip install torch tensorflow
    python tests/golden/layers.py

"ops" are calls of tensors that tests/golden_layers.rs knows, in the format of vectors.json. "layers" are layers with their
weights, one or several batches, the output and the gradients for the last batch, and what its buffers are after them.
Inputs and weights are exact in single precision, so that both precisions start from the same.
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
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from keras import layers as L  # noqa: E402

torch.set_default_dtype(torch.float64)
keras.backend.set_floatx("float64")
rng = np.random.default_rng(20261123)
ops, layers = [], []


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
    return [float(f"{v:.10g}") for v in plain(a)]


def upstream_of(shape):
    n = int(np.prod(shape))
    return (np.round(np.linspace(0.5, -1.25, n) * 64) / 64).reshape(shape)


def op(call, inputs, f, args=None, note=None):
    """A call of PyTorch tensors."""
    leaves = [torch.tensor(np.asarray(x, dtype=np.float64), requires_grad=True) for x in inputs]
    y = f(*leaves)
    up = upstream_of(tuple(y.shape))
    grads = torch.autograd.grad(y, leaves, torch.tensor(up))
    entry(call, inputs, y.detach().numpy(), up, [g.numpy() for g in grads], args, note)


def tf_op(call, inputs, f, args=None, note=None):
    """A call of TensorFlow tensors."""
    leaves = [tf.Variable(x, dtype=tf.float64) for x in inputs]
    with tf.GradientTape() as tape:
        y = f(*leaves)
    up = upstream_of(tuple(y.shape))
    grads = tape.gradient(y, leaves, output_gradients=tf.constant(up))
    entry(call, inputs, y.numpy(), up, [g.numpy() for g in grads], args, note)


def entry(call, inputs, y, up, grads, args, note):
    e = {"call": call, "args": args or [], "inputs": [{"shape": list(np.shape(x)), "values": plain(x)} for x in inputs],
         "shape": list(y.shape), "output": plain(y), "upstream": plain(up), "grads": [plain(g) for g in grads]}
    if note:
        e["note"] = note
    ops.append(e)


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


# Activation functions, on their bends too where all agree.
points = [-30.0, -9.5, -4.0, -3.5, -2.5, -1.0, -0.5, -1e-3, 1e-3, 0.25, 0.5, 1.0, 1.5, 2.5, 3.5, 5.5, 6.25, 20.0]
for name, f in {"relu6": F.relu6, "selu": F.selu, "hard_sigmoid": F.hardsigmoid, "hard_silu": F.hardswish,
                "softsign": F.softsign, "mish": F.mish}.items():
    op(name, [points], f)
op("relu6", [[0.0, 6.0]], F.relu6, note="bends")
op("hard_sigmoid", [[-3.0, 3.0]], F.hardsigmoid, note="bends")
op("softsign", [[0.0, 1e4, -1e4]], F.softsign)
for name in ["selu", "hard_sigmoid", "hard_silu", "mish", "softsign", "relu6"]:
    tf_op(name, [points], getattr(keras.activations, name), note="Keras")

VALID, SAME, EXPLICIT = 0, 1, 2


def transpose_torch(note, image, kernel, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), groups=1):
    """kernel: [kh, kw, out / groups, c]"""
    def f(x, w):
        y = F.conv_transpose2d(nchw(x), w.permute(3, 2, 0, 1), stride=stride, padding=padding, output_padding=output_padding,
                               dilation=dilation, groups=groups)
        return nhwc(y)
    (p, q) = padding
    op("conv2d_transpose", [rand(*image), rand(*kernel)], f,
       [*stride, EXPLICIT, p, p, q, q, 1, *output_padding, *dilation, groups], note)


transpose_torch("plain", (2, 3, 4, 2), (3, 3, 3, 2))
transpose_torch("stride", (1, 3, 4, 2), (3, 2, 3, 2), stride=(2, 3))
transpose_torch("padding", (1, 4, 5, 2), (3, 3, 2, 2), stride=(2, 2), padding=(1, 2))
transpose_torch("output padding", (1, 4, 3, 2), (3, 4, 2, 2), stride=(2, 3), padding=(1, 1), output_padding=(1, 2))
transpose_torch("dilation", (1, 4, 3, 2), (2, 3, 2, 2), stride=(1, 2), dilation=(2, 2), padding=(1, 0))
transpose_torch("groups", (1, 3, 4, 6), (3, 3, 2, 6), stride=(2, 1), groups=3)
transpose_torch("depthwise", (2, 3, 3, 4), (3, 3, 1, 4), stride=(2, 2), padding=(1, 1), output_padding=(1, 1), groups=4)


def transpose_keras(note, image, kernel, stride=(1, 1), padding="valid", output_padding=None, dilation=(1, 1)):
    def f(x, w):
        return keras.ops.conv_transpose(x, w, strides=stride, padding=padding, output_padding=output_padding,
                                        data_format="channels_last", dilation_rate=dilation)
    tf_op("conv2d_transpose", [rand(*image), rand(*kernel)], f,
          [*stride, SAME if padding == "same" else VALID, 0, 0, 0, 0, int(output_padding is not None), *(output_padding or (0, 0)),
           *dilation, 1], "Keras, " + note)


transpose_keras("valid", (1, 3, 4, 2), (3, 3, 3, 2), stride=(2, 2))
transpose_keras("valid, stride over window", (1, 3, 4, 2), (2, 1, 3, 2), stride=(3, 2))
transpose_keras("valid, output padding", (1, 3, 4, 2), (3, 2, 3, 2), stride=(2, 3), output_padding=(1, 2))
transpose_keras("same", (2, 3, 4, 2), (3, 3, 3, 2), stride=(2, 2), padding="same")
transpose_keras("same, even window", (1, 3, 4, 2), (4, 2, 3, 2), stride=(2, 2), padding="same")
transpose_keras("same, stride over window", (1, 3, 2, 2), (2, 2, 3, 2), stride=(3, 3), padding="same")
transpose_keras("same, stride 1", (1, 4, 3, 2), (4, 3, 3, 2), padding="same")
transpose_keras("same, output padding", (1, 3, 4, 2), (3, 5, 3, 2), stride=(2, 3), padding="same", output_padding=(1, 0))

for factor in [(2, 2), (3, 1), (1, 4), (5, 2)]:
    for mode, code in [("nearest", 0), ("bilinear", 1)]:
        def f(x, mode=mode, factor=factor):
            extra = {} if mode == "nearest" else {"align_corners": False}
            return nhwc(F.interpolate(nchw(x), scale_factor=factor, mode=mode, **extra))
        op("upsample2d", [rand(2, 3, 4, 2)], f, [*factor, code], mode)
        tf_op("upsample2d", [rand(1, 2, 3, 2)], L.UpSampling2D(factor, interpolation=mode), [*factor, code], "Keras, " + mode)
tf_op("upsample2d", [rand(1, 1, 1, 2)], L.UpSampling2D((3, 2), interpolation="bilinear"), [3, 2, 1], "Keras, one pixel")

NAMES = {"kernel": "weight", "embeddings": "weight", "depthwise_kernel": "depthwise_weight",
         "pointwise_kernel": "pointwise_weight"}


def layer(call, made, inputs, args=None, note=None, training=False, rename=None, weights=None, sample=None):
    """A Keras layer on one or several batches. `weights` gives values other than random ones by name, `sample` a shape in which
    dimensions are None: batches have others there."""
    made.build((None, *(sample or np.shape(inputs[0])[1:])))
    names = {**NAMES, **(rename or {})}

    def named(list_of_variables):
        out = []
        for v in list_of_variables:
            name = names.get(v.name, v.name)
            shape = list(v.shape)
            if name in ("depthwise_weight",) or (rename and v.name in rename):
                shape = [shape[0], shape[1], 1, shape[2] * shape[3]]
            out.append({"name": name, "shape": shape, "values": short(v.numpy())})
        return out

    for v in made.weights:
        low, high = (0.5, 2.0) if v.name in ("gamma", "moving_variance") else (-1.0, 1.0)
        v.assign((weights or {}).get(v.name, rand(*v.shape, low=low, high=high)))
    before = named(made.weights)
    for x in inputs[:-1]:
        made(tf.constant(x), training=training)
    is_float = np.asarray(inputs[-1]).dtype.kind == "f"
    x = tf.Variable(inputs[-1]) if is_float else tf.constant(inputs[-1])
    trained = list(made.trainable_weights)
    with tf.GradientTape() as tape:
        y = made(x, training=training)
    up = upstream_of(tuple(y.shape))
    sources = ([x] if is_float else []) + [v.value for v in trained]
    grads = tape.gradient(y, sources, output_gradients=tf.constant(up))
    grads = [tf.convert_to_tensor(g) for g in grads]
    found = []
    if is_float:
        found.append({"name": "input", "values": short(grads[0])})
        grads = grads[1:]
    for entry, g in zip(named(trained), grads):
        found.append({"name": entry["name"], "values": short(g)})
    e = {"layer": call, "args": args or [],
         "inputs": [{"shape": list(np.shape(x)), "dtype": "float" if is_float else "int", "values": plain(x)} for x in inputs],
         "training": training, "weights": before, "shape": list(y.shape), "output": short(y), "upstream": plain(up),
         "grads": found,
         "after": [w for w in named(made.weights) if w["name"].startswith("moving")],
         "predicted": short(made(tf.constant(inputs[-1]), training=False))}
    if sample:
        e["sample"] = list(sample)
        e["built"] = list(made.compute_output_shape((None, *sample))[1:])
    if note:
        e["note"] = note
    layers.append(e)


layer("dense", L.Dense(4, activation="tanh"), [rand(3, 5)])
layer("conv2d", L.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="relu"), [rand(2, 5, 6, 3)], [4, 3, 2, 2, 1, SAME, 1, 1, 1])
layer("conv2d", L.Conv2D(4, (3, 3), dilation_rate=(2, 1)), [rand(1, 6, 5, 2)], [4, 3, 3, 1, 1, VALID, 2, 1, 1], "dilation")
layer("conv2d", L.Conv2D(6, (3, 3), groups=2, padding="same"), [rand(2, 4, 4, 4)], [6, 3, 3, 1, 1, SAME, 1, 1, 2], "groups")
layer("depthwise_conv2d", L.DepthwiseConv2D((3, 3), padding="same", depth_multiplier=2), [rand(2, 4, 5, 3)], [3, 3, 2, 1, 1, SAME],
      rename={"kernel": "weight"})
layer("depthwise_conv2d", L.DepthwiseConv2D((2, 2), strides=(2, 2)), [rand(1, 6, 5, 4)], [2, 2, 1, 2, 2, VALID],
      rename={"kernel": "weight"})
layer("separable_conv2d", L.SeparableConv2D(5, (3, 3), depth_multiplier=2, padding="same"), [rand(2, 4, 5, 3)], [5, 3, 3, 2, SAME])
layer("conv_transpose2d", L.Conv2DTranspose(3, (3, 3), strides=(2, 2), padding="same"), [rand(2, 3, 4, 2)], [3, 3, 3, 2, 2, SAME, 0, 0, 0])
layer("conv_transpose2d", L.Conv2DTranspose(3, (3, 2), strides=(2, 3), output_padding=(1, 2)), [rand(1, 3, 3, 2)],
      [3, 3, 2, 2, 3, VALID, 1, 1, 2], "output padding")
image = spread(2, 4, 5, 3)
layer("global_avg_pool2d", L.GlobalAveragePooling2D(), [image])
layer("global_max_pool2d", L.GlobalMaxPooling2D(), [image])
layer("global_max_pool2d", L.GlobalMaxPooling2D(keepdims=True), [image], [1], "kept dimensions")
layer("zero_pad2d", L.ZeroPadding2D(((1, 0), (2, 3))), [image], [1, 0, 2, 3])
layer("cropping2d", L.Cropping2D(((1, 0), (2, 1))), [image], [1, 0, 2, 1])
layer("upsample2d", L.UpSampling2D((2, 3)), [rand(2, 2, 3, 2)], [2, 3, 0])
layer("upsample2d", L.UpSampling2D((2, 3), interpolation="bilinear"), [rand(2, 2, 3, 2)], [2, 3, 1])
layer("softmax", L.Softmax(), [rand(3, 4, 5)], [-1])
layer("softmax", L.Softmax(axis=1), [rand(3, 4, 5)], [0], "another axis")
layer("permute", L.Permute((3, 1, 2)), [rand(2, 3, 4, 5)], [2, 0, 1])
layer("prelu", L.PReLU(), [rand(2, 3, 4)])
layer("prelu", L.PReLU(shared_axes=[1, 2]), [rand(2, 3, 4, 2)], [0, 1], "shared axes")
layer("leaky_relu", L.LeakyReLU(negative_slope=0.3), [rand(3, 5)], [0.3])
layer("elu", L.ELU(), [rand(3, 5)])
layer("exponential", L.Activation("exponential"), [rand(3, 5)])
layer("log_softmax", L.Activation("log_softmax"), [rand(3, 5)])
layer("embedding", L.Embedding(7, 3), [np.array([[1, 6, 1], [0, 1, 3]])], [7, 3])
layer("layer_norm", L.LayerNormalization(), [rand(4, 6)], [-1])
layer("layer_norm", L.LayerNormalization(axis=[1, 3]), [rand(2, 3, 4, 5)], [0, 2], "two axes")
layer("layer_norm", L.LayerNormalization(axis=[1, 2, 3]), [rand(2, 3, 4, 2) + 100.0], [0, 1, 2], "a mean far from zero")
layer("group_norm", L.GroupNormalization(2), [rand(2, 3, 4, 6)], [2])
layer("group_norm", L.GroupNormalization(3), [rand(4, 6)], [3], "features")
start = {"moving_mean": np.zeros(4), "moving_variance": np.ones(4)}
layer("batch_norm", L.BatchNormalization(), [rand(6, 4) * (i + 1) + i for i in range(3)], [0.99, 1, 1], "three steps", training=True, weights=start)
layer("batch_norm", L.BatchNormalization(momentum=0.5), [rand(3, 2, 3, 4) * (i + 1) - i for i in range(4)], [0.5, 1, 1],
      "four steps of images", training=True, weights=start)
layer("batch_norm", L.BatchNormalization(momentum=0.9, center=False), [rand(5, 4) for _ in range(2)], [0.9, 0, 1], "no beta", training=True)
layer("batch_norm", L.BatchNormalization(momentum=0.9, scale=False), [rand(5, 4) for _ in range(2)], [0.9, 1, 0], "no gamma", training=True)
layer("batch_norm", L.BatchNormalization(), [rand(5, 3, 4)], [0.99, 1, 1], "predicting")
frozen = L.BatchNormalization()
frozen.trainable = False
layer("frozen_batch_norm", frozen, [rand(5, 4)], [0.99, 1, 1], "frozen: predicts while it trains", training=True)

# Batches of several lengths through one layer, which was built for any.
lengths = (4, 1, 6)


def any_length(call, made, sample, args=None, dense=True, **more):
    def batch(n):
        dims = [d or n + i for i, d in enumerate(sample)]
        return rand(2, *dims) if dense else rng.integers(0, 7, (2, *dims))
    layer(call, made, [batch(n) for n in lengths], args, "any length", sample=sample, **more)


any_length("dense", L.Dense(4, activation="tanh"), (None, 5))
any_length("dense", L.Dense(4, activation="tanh"), (None, 3, None, 5))
any_length("embedding", L.Embedding(7, 3), (None,), [7, 3], dense=False)
any_length("embedding", L.Embedding(7, 3), (None, None), [7, 3], dense=False)
any_length("softmax", L.Softmax(), (None, 5), [-1])
any_length("softmax", L.Softmax(axis=1), (None, 5), [0])
any_length("prelu", L.PReLU(shared_axes=[1]), (None, 5), [0])
any_length("permute", L.Permute((2, 1)), (None, 5), [1, 0])
any_length("layer_norm", L.LayerNormalization(), (None, 6), [-1])
any_length("group_norm", L.GroupNormalization(2), (None, 6), [2])
any_length("batch_norm", L.BatchNormalization(), (None, 4), [0.99, 1, 1], training=True, weights=start)
any_length("conv2d", L.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="relu"), (None, None, 3),
           [4, 3, 2, 2, 1, SAME, 1, 1, 1])
any_length("depthwise_conv2d", L.DepthwiseConv2D((3, 3), padding="same", depth_multiplier=2), (5, None, 3), [3, 3, 2, 1, 1, SAME],
           rename={"kernel": "weight"})
any_length("conv_transpose2d", L.Conv2DTranspose(3, (3, 3), strides=(2, 2), padding="same"), (None, None, 2),
           [3, 3, 3, 2, 2, SAME, 0, 0, 0])
any_length("global_avg_pool2d", L.GlobalAveragePooling2D(), (None, None, 3))
any_length("zero_pad2d", L.ZeroPadding2D(((1, 0), (2, 3))), (None, None, 3), [1, 0, 2, 3])
any_length("cropping2d", L.Cropping2D(((0, 0), (1, 0))), (None, None, 3), [0, 0, 1, 0])
any_length("upsample2d", L.UpSampling2D((2, 3), interpolation="bilinear"), (None, None, 2), [2, 3, 1])

path = pathlib.Path(__file__).with_name("layers.json")


def lines(entries):
    return ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)


path.write_text('{"torch":"%s","keras":"%s","ops":[\n%s\n],"layers":[\n%s\n]}\n'
                % (torch.__version__, keras.__version__, lines(ops), lines(layers)))
print(f"{len(ops)} ops, {len(layers)} layers, {path.stat().st_size} bytes")
