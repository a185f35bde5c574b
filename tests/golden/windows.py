#!/usr/bin/env python3
"""Writes windows.json: convolution and pooling of sequences and volumes by PyTorch in float64, in the format of layers.json's "ops".

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


def pool(call, note, x, kernel, stride, padding=0, include=False, ceil=False):
    def f(x):
        if call == "max_pool1d":
            return ncl(F.max_pool1d(ncl(x), kernel, stride, padding, ceil_mode=ceil))
        return ncl(F.avg_pool1d(ncl(x), kernel, stride, padding, ceil_mode=ceil, count_include_pad=include))
    op(call, [spread(*x)], f, [kernel, stride, padding, int(include), int(ceil)], note)


def first(x):
    return x.permute(0, 4, 1, 2, 3)


def last(x):
    return x.permute(0, 2, 3, 4, 1)


def conv3d(note, x, w, stride=(1, 1, 1), padding=(0,) * 6, dilation=(1, 1, 1), groups=1):
    """w: [kd, kh, kw, c / groups, out]; padding in front, behind, on top ..."""
    sides = (*padding[4:], *padding[2:4], *padding[:2])

    def f(x, w):
        return last(F.conv3d(F.pad(first(x), sides), w.permute(4, 3, 0, 1, 2), stride=stride, dilation=dilation, groups=groups))
    op("conv3d", [rand(*x), rand(*w)], f, [*stride, *padding, *dilation, groups], note)


def transpose3d(note, x, w, stride=(1, 1, 1), padding=(0, 0, 0), output_padding=(0, 0, 0), dilation=(1, 1, 1), groups=1):
    """w: [kd, kh, kw, out / groups, c]"""
    def f(x, w):
        return last(F.conv_transpose3d(first(x), w.permute(4, 3, 0, 1, 2), stride=stride, padding=padding, dilation=dilation,
                                       output_padding=output_padding, groups=groups))
    op("conv3d_transpose", [rand(*x), rand(*w)], f, [*stride, *padding, *output_padding, *dilation, groups], note)


def pool3d(call, note, x, kernel, stride, padding=(0, 0, 0), include=False, ceil=False):
    def f(x):
        if call == "max_pool3d":
            return last(F.max_pool3d(first(x), kernel, stride, padding, ceil_mode=ceil))
        return last(F.avg_pool3d(first(x), kernel, stride, padding, ceil_mode=ceil, count_include_pad=include))
    op(call, [spread(*x)], f, [*kernel, *stride, *padding, int(include), int(ceil)], note)


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
pool("max_pool1d", "rounded up", (2, 8, 2), 3, 2, 1, ceil=True)
pool("max_pool1d", "rounded up, no window behind the end", (1, 5, 2), 2, 3, 1, ceil=True)
pool("avg_pool1d", "rounded up", (2, 7, 2), 2, 2, ceil=True)
pool("avg_pool1d", "rounded up, padding counts", (1, 8, 2), 3, 2, 1, True, True)
conv3d("plain", (2, 3, 4, 3, 2), (2, 2, 2, 2, 3))
conv3d("stride", (1, 5, 4, 5, 1), (2, 3, 2, 1, 2), stride=(2, 1, 3))
conv3d("six sides, groups", (1, 2, 3, 3, 4), (3, 2, 2, 2, 4), padding=(1, 2, 0, 1, 1, 0), groups=2)
conv3d("dilation", (1, 5, 4, 4, 1), (2, 2, 2, 1, 2), padding=(1, 0, 0, 0, 1, 1), dilation=(3, 2, 1))
conv3d("depthwise", (1, 4, 3, 3, 3), (3, 2, 2, 1, 6), stride=(1, 2, 1), padding=(1, 1, 0, 0, 0, 0), groups=3)
conv3d("one slice", (2, 3, 3, 3, 2), (1, 2, 2, 2, 2), stride=(2, 1, 1))
conv3d("along the depth", (2, 4, 2, 2, 2), (3, 1, 1, 2, 3))
transpose3d("plain", (1, 2, 3, 2, 2), (3, 2, 2, 3, 2))
transpose3d("stride, output padding", (1, 3, 2, 2, 2), (3, 2, 3, 1, 2), (2, 3, 2), (1, 0, 1), (1, 2, 1))
transpose3d("groups", (1, 2, 2, 2, 4), (2, 2, 3, 1, 4), stride=(3, 1, 2), groups=2)
transpose3d("dilation, much cut off", (1, 4, 2, 3, 1), (2, 3, 2, 2, 1), padding=(2, 1, 0), dilation=(3, 1, 2))
pool3d("max_pool3d", "plain", (1, 4, 5, 4, 2), (2, 2, 2), (2, 2, 2))
pool3d("max_pool3d", "overlapping, padding, rounded up", (1, 4, 4, 5, 2), (3, 2, 3), (2, 1, 2), (1, 1, 0), ceil=True)
pool3d("avg_pool3d", "padding left out", (1, 4, 3, 5, 2), (2, 3, 2), (2, 2, 1), (1, 1, 0))
pool3d("avg_pool3d", "padding counts, rounded up", (1, 4, 3, 4, 2), (3, 2, 3), (2, 2, 2), (1, 1, 1), True, True)

path = pathlib.Path(__file__).with_name("windows.json")
lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in ops)
path.write_text('{"torch":"%s","ops":[\n%s\n]}\n' % (torch.__version__, lines))
print(f"{len(ops)} ops, {path.stat().st_size} bytes")
