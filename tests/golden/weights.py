"""Files of weights that real PyTorch and Keras wrote, what the models predict, and files of real NumPy.

    python weights.py           writes weights.json, numpy.json and the files in weights/
    python weights.py FILE      checks that PyTorch loads FILE, which wgrad exported after importing weights/stack.pt

Needs torch, safetensors, tensorflow (Keras 3) and numpy. Inputs are the formula `inputs`, which tests/files.rs has too.
"""
import io
import json
import os
import pathlib
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import numpy as np
import torch
import torch.nn as nn
from safetensors.torch import load_file, save_file

here = pathlib.Path(__file__).parent
folder = here / "weights"
folder.mkdir(exist_ok=True)
torch.manual_seed(7)


def inputs(*shape):
    n = int(np.prod(shape))
    return ((np.arange(n) * 37 % 101) / 50 - 1).astype("f4").reshape(shape)


def nchw(x):
    return torch.tensor(x).permute(0, 3, 1, 2)


def settle(model):
    """Values that are neither zero nor one where layers begin with these."""
    for name, p in list(model.named_parameters()) + list(model.named_buffers()):
        if p.dtype.is_floating_point and p.dim() == 1:
            p.data.copy_(torch.rand(p.shape) * 1.5 + 0.25)
    return model.eval()


def stack():
    return settle(nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, groups=2, bias=False), nn.Conv2d(4, 8, 3, padding=1, groups=4), nn.GroupNorm(2, 8),
        nn.ConvTranspose2d(8, 4, 3, stride=2, groups=2), nn.PReLU(4), nn.LayerNorm([4, 5, 5]),
        nn.Flatten(), nn.BatchNorm1d(100), nn.Linear(100, 6), nn.PReLU(1), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)))


class Branched(nn.Module):
    """Two equal branches, a joint vector of a flattened image and features, a head, and a decoder."""

    def __init__(self):
        super().__init__()
        self.right = nn.Conv2d(2, 3, 3, padding=1)
        self.left = nn.Conv2d(2, 3, 3, padding=1)
        self.head = nn.Linear(6 * 4 * 4 + 6, 4)
        self.code = nn.Linear(6 * 4 * 4 + 6, 12)
        self.norm = nn.BatchNorm1d(12)
        self.decode = nn.ConvTranspose2d(3, 2, 2, stride=2)

    def forward(self, x):
        both = torch.cat([torch.relu(self.left(x)), torch.tanh(self.right(x))], 1)
        vector = torch.cat([torch.flatten(nn.functional.max_pool2d(both, 2), 1), both.mean((2, 3))], 1)
        image = torch.relu(self.norm(self.code(vector))).view(-1, 3, 2, 2)
        return self.head(vector), self.decode(image)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 4)
        self.out = nn.Linear(12, 2)

    def forward(self, x):
        return self.out(self.words(x).flatten(1))


if len(sys.argv) > 1:
    model, saved = stack(), stack()
    model.load_state_dict(load_file(sys.argv[1]))
    saved.load_state_dict(torch.load(folder / "stack.pt"))
    x = nchw(inputs(2, 8, 8, 2))
    assert torch.equal(model(x), saved(x))
    print("equal predictions of", torch.__version__)
    sys.exit()


def flat(t):
    return [float(v) for v in np.asarray(t.detach().numpy() if isinstance(t, torch.Tensor) else t, dtype="f4").ravel()]


def nhwc(t):
    return t.permute(0, 2, 3, 1) if t.dim() == 4 else t


