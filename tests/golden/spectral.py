#!/usr/bin/env python3
"""Writes spectral.json: PyTorch's spectral normalisation of a linear layer and a convolution in float64, in training and after it.

    pip install torch
    python tests/golden/spectral.py

The format is that of "layers" in layers.json: gradients of the last batch, buffers after it, and what is then predicted.
"""

import json
import pathlib

import numpy as np
import torch
from torch.nn.utils.parametrizations import spectral_norm

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(20271126)
layers = []


def rand(*shape, low=-1.0, high=1.0):
    """Multiples of 1/64: exact in single precision, and short."""
    return np.round(rng.uniform(low, high, shape) * 64) / 64


def short(a):
    return [float(f"{v:.10g}") for v in np.asarray(a).reshape(-1)]


def single(a):
    return np.asarray(a, np.float32).astype(np.float64)


def layer(name, module, iterations, weight, vector, image, inputs, args):
    """`weight` and `vector` put PyTorch's axes where ours are, `image` batches where PyTorch's are, and back."""
    made = spectral_norm(module, n_power_iterations=iterations)
    power = made.parametrizations.weight[0]
    original = made.parametrizations.weight.original
    with torch.no_grad():
        original.copy_(torch.tensor(rand(*original.shape)))
        made.bias.copy_(torch.tensor(rand(*made.bias.shape)))
        power._u.copy_(torch.tensor(single(power._u.numpy())))
        power._v.copy_(torch.tensor(single(power._v.numpy())))

    def buffers():
        return [{"name": "u", "shape": list(power._u.shape), "values": short(power._u)},
                {"name": "v", "shape": list(power._v.shape), "values": short(vector(power._v.numpy()))}]

    w = weight(original.detach().numpy())
    before = [{"name": "weight", "shape": list(w.shape), "values": short(w)},
              {"name": "bias", "shape": list(made.bias.shape), "values": short(made.bias.detach())}] + buffers()
    made.train()
    for x in inputs[:-1]:
        made(torch.tensor(image(x, True).copy()))
    x = torch.tensor(image(inputs[-1], True).copy(), requires_grad=True)
    y = made(x)
    ours = image(y.detach().numpy(), False)
    up = rand(*ours.shape)
    grads = torch.autograd.grad(y, [x, original, made.bias], torch.tensor(image(up, True).copy()))
    after = buffers()
    made.eval()
    predicted = image(made(x).detach().numpy(), False)
    layers.append({
        "layer": name, "args": args,
        "inputs": [{"shape": list(x.shape), "dtype": "float", "values": short(x)} for x in inputs],
        "training": True, "weights": before, "shape": list(ours.shape), "output": short(ours), "upstream": short(up),
        "grads": [{"name": "input", "values": short(image(grads[0].numpy(), False))},
                  {"name": "weight", "values": short(weight(grads[1].numpy()))},
                  {"name": "bias", "values": short(grads[2])}],
        "after": after, "predicted": short(predicted)})


def rows(x, _):
    return x


def images(x, there):
    return np.transpose(x, (0, 3, 1, 2) if there else (0, 2, 3, 1))


layer("spectral_dense", torch.nn.Linear(5, 4), 1, lambda w: w.T, lambda v: v, rows, [rand(3, 5), rand(2, 5)], [4, 1])
layer("spectral_conv2d", torch.nn.Conv2d(2, 3, (3, 2)), 2, lambda w: w.transpose(2, 3, 1, 0),
      lambda v: v.reshape(2, 3, 2).transpose(1, 2, 0).reshape(-1), images, [rand(2, 5, 4, 2), rand(1, 5, 4, 2)], [3, 3, 2, 2])

path = pathlib.Path(__file__).with_name("spectral.json")
path.write_text('{"torch":"%s","layers":[\n%s\n]}\n'
                % (torch.__version__, ",\n".join(json.dumps(e, separators=(",", ":")) for e in layers)))
print(f"{len(layers)} layers, {path.stat().st_size} bytes")
