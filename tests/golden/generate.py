#!/usr/bin/env python3
"""Writes vectors.json: reference values and gradients of PyTorch in float64.

    pip install torch
    python tests/golden/generate.py

Each entry names a call that tests/golden.rs knows, its inputs, the output, the upstream gradient and the gradients of
the float inputs. Inputs are float32 numbers, so that both precisions start from the same. Images are written NHWC and
weights HWIO; PyTorch computes them as NCHW and OIHW.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
rng = torch.Generator().manual_seed(20261101)
entries = []


def single(t):
    """The same values, rounded to float32."""
    return t.to(torch.float32).to(torch.float64) if t.is_floating_point() else t


def rand(*shape, low=-2.0, high=2.0):
    return single(torch.rand(shape, generator=rng) * (high - low) + low)


def ints(high, *shape):
    return torch.randint(0, high, shape, generator=rng)


def plain(t):
    """A tensor as nested-free JSON: infinities and NaN as strings."""
    def one(v):
        if isinstance(v, float) and not math.isfinite(v):
            return str(v)
        return v
    return [one(v) for v in t.detach().reshape(-1).tolist()]


def add(call, inputs, f, args=None, note=None, grad=True):
    inputs = [single(torch.as_tensor(x)) for x in inputs]
    leaves = [x.clone().requires_grad_(x.is_floating_point() and grad) for x in inputs]
    y = f(*leaves)
    entry = {"call": call, "args": args or [],
             "inputs": [{"shape": list(x.shape), "dtype": "float" if x.is_floating_point() else "int",
                         "values": plain(x)} for x in inputs],
             "shape": list(y.shape), "output": plain(y)}
    if note:
        entry["note"] = note
    if grad and y.is_floating_point():
        upstream = single(torch.linspace(0.5, -1.25, y.numel()).reshape(y.shape)) if y.numel() > 1 else torch.ones(y.shape)
        used = [x for x in leaves if x.requires_grad]
        grads = iter(torch.autograd.grad(y, used, upstream, allow_unused=True))
        entry["upstream"] = plain(upstream)
        entry["grads"] = []
        for x in leaves:
            g = next(grads) if x.requires_grad else None
            entry["grads"].append(None if g is None else plain(g))
    entries.append(entry)


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


# Unary functions at ordinary and at special points.
points = torch.tensor([-30.0, -9.5, -4.0, -2.5, -1.0, -0.5, -1e-3, 0.0, 1e-3, 0.25, 0.5, 1.0, 1.5, 3.0, 6.25, 20.0])
above = torch.tensor([1e-6, 1e-3, 0.1, 0.5, 1.0, 2.0, 7.5, 1e3, 1e6])
unary = {
    "neg": torch.neg, "abs": torch.abs, "exp": torch.exp, "square": torch.square, "sin": torch.sin, "cos": torch.cos,
    "sign": torch.sign, "relu": torch.relu, "elu": F.elu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": F.silu,
    "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "softplus": lambda x: torch.logaddexp(x, torch.zeros(())),
    "erf": torch.erf,
}
for name, f in unary.items():
    add(name, [points], f)
for name, f in {"log": torch.log, "sqrt": torch.sqrt, "reciprocal": torch.reciprocal}.items():
    add(name, [above], f)
add("floor", [[-1.5, -1.0, -0.25, 0.0, 0.75, 2.0]], torch.floor)
extreme = torch.tensor([-1e4, -100.0, 100.0, 1e4])
for name in ["relu", "elu", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh", "erf"]:
    add(name, [extreme], unary[name], note="far out: no overflow on the way")
add("softplus", [extreme], unary["softplus"], note="far out: no overflow on the way")
add("leaky_relu", [points], lambda x: F.leaky_relu(x, 0.2), [0.2])
# On the bounds themselves PyTorch's versions differ in the gradient; tests/autograd.rs has them.
add("clamp", [[-2.0, -0.625, -0.25, 0.0, 0.375, 0.75, 9.0]], lambda x: x.clamp(-0.5, 0.5), [-0.5, 0.5])
add("clamp", [[-0.5, 0.5]], lambda x: x.clamp(-0.5, 0.5), [-0.5, 0.5], grad=False)
inf = math.inf
add("exp", [[-inf, 0.0, inf]], torch.exp, grad=False)
add("tanh", [[-inf, inf]], torch.tanh, grad=False)
add("sigmoid", [[-inf, inf]], torch.sigmoid, grad=False)
add("relu", [[-inf, inf]], torch.relu, grad=False)
add("reciprocal", [[-inf, inf]], torch.reciprocal, grad=False)

# Two arguments: broadcasting, ties, corners.
for name, f in {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum,
                "minimum": torch.minimum}.items():
    add(name, [rand(3, 1, 4), rand(2, 1, low=0.5)], f)
tied = torch.tensor([[1.0, 2.0, -0.5], [0.0, 0.0, 3.0]])
for name, f in {"maximum": torch.maximum, "minimum": torch.minimum}.items():
    add(name, [tied, [1.0, 0.0, 3.0]], f, note="ties share the gradient")
add("pow", [rand(3, 4, low=0.1), rand(4)], torch.pow)
add("pow", [[0.0, 0.0, 0.0, 2.0, 1.0, 4.0, 0.5], [0.0, 1.0, 2.0, 0.0, 5.0, 0.5, -2.0]], torch.pow, note="zero bases and exponents")
bases = torch.tensor([-2.0, -1.5, -1.0, -0.5, 0.0, 3.0])
for exponent in [0.0, 1.0, 2.0, 3.0]:
    add("pow_number", [bases], lambda x, e=exponent: torch.pow(x, e), [exponent], "whole exponents of negative bases")
for exponent in [-1.0, -2.0]:
    add("pow_number", [bases[:4]], lambda x, e=exponent: torch.pow(x, e), [exponent])
add("where", [[1, 0, 1, 0], rand(4), rand(3, 1)], lambda c, x, y: torch.where(c.bool(), x, y))
for name, f in {"eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge}.items():
    add(name, [tied, [1.0, 0.0, -0.5]], lambda x, y, f=f: f(x, y).to(torch.int64), grad=False)

# Reductions, with ties and zeros.
ties = torch.tensor([[[1.0, 3.0, 3.0, -2.0], [0.0, 0.0, 0.0, 0.0]], [[5.0, -1.0, 5.0, 5.0], [2.0, -2.0, -2.0, 1.0]]])
for axes in [[], [0], [-1], [0, 2]]:
    dims = axes or [0, 1, 2]
    add("sum", [ties], lambda x: x.sum(dims), axes)
    add("mean", [ties], lambda x: x.mean(dims), axes)
    add("max", [ties], lambda x: x.amax(dims), axes, "ties share the gradient")
    add("min", [ties], lambda x: x.amin(dims), axes, "ties share the gradient")
for axis in [0, 1, 2]:
    add("argmax", [ties], lambda x: x.argmax(axis), [axis], "the first maximum", grad=False)
    add("argmin", [ties], lambda x: x.argmin(axis), [axis], "the first minimum", grad=False)
zeros = torch.tensor([[2.0, 3.0, -1.5], [0.0, 4.0, 0.5], [0.0, 0.0, 7.0], [1.0, -1.0, 0.0]])
add("prod", [zeros], lambda x: x.prod(1), [1], "no zero, one, two, one at the end")
add("prod", [zeros], lambda x: x.prod(0), [0], "no zero, one, two, one at the end")

# Shapes, slices, joins, picking.
add("permute", [rand(2, 3, 4)], lambda x: x.permute(2, 0, 1), [2, 0, 1])
add("slice_step", [rand(3, 7)], lambda x: x[:, 1:7:2], [1, 1, 3, 2])
add("slice_step", [rand(3, 7)], lambda x: x[:, 1:7:2].flip(1), [1, 5, 3, -2], "backwards")
add("flip", [rand(3, 4)], lambda x: x.flip(0), [0])
add("pad", [rand(2, 3)], lambda x: F.pad(x, (2, 0, 0, 1), value=1.5), [0, 1, 2, 0, 1.5])
add("concat", [rand(2, 1, 3), rand(2, 4, 3)], lambda x, y: torch.cat([x, y], 1), [1])
add("stack", [rand(2, 3), rand(2, 3)], lambda x, y: torch.stack([x, y], 1), [1])
add("index_select", [rand(5, 3), [4, 0, 4, 4, 2]], lambda x, i: F.embedding(i, x), [0], "an embedding: repeated rows add up")
add("index_select", [rand(2, 4, 3), [1, 1, 3]], lambda x, i: x.index_select(1, i), [1])
add("gather", [rand(3, 4), [[0, 3], [1, 1], [2, 0]]], lambda x, i: x.gather(1, i), [1])
add("gather", [rand(3, 4), [[0, 2, 2], [0, 1, 0]]], lambda x, i: x.gather(0, i), [0])

# Products.
for left, right in [((3, 5), (5, 4)), ((2, 3, 5), (2, 5, 4)), ((2, 1, 3, 5), (4, 5, 2)), ((2, 3, 5), (5, 4)), ((5,), (5, 3)),
                    ((3, 5), (5,)), ((5,), (5,)), ((2, 3, 5), (5,))]:
    add("matmul", [rand(*left), rand(*right)], torch.matmul)


def conv(call_note, image, kernel, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), groups=1):
    top, bottom, left, right = padding

    def f(x, w):
        x = F.pad(nchw(x), (left, right, top, bottom))
        return nhwc(F.conv2d(x, w.permute(3, 2, 0, 1), stride=stride, dilation=dilation, groups=groups))
    add("conv2d", [rand(*image), rand(*kernel)], f, [*stride, *padding, *dilation, groups], call_note)


conv("plain", (2, 5, 6, 2), (3, 3, 2, 3))
conv("one channel", (1, 6, 5, 1), (3, 3, 1, 4))
conv("stride", (1, 7, 6, 2), (3, 2, 2, 2), stride=(2, 3))
conv("four-sided padding", (1, 4, 5, 2), (3, 3, 2, 2), padding=(0, 2, 1, 3))
conv("same, even kernel, stride 2: the odd pad at bottom and right", (1, 5, 6, 1), (2, 3, 1, 2), stride=(2, 2), padding=(0, 1, 0, 1))
conv("dilation", (1, 6, 7, 2), (2, 3, 2, 2), dilation=(2, 2), padding=(1, 1, 1, 1))
conv("groups", (1, 4, 4, 6), (3, 3, 2, 6), groups=3)
conv("depthwise", (2, 4, 4, 3), (3, 3, 1, 6), groups=3, padding=(1, 1, 1, 1))
conv("point", (2, 3, 3, 4), (1, 1, 4, 5))

pool_image = torch.tensor([1.0, 5.0, 5.0, 2.0, 5.0, 5.0, 1.0, 2.0, 0.0, -1.0, -3.0, -3.0, -1.0, -2.0, -3.0, -4.0,
                           7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 2.0, 2.0, 2.0]).reshape(1, 5, 5, 1)
for kernel, stride, padding in [((2, 2), (2, 2), 0), ((3, 3), (1, 1), 0), ((3, 3), (2, 2), 1), ((2, 3), (1, 2), (1, 1))]:
    sides = padding if isinstance(padding, tuple) else (padding, padding)
    args = [*kernel, *stride, sides[0], sides[0], sides[1], sides[1]]
    add("max_pool2d", [pool_image], lambda x: nhwc(F.max_pool2d(nchw(x), kernel, stride, sides)), args, "ties: the first wins")
    image = rand(2, 5, 6, 3)
    add("max_pool2d", [image], lambda x: nhwc(F.max_pool2d(nchw(x), kernel, stride, sides)), args)
    for counted in [False, True]:
        add("avg_pool2d", [image], lambda x: nhwc(F.avg_pool2d(nchw(x), kernel, stride, sides, count_include_pad=counted)),
            [*args, int(counted)])

# Softmax and the loss.
logits = rand(4, 5, low=-6.0, high=6.0)
huge = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 9999.0], [0.0, 1.0, -1e4]])
for name, f in {"softmax": torch.softmax, "log_softmax": torch.log_softmax}.items():
    add(name, [logits], lambda x: f(x, -1), [-1])
    add(name, [logits], lambda x: f(x, 0), [0])
    add(name, [huge], lambda x: f(x, -1), [-1], "logits of 1e4")
for reduction, call in [("none", "cross_entropy_rows"), ("mean", "cross_entropy")]:
    add(call, [logits, [0, 4, 2, 2]], lambda x, y: F.cross_entropy(x, y, reduction=reduction))
    for labels in [[0, 1, 2, 1], [1, 0, 0, 2]]:
        add(call, [huge, labels], lambda x, y: F.cross_entropy(x, y, reduction=reduction), note="logits of 1e4")
    add(call, [logits, torch.softmax(rand(4, 5), 1)], lambda x, p: F.cross_entropy(x, p, reduction=reduction))
    hot = F.one_hot(torch.tensor([1, 0, 0, 2]), 3).to(torch.float64)
    add(call, [huge, hot], lambda x, p: F.cross_entropy(x, p, reduction=reduction), note="logits of 1e4, one-hot")

path = pathlib.Path(__file__).with_name("vectors.json")
lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)
path.write_text('{"torch":"%s","entries":[\n%s\n]}\n' % (torch.__version__, lines))
print(f"{len(entries)} entries, {path.stat().st_size} bytes, torch {torch.__version__}")
