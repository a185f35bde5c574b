"""Writes weights/sequences.pt and weights/convolved.pt, weights of sequence models that real PyTorch saved, weights/wrapped.weights.h5 and
weights/wrapped.npz of Keras, and weights_sequences.json, what the models predict.

    python weights_sequences.py         writes them
    python weights_sequences.py FILE    checks that PyTorch loads FILE, which wgrad exported after importing weights/sequences.pt

Inputs are the formula of weights.py, which tests/files.rs has too.
"""
import json
import pathlib
import sys

import numpy as np
import torch
import torch.nn as nn

here = pathlib.Path(__file__).parent
torch.manual_seed(11)


def inputs(*shape):
    n = int(np.prod(shape))
    return ((np.arange(n) * 37 % 101) / 50 - 1).astype("f4").reshape(shape)


def settle(model):
    """Values that are neither zero nor one where layers begin with these."""
    for name, p in list(model.named_parameters()) + list(model.named_buffers()):
        if p.dtype.is_floating_point and p.dim() == 1:
            p.data.copy_(torch.rand(p.shape) * 1.5 - 0.25 if "bias" in name else torch.rand(p.shape) + 0.25)
    return model.eval()


class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.rnn = nn.LSTM(4, 3, num_layers=2, batch_first=True)
        self.both = nn.GRU(3, 2, batch_first=True, bidirectional=True)
        self.simple = nn.RNN(4, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.rms = nn.RMSNorm(4, eps=1e-5)
        self.layer = nn.LayerNorm(4)
        self.head = nn.Linear(24, 2)

    def forward(self, x):
        x = self.norm(self.conv(x.transpose(1, 2))).transpose(1, 2)
        x = self.simple(self.both(self.rnn(x)[0])[0])[0]
        x = self.layer(self.rms(self.attention(x, x, x, need_weights=False)[0]))
        return self.head(x.flatten(1))


class Exported(nn.Module):
    """The same as wgrad names and stacks it."""

    def __init__(self):
        super().__init__()
        self.conv1d = nn.Conv1d(3, 4, 3, padding=1)
        self.batchnorm = nn.BatchNorm1d(4)
        self.lstm = nn.LSTM(4, 3, batch_first=True)
        self.lstm_1 = nn.LSTM(3, 3, batch_first=True)
        self.bidirectional = nn.GRU(3, 2, batch_first=True, bidirectional=True)
        self.simplernn = nn.RNN(4, 4, batch_first=True)
        self.multiheadattention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.rmsnorm = nn.RMSNorm(4, eps=1e-5)
        self.layernorm = nn.LayerNorm(4)
        self.dense = nn.Linear(24, 2)

    def forward(self, x):
        x = self.batchnorm(self.conv1d(x.transpose(1, 2))).transpose(1, 2)
        x = self.simplernn(self.bidirectional(self.lstm_1(self.lstm(x)[0])[0])[0])[0]
        x = self.layernorm(self.rmsnorm(self.multiheadattention(x, x, x, need_weights=False)[0]))
        return self.dense(x.flatten(1))


class Convolved(nn.Module):
    """Vectors of flattened sequences, which PyTorch has channel by channel."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(4, 6, 3, groups=2)
        self.depthwise = nn.Conv1d(6, 12, 2, groups=6)
        self.up = nn.ConvTranspose1d(12, 3, 3, stride=2)
        self.out = nn.Linear(15, 4)
        self.norm = nn.LayerNorm([3, 5])

    def forward(self, x):
        x = nn.functional.max_pool1d(torch.tanh(self.depthwise(self.first(x.transpose(1, 2)))), 2)
        return self.out(self.norm(self.up(x)).flatten(1))


x = torch.tensor(inputs(2, 6, 3))
long = torch.tensor(inputs(2, 8, 4))
if len(sys.argv) > 1:
    from safetensors.torch import load_file

    model = Exported()
    missing = model.load_state_dict(load_file(sys.argv[1]), strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"batchnorm.num_batches_tracked"}, missing
    want = json.loads((here / "weights_sequences.json").read_text())["sequences"]
    got = model.eval()(x).detach().numpy().reshape(-1)
    assert np.abs(got - want).max() < 1e-5, (got, want)
    print("PyTorch loads it and predicts the same")
else:
    sequences, convolved = settle(Sequences()), settle(Convolved())
    torch.save(sequences.state_dict(), here / "weights" / "sequences.pt")
    torch.save(convolved.state_dict(), here / "weights" / "convolved.pt")
    import os

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    L = keras.layers
    keras.utils.set_random_seed(5)
    wrapped = keras.Sequential([
        keras.Input((6, 3)), L.TimeDistributed(L.Dense(4, "tanh")), L.Bidirectional(L.LSTM(2, return_sequences=True)),
        L.TimeDistributed(L.Dense(4)),
        L.Bidirectional(L.GRU(2), merge_mode="sum"), L.Dense(2)])
    wrapped.set_weights([np.asarray(w + 0.125 * (i + 1) / (w.size), "f4") for i, w in enumerate(wrapped.get_weights())])
    wrapped.save_weights(here / "weights" / "wrapped.weights.h5")
    np.savez(here / "weights" / "wrapped.npz", **{w.path: w.numpy() for w in wrapped.weights})
    out = {"wrapped": np.asarray(wrapped(inputs(2, 6, 3))).reshape(-1).tolist(), "sequences": sequences(x).detach().numpy().reshape(-1).tolist(),
           "convolved": convolved(long).detach().numpy().reshape(-1).tolist()}
    (here / "weights_sequences.json").write_text(json.dumps(out) + "\n")
    print(out)
