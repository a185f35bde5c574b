#!/usr/bin/env python3
"""Writes windows.json: convolution and pooling of sequences by PyTorch in float64, in the format of layers.json's "ops".

    pip install torch numpy
    python tests/golden/windows.py
"""

import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(20261127)
ops = []


def rand(*shape):
    """Multiples of 1/64: exact in single precision, and short."""
    return np.round(rng.uniform(-2, 2, shape) * 64) / 64


def spread(*shape):
    """Every value once: no ties."""
    n = int(np.prod(shape))
    return (rng.permutation(n).reshape(shape) - n // 2) * 0.0625


def plain(a):
    return np.asarray(a).reshape(-1).tolist()


def op(call, inputs, f, args, note):
    leaves = [torch.tensor(x, requires_grad=True) for x in inputs]
    y = f(*leaves)
    n = y.numel()
    up = (np.round(np.linspace(0.5, -1.25, n) * 64) / 64).reshape(tuple(y.shape))
    grads = torch.autograd.grad(y, leaves, torch.tensor(up))
    ops.append({"call": call, "args": args, "note": note,
                "inputs": [{"shape": list(x.shape), "values": plain(x)} for x in inputs], "shape": list(y.shape),
                "output": plain(y.detach()), "upstream": plain(up), "grads": [plain(g) for g in grads]})


def ncl(x):
    return x.transpose(1, 2)


def conv(note, x, w, stride=1, padding=(0, 0), dilation=1, groups=1):
    """w: [k, c / groups, out]"""
    def f(x, w):
        return ncl(F.conv1d(F.pad(ncl(x), padding), w.permute(2, 1, 0), stride=stride, dilation=dilation, groups=groups))
    op("conv1d", [rand(*x), rand(*w)], f, [stride, *padding, dilation, groups], note)


def transpose(note, x, w, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """w: [k, out / groups, c]"""
    def f(x, w):
        return ncl(F.conv_transpose1d(ncl(x), w.permute(2, 1, 0), stride=stride, padding=padding, output_padding=output_padding,
                                      dilation=dilation, groups=groups))
    op("conv1d_transpose", [rand(*x), rand(*w)], f, [stride, padding, output_padding, dilation, groups], note)


def pool(call, note, x, kernel, stride, padding=0, include=False):
    def f(x):
        if call == "max_pool1d":
            return ncl(F.max_pool1d(ncl(x), kernel, stride, padding))
        return ncl(F.avg_pool1d(ncl(x), kernel, stride, padding, count_include_pad=include))
    op(call, [spread(*x)], f, [kernel, stride, padding, int(include)], note)


conv("plain", (2, 6, 3), (3, 3, 4))
conv("stride", (2, 9, 2), (4, 2, 3), stride=3)
conv("padding before and after", (1, 5, 2), (3, 2, 2), padding=(2, 1))
conv("causal, dilation", (2, 8, 2), (3, 2, 4), padding=(4, 0), dilation=2)
conv("groups", (2, 6, 4), (3, 2, 6), groups=2)
conv("depthwise, stride", (2, 7, 4), (3, 1, 8), groups=4, stride=2)
conv("one tap", (3, 4, 5), (1, 5, 2))
conv("the whole sequence", (2, 5, 2), (5, 2, 3))
conv("one step", (2, 1, 3), (1, 3, 2))
transpose("plain", (2, 4, 2), (3, 3, 2))
transpose("stride, output padding", (1, 4, 3), (4, 2, 3), stride=3, padding=1, output_padding=2)
transpose("groups", (2, 3, 4), (3, 2, 4), stride=2, groups=2)
transpose("dilation", (1, 4, 2), (3, 2, 2), dilation=2, padding=2)
pool("max_pool1d", "plain", (2, 7, 3), 2, 2)
pool("max_pool1d", "overlapping, padding", (2, 7, 2), 3, 1, 1)
pool("avg_pool1d", "gaps", (2, 8, 3), 2, 3)
pool("avg_pool1d", "padding left out", (1, 7, 2), 3, 2, 1)
pool("avg_pool1d", "padding counts", (1, 7, 2), 3, 2, 1, True)

path = pathlib.Path(__file__).with_name("windows.json")
lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in ops)
path.write_text('{"torch":"%s","ops":[\n%s\n]}\n' % (torch.__version__, lines))
print(f"{len(ops)} ops, {path.stat().st_size} bytes")
