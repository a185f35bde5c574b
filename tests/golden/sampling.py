#!/usr/bin/env python3
"""Writes sampling.json: images read between their pixels, by PyTorch in float64 and by TensorFlow, in the format of layers.json's "ops".

    pip install torch numpy tensorflow
    python tests/golden/sampling.py
"""

import json
import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(20261128)
ops = []


def rand(*shape, reach=2.0):
    """Multiples of 1/64: exact in single precision, and short."""
    return np.round(rng.uniform(-reach, reach, shape) * 64) / 64


def plain(a):
    return np.asarray(a).reshape(-1).tolist()


def upstream(shape):
    n = int(np.prod(shape))
    return (np.round(np.linspace(0.5, -1.25, n) * 64) / 64).reshape(tuple(shape))


def add(call, inputs, y, up, grads, args, note):
    ops.append({"call": call, "args": args, "note": note,
                "inputs": [{"shape": list(x.shape), "values": plain(x)} for x in inputs], "shape": list(y.shape),
                "output": plain(y), "upstream": plain(up), "grads": [plain(g) for g in grads]})


def op(call, inputs, f, args, note):
    leaves = [torch.tensor(x, requires_grad=True) for x in inputs]
    y = f(*leaves)
    up = upstream(y.shape)
    grads = torch.autograd.grad(y, leaves, torch.tensor(up))
    add(call, inputs, y.detach(), up, grads, args, note)


def first(x):
    return x.permute(0, 3, 1, 2)


def last(x):
    return x.permute(0, 2, 3, 1)


MODES = ["nearest-exact", "bilinear", "bicubic"]
for note, shape, size in [("larger", (1, 3, 4, 2), (7, 6)), ("smaller", (2, 7, 5, 1), (3, 2)), ("one row", (1, 1, 3, 1), (3, 8)),
                          ("to one pixel", (1, 4, 3, 1), (1, 1))]:
    for code, mode in enumerate(MODES):
        for align in ([False] if code == 0 else [False, True]):
            op("resize2d", [rand(*shape)],
               lambda x: last(F.interpolate(first(x), size, mode=mode, align_corners=align if code else None)),
               [*size, code, int(align)], note)

for note, shape, size in [("TensorFlow, larger", (1, 3, 4, 2), (6, 8)), ("TensorFlow, four times", (1, 2, 3, 1), (8, 12))]:
    x = rand(*shape)
    v = tf.Variable(x.astype("f4"))
    with tf.GradientTape() as tape:
        y = tf.image.resize(v, size, method="bicubic")
    up = upstream(y.shape)
    g = tape.gradient(y, v, output_gradients=tf.constant(up.astype("f4")))
    add("resize2d", [x], y.numpy(), up, [g.numpy()], [*size, 3, 0], note)

for nearest in [False, True]:
    for code, padding in enumerate(["zeros", "border", "reflection"]):
        for align in [False, True]:
            grid = rand(2, 3, 5, 2, reach=1.5 if code < 2 else 3.5)
            op("grid_sample", [rand(2, 3, 4, 2), grid],
               lambda x, g: last(F.grid_sample(first(x), g, mode="nearest" if nearest else "bilinear", padding_mode=padding,
                                               align_corners=align)),
               [int(nearest), code, int(align)], f"{padding}")
op("grid_sample", [rand(1, 1, 1, 1), rand(1, 2, 3, 2)],
   lambda x, g: last(F.grid_sample(first(x), g, padding_mode="reflection", align_corners=True)), [0, 2, 1], "one pixel")

path = pathlib.Path(__file__).with_name("sampling.json")
lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in ops)
path.write_text('{"torch":"%s","tensorflow":"%s","ops":[\n%s\n]}\n' % (torch.__version__, tf.__version__, lines))
print(f"{len(ops)} ops, {path.stat().st_size} bytes")