result = {"torch": torch.__version__}
with torch.no_grad():
    model = stack()
    torch.save(model.state_dict(), folder / "stack.pt")
    save_file(model.state_dict(), folder / "stack.safetensors")
    result["torch stack"] = [flat(model(nchw(inputs(2, 8, 8, 2))))]
    model = settle(Branched())
    torch.save({"model": model.state_dict(), "epoch": 3, "rate": 0.5, "best": None, "tags": ["a", "b"]}, folder / "branched.pt")
    save_file(model.state_dict(), folder / "branched.safetensors")
    result["torch branched"] = [flat(nhwc(y)) for y in model(nchw(inputs(2, 8, 8, 2)))]
    model = settle(Words())
    torch.save(model.half().state_dict(), folder / "words.pt")
    result["torch words"] = [flat(model.float()(torch.tensor([[1, 8, 1], [0, 2, 3]])))]
    base = torch.arange(24, dtype=torch.float64)
    kinds = {
        "double": base.view(2, 3, 4), "transposed": base.view(4, 6).t(), "part": base[5:11:2], "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3), "long": torch.tensor([-3, 2**31 - 1]), "int": torch.tensor([7], dtype=torch.int32),
        "short": torch.tensor([-300], dtype=torch.int16), "char": torch.tensor([-5], dtype=torch.int8),
        "byte": torch.tensor([0, 255], dtype=torch.uint8), "bool": torch.tensor([True, False]),
        "bfloat16": torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "half": torch.tensor([0.1, 65504.0], dtype=torch.float16),
        "parameter": nn.Parameter(torch.tensor([1.0, 2.0])),
    }
    torch.save(kinds, folder / "kinds.pt")
    result["kinds"] = {k: {"dims": list(v.shape), "values": [float(x) for x in v.double().flatten()]} for k, v in kinds.items()}
    torch.save(nn.Linear(2, 1), folder / "whole.pt")
    model = settle(nn.Sequential(
        nn.Conv3d(2, 4, (2, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d((1, 2, 2)),
        nn.ConvTranspose3d(4, 2, 2, stride=(2, 1, 1), groups=2), nn.LayerNorm([2, 4, 3, 3]), nn.Flatten(), nn.Linear(72, 3)))
    torch.save(model.state_dict(), folder / "volumes.pt")
    result["torch volumes"] = [flat(model(torch.tensor(inputs(2, 3, 4, 4, 2)).permute(0, 4, 1, 2, 3)))]

import keras
from keras import layers as L

result["keras"] = keras.__version__
keras.utils.set_random_seed(7)


def randomise(model):
    for w in model.weights:
        if len(w.shape) == 1 or w.name == "alpha":
            w.assign(np.random.uniform(0.25, 1.75, w.shape))
    return model


model = randomise(keras.Sequential([
    L.Input((8, 8, 2)), L.Conv2D(4, 3, padding="same"), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(2),
    L.Conv2D(4, 3, groups=2, use_bias=False), L.DepthwiseConv2D(3, padding="same", depth_multiplier=2), L.GroupNormalization(2),
    L.SeparableConv2D(6, 2, padding="same"), L.Conv2DTranspose(4, 3, strides=2), L.PReLU(shared_axes=[1, 2]),
    L.LayerNormalization(axis=[1, 2, 3]), L.Dropout(0.5), L.Flatten(), L.Dense(6, activation="relu"),
    L.BatchNormalization(scale=False), L.Dense(6, activation="tanh"), L.Dense(3)]))
model.save(folder / "stack.keras")
np.savez_compressed(folder / "stack.npz", **{w.path: w.numpy() for w in model.weights})
result["keras stack"] = [flat(model(inputs(2, 8, 8, 2)))]

image = L.Input((8, 8, 2))
left, right = L.Conv2D(3, 3, padding="same", name="left"), L.Conv2D(3, 3, padding="same", name="right")
b = L.Activation("tanh")(right(image))
both = L.Concatenate()([L.ReLU()(left(image)), b])
tail = keras.Sequential([L.Dense(5, name="inner"), L.Dense(4, name="outer")], name="tail")
y = tail(L.Flatten()(L.MaxPooling2D(2)(both)))
model = randomise(keras.Model(image, [y, L.GlobalAveragePooling2D()(both)]))
model.compile("adam", "mse")
model.save_weights(folder / "branched.weights.h5")
result["keras branched"] = [flat(v) for v in model(inputs(2, 8, 8, 2))]

model = randomise(keras.Sequential([L.Input((4,)), L.Dense(3, activation="tanh"), L.BatchNormalization(), L.Dense(3), L.Dense(2)]))
model.save(folder / "older.h5")
result["keras older"] = [flat(model(inputs(2, 4)))]

# Sequences of any length, and Dense along their last axis.
model = randomise(keras.Sequential([
    L.Input((None,)), L.Embedding(9, 6), L.Dense(6, activation="relu"), L.LayerNormalization(), L.Dense(6, activation="tanh"),
    L.Dense(3)]))
model.save_weights(folder / "sequences.weights.h5")
for n in [3, 7]:
    result[f"keras sequences of {n}"] = [flat(model(np.arange(2 * n).reshape(2, n) % 9))]

# Convolutions of sequences, and recurrent layers, whose weights are in their cells.
model = randomise(keras.Sequential([
    L.Input((None, 3)), L.Conv1D(4, 3, padding="causal"), L.DepthwiseConv1D(3, depth_multiplier=2), L.LSTM(3, return_sequences=True),
    L.GRU(4, return_sequences=True), L.SimpleRNN(3, return_sequences=True), L.LSTM(3), L.Dense(2)]))
model.save_weights(folder / "recurrent.weights.h5")
np.savez_compressed(folder / "recurrent.npz", **{w.path: w.numpy() for w in model.weights})
result["keras recurrent"] = [flat(model(inputs(2, 7, 3)))]

# Volumes.
model = randomise(keras.Sequential([
    L.Input((3, 4, 4, 2)), L.Conv3D(4, (2, 3, 3), padding="same", groups=2, activation="relu"), L.AveragePooling3D((1, 2, 2)),
    L.Conv3DTranspose(2, 2, strides=(2, 1, 1)), L.Flatten(), L.Dense(3)]))
model.save_weights(folder / "volumes.weights.h5")
result["keras volumes"] = [flat(model(inputs(2, 3, 4, 4, 2)))]


def lines(d):
    return "{\n" + ",\n".join(json.dumps(k) + ":" + json.dumps(v, separators=(",", ":")) for k, v in d.items()) + "\n}\n"


(here / "weights.json").write_text(lines(result))

# NumPy: the bytes of files, what they hold, or a part of the error that they are.
files = {}


def add(name, array, values=None, error=None, version=None, exact=False):
    out = io.BytesIO()
    if version:
        np.lib.format.write_array(out, array, version=version)
    else:
        np.save(out, array)
    entry = {"hex": out.getvalue().hex(), "exact": exact}
    if error:
        entry["error"] = error
    else:
        entry["dims"] = list(array.shape)
        entry["values"] = [float(v) for v in np.asarray(array, dtype="f8").ravel()]
    files[name] = entry


for t in ["<f4", "<f8", "<i4", "<u4", "|u1"]:
    top = 200 if t[1] != "u" else 255
    add("own " + t, np.linspace(0 if t[1] == "u" else -top, top, 6).astype(t).reshape(2, 3), exact=True)
add("scalar", np.array(2.5, "<f4"), exact=True)
add("empty", np.zeros((0, 3), "<f4"), exact=True)
add("vector", np.arange(100, dtype="<i4"), exact=True)
add("long shape", np.zeros((1, 1, 1, 1, 1, 1, 1, 2), "|u1"), exact=True)
for t in [">f4", ">f8", ">i4", ">u4", "<i8", ">i8", "<u8", "<f2", ">f2", "<i2", ">u2", "|i1", "|b1"]:
    add("other " + t, np.array([[0, 1, 2], [3, 4, 5]]).astype(t))
add("big u8", np.array([2**32 - 1, 0], "<u8"))
add("fortran", np.asfortranarray(np.arange(24, dtype="<f4").reshape(2, 3, 4)))
add("fortran big", np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)))
add("version 2", np.arange(3, dtype="<f4"), version=(2, 0))
add("version 3", np.arange(3, dtype="<f4"), version=(3, 0))
add("too big", np.array([2**40], "<i8"), error="neither i32 nor u32: 1099511627776")
add("mixed", np.array([2**32 - 1, -1], "<i8"), error="neither i32 nor u32")
add("complex", np.array([1j]), error="'<c16'".replace("'", '"'))
add("text", np.array(["abc"]), error='"<U3"')
add("objects", np.array([None]), error="pickled Python objects")
add("records", np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")]), error="records")
add("nine dimensions", np.zeros((1,) * 9), error="at most 8")
archives = {}
for name, save in [("savez", np.savez), ("savez_compressed", np.savez_compressed)]:
    out = io.BytesIO()
    save(out, b=np.arange(300, dtype="<f4").reshape(3, 100), a=np.array([1, 2], "|u1"), **{"x/y": np.array(1.5)})
    archives[name] = out.getvalue().hex()
text = lines({"numpy": np.__version__, "archives": archives})[:-3] + ",\n\"files\":" + lines(files) + "}\n"
(here / "numpy.json").write_text(text)
for p in sorted([*folder.iterdir(), here / "weights.json", here / "numpy.json"]):
    print(p.stat().st_size, p.name)
