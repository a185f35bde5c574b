#!/usr/bin/env python3
"""Writes pointwise.json: values and gradients of PyTorch in float64 of angles, rounding, what divisions leave and bits.

    pip install torch
    python tests/golden/pointwise.py

Entries are as in generate.py, and tests/golden.rs reads both files.
"""

import json
import math
import pathlib

import torch

torch.set_default_dtype(torch.float64)
entries = []


def plain(t):
    one = lambda v: str(v) if isinstance(v, float) and not math.isfinite(v) else v
    return [one(v) for v in t.detach().reshape(-1).tolist()]


def single(x):
    """As a tensor; floats rounded to float32."""
    x = torch.as_tensor(x)
    return x.to(torch.float32).to(torch.float64) if x.is_floating_point() else x


def add(call, inputs, f, note=None, grad=True, args=()):
    inputs = [single(x) for x in inputs]
    leaves = [x.clone().requires_grad_(grad and x.is_floating_point()) for x in inputs]
    y = f(*leaves)
    entry = {"call": call, "args": list(args), "inputs": [{"shape": list(x.shape), "dtype": "float" if x.is_floating_point() else "int",
                                              "values": plain(x)} for x in inputs],
             "shape": list(y.shape), "output": plain(y)}
    if note:
        entry["note"] = note
    if grad and y.is_floating_point():
        upstream = single(torch.linspace(0.5, -1.25, y.numel()).reshape(y.shape))
        entry["upstream"] = plain(upstream)
        grads = torch.autograd.grad(y, leaves, upstream, allow_unused=True)
        entry["grads"] = [None if g is None else plain(g) for g in grads]
    entries.append(entry)


inf, nan = math.inf, math.nan
halves = [-3.5, -2.5, -1.5, -1.25, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 3.5, 1e9]
for name, f in {"floor": torch.floor, "ceil": torch.ceil, "trunc": torch.trunc, "round": torch.round}.items():
    add(name, [halves], f)
    add(name, [[-inf, inf, nan]], f, grad=False)
add("tan", [[-30.0, -1.5, -0.75, -1e-4, 0.0, 0.5, 1.0, 1.5, 3.0, 100.0]], torch.tan)
for name, f in {"asin": torch.asin, "acos": torch.acos, "atanh": torch.atanh}.items():
    add(name, [[-0.9990234375, -0.75, -0.5, -1e-4, 0.0, 0.25, 0.5, 0.625, 0.96875]], f)
    add(name, [[-1.5, -1.0, 1.0, 1.5, inf, nan]], f, "ends of the domain", grad=False)
for name, f in {"atan": torch.atan, "asinh": torch.asinh}.items():
    add(name, [[-1e8, -30.0, -2.0, -0.5, -1e-4, 0.0, 0.25, 1.0, 3.0, 2.5e3, 1e9]], f)
    add(name, [[-inf, inf, nan]], f, "ends of the domain", grad=False)
add("acosh", [[1.0009765625, 1.25, 2.0, 30.0, 5e3, 1e9]], torch.acosh)
add("acosh", [[-1.0, 0.5, 1.0, inf, nan]], torch.acosh, "ends of the domain", grad=False)

points = [-3.0, -1.0, -0.25, 0.5, 1.0, 7.0]
pairs = [torch.tensor([x for x in points for _ in points]), torch.tensor(points * len(points))]
add("atan2", pairs, torch.atan2)
add("atan2", [[[1.0], [-2.0]], [3.0, -0.5, 0.0]], torch.atan2, "shapes broadcast")
add("atan2", [[0.0, 0.0, 2.0], [0.0, -1.0, 0.0]], torch.atan2, "the origin")
ends = [0.0, -0.0, 2.0, -2.0, inf, -inf]
all_ends = [torch.tensor([x for x in ends for _ in ends]), torch.tensor(ends * len(ends))]
add("atan2", all_ends, torch.atan2, "axes and infinities", grad=False)

divided = [torch.tensor([-7.5, -7.0, -1.0, 0.0, 1.0, 5.25, 7.0, 1e6]).repeat_interleave(5),
           torch.tensor([-3.0, -0.75, 0.3, 2.0, 1e4]).repeat(8)]
floor_divide = lambda x, y: torch.div(x, y, rounding_mode="floor")
for name, f in {"fmod": torch.fmod, "remainder": torch.remainder}.items():
    add(name, divided, f)
    add(name, [[[7.0], [-7.0]], [3.0, -2.0]], f, "shapes broadcast")
    add(name, all_ends, f, "zeros and infinities", grad=False)
add("floor_divide", divided, floor_divide, grad=False)
add("floor_divide", all_ends, floor_divide, "zeros and infinities", grad=False)

factors = torch.tensor([[2.0, 3.0, -1.5, 0.5], [0.0, 4.0, 0.5, 2.0], [3.0, 0.0, 7.0, 0.0], [1.0, -1.0, 0.0, 5.0]])
for axis in [0, 1]:
    add("cumprod", [factors], lambda x: x.cumprod(axis), "zeros: none, one at either end, two", args=[axis])

plane = torch.linspace(-2.0, 3.0, 24).reshape(2, 3, 4)
for mode in ["reflect", "replicate", "circular"]:
    for pair in [(0, 0), (2, 1), (0, 2), (2, 0)]:
        padded = lambda x: torch.nn.functional.pad(x, pair, mode=mode)
        add("pad_" + mode, [plane], padded, args=[0, 0, 0, 0, *pair])

whole = torch.tensor([-(2**31), -65537, -9, -7, -1, 0, 1, 7, 9, 46341, 2**31 - 1], dtype=torch.int32)
divisors = torch.tensor([-7, -2, 1, 2, 5, 2**31 - 1], dtype=torch.int32)
both = [whole.repeat_interleave(len(divisors)), divisors.repeat(len(whole))]
for name, f in {"fmod": torch.fmod, "remainder": torch.remainder, "floor_divide": floor_divide, "bitwise_and": torch.bitwise_and,
                "bitwise_or": torch.bitwise_or, "bitwise_xor": torch.bitwise_xor}.items():
    add(name, both, f, "integers")
add("bitwise_not", [whole], torch.bitwise_not)
counts = torch.tensor([-1, 0, 1, 5, 31, 32, 40], dtype=torch.int32)
shifted = [whole.repeat_interleave(len(counts)), counts.repeat(len(whole))]
add("shl", shifted, torch.bitwise_left_shift)
add("shr", shifted, torch.bitwise_right_shift)

path = pathlib.Path(__file__).with_name("pointwise.json")
lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)
path.write_text('{"torch":"%s","entries":[\n%s\n]}\n' % (torch.__version__, lines))
print(f"{len(entries)} entries, {path.stat().st_size} bytes, torch {torch.__version__}")
