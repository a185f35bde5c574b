#!/usr/bin/env python3
"""Writes indexing.json: values and gradients of PyTorch in float64, of sorts, of reading and writing by index, and of
pooling with `ceil_mode` and to a size.

    pip install torch
    python tests/golden/indexing.py

Each entry names a call that tests/arrays/indexing.rs knows, its arguments, its inputs (integers are indices), the output, the
upstream gradient and the gradients of the float inputs. Images are written NHWC; PyTorch computes them as NCHW.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
rng = torch.Generator().manual_seed(20261126)
entries = []


def rand(*shape):
    """Multiples of a quarter, which f32 holds exactly, all different."""
    n = math.prod(shape)
    return ((torch.randperm(n, generator=rng) - n // 2) / 4).to(torch.float64).reshape(shape)


def whole(*shape):
    """Whole numbers with ties."""
    return torch.randint(-3, 4, shape, generator=rng).to(torch.float64)


def ints(high, *shape):
    return torch.randint(0, high, shape, generator=rng)


def distinct(high, *shape):
    """Indices along the last axis, none twice in a row."""
    rows = [torch.randperm(high, generator=rng)[: shape[-1]] for _ in range(math.prod(shape[:-1]))]
    return torch.stack(rows).reshape(shape)


def plain(t):
    one = lambda v: (int(v) if v == int(v) else v) if math.isfinite(v) else str(v)
    return {"shape": list(t.shape), "values": [one(v) for v in t.detach().reshape(-1).tolist()]}


def add(call, inputs, f, args=()):
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    y = f(*leaves)
    entry = {"call": call, "args": list(args), "inputs": [plain(x) | {"float": x.is_floating_point()} for x in inputs]}
    entry["output"] = plain(y)
    if y.requires_grad:
        up = whole(*y.shape)
        y.backward(up)
        entry["upstream"] = plain(up)
        entry["gradients"] = [plain(x.grad if x.grad is not None else torch.zeros_like(x)) for x in leaves if x.requires_grad]
    entries.append(entry)


for shape, axis in [((7,), 0), ((3, 5), 0), ((3, 5), -1), ((2, 4, 3), 1), ((1,), 0), ((0, 3), 1), ((2, 0), 1)]:
    for descending in [0, 1]:
        x = rand(*shape)
        add("sort", [x], lambda x: torch.sort(x, dim=axis, descending=bool(descending)).values, [axis, descending])
        ties = whole(*shape)
        add("argsort", [ties], lambda x: torch.sort(x, dim=axis, descending=bool(descending), stable=True).indices, [axis, descending])
    for k in {0, 1, shape[axis] // 2, shape[axis]}:
        if k <= shape[axis]:
            add("topk", [rand(*shape)], lambda x: torch.topk(x, k, axis).values, [k, axis])
nan = torch.tensor([2.0, math.nan, -1.0, math.inf, 2.0, -math.inf, math.nan, 0.0])
for descending in [0, 1]:
    add("argsort", [nan], lambda x: torch.sort(x, dim=0, descending=bool(descending), stable=True).indices, [0, descending])

for shape, axis in [((7,), 0), ((3, 6), -1), ((4, 3), 0), ((1, 3), 0), ((2, 5, 3), 1)]:
    for q in [0.0, 0.1, 0.25, 0.5, 0.8, 1.0]:
        add("quantile", [rand(*shape)], lambda x: torch.quantile(x, q, axis), [q, axis])
add("quantile", [torch.tensor([[1.0, math.nan, 2.0], [3.0, 4.0, 6.0]])], lambda x: torch.quantile(x, 0.25, -1), [0.25, -1])

for shape, part, axis in [((5,), (3,), 0), ((3, 6), (3, 4), 1), ((3, 6), (2, 5), -1), ((6, 3), (4, 3), 0), ((2, 5, 3), (2, 4, 2), 1)]:
    last = axis % len(shape)
    at = distinct(shape[last], *[n for d, n in enumerate(part) if d != last], part[last]).movedim(-1, last).contiguous()
    add("scatter", [rand(*shape), at, rand(*part)], lambda x, i, v: x.scatter(axis, i, v), [axis])
    often = ints(shape[last], *part)
    add("scatter_add", [rand(*shape), often, rand(*part)], lambda x, i, v: x.scatter_add(axis, i, v), [axis])
    add("gather", [rand(*shape), often], lambda x, i: x.gather(axis, i), [axis])
    if all(a == b for d, (a, b) in enumerate(zip(shape, part)) if d != last):
        add("take_along_axis", [rand(*shape), often], lambda x, i: torch.take_along_dim(x, i, axis), [axis])
add("take_along_axis", [rand(3, 4), ints(4, 1, 6)], lambda x, i: torch.take_along_dim(x, i, 1), [1])
add("take_along_axis", [rand(1, 4), ints(4, 3, 2)], lambda x, i: torch.take_along_dim(x, i, -1), [-1])

for shape, count, axis in [((5,), 7, 0), ((3, 4), 6, 0), ((3, 4), 2, 1), ((2, 5, 3), 9, -2)]:
    part = list(shape)
    part[axis] = count
    add("index_add", [rand(*shape), ints(shape[axis], count), rand(*part)], lambda x, i, v: x.index_add(axis, i, v), [axis])

for shape, first, rest in [((5, 4), [(3,), (3,)], ()), ((5, 4), [(4,)], (4,)), ((3, 4, 2), [(2, 1), (3,)], (2,)), ((3, 4, 2), [(5,), (5,), (5,)], ())]:
    at = [ints(n, *s) for n, s in zip(shape, first)]
    common = torch.broadcast_shapes(*first)
    v = rand(*common, *rest)
    add("index", [rand(*shape), *at], lambda x, *at: x[at])
    add("index_put_add", [rand(*shape), v, *at], lambda x, v, *at: x.index_put(at, v, accumulate=True))
    flat = torch.randperm(math.prod(shape[: len(first)]), generator=rng)[: math.prod(common)].reshape(common)
    once = list(torch.unravel_index(flat, shape[: len(first)]))
    add("index_put", [rand(*shape), v, *once], lambda x, v, *at: x.index_put(at, v))

for x in [whole(3, 4), torch.tensor([0.0, math.nan, 2.0, -0.0]), torch.zeros(2, 0), whole(2, 2, 3)]:
    add("nonzero", [x], lambda x: torch.nonzero(x))
    add("masked_select", [x], lambda x: x.masked_select(x > 0))
for x in [whole(3, 5), whole(20), torch.zeros(0, 2)]:
    for part in range(3):
        add("unique", [x], lambda x: torch.unique(x.detach(), return_inverse=True, return_counts=True)[part], [part])

nhwc = lambda y: y.permute(0, 2, 3, 1)
nchw = lambda x: x.permute(0, 3, 1, 2)
for shape, kernel, stride, padding in [((1, 5, 6, 2), (2, 2), (2, 2), (0, 0)), ((2, 7, 5, 1), (3, 2), (2, 2), (1, 0)), ((1, 6, 6, 3), (3, 3), (2, 3), (1, 1)),
                                       ((1, 4, 9, 1), (2, 3), (3, 4), (1, 1)), ((1, 5, 5, 4), (2, 2), (2, 2), (0, 0)), ((1, 3, 3, 1), (1, 1), (2, 2), (0, 0))]:
    args = [*kernel, *stride, *padding]
    add("max_pool2d", [rand(*shape)], lambda x: nhwc(F.max_pool2d(nchw(x), kernel, stride, padding, ceil_mode=True)), args)
    for count in [0, 1]:
        add("avg_pool2d", [rand(*shape)], lambda x: nhwc(F.avg_pool2d(nchw(x), kernel, stride, padding, True, bool(count))), [*args, count])
for shape, size in [((1, 6, 4, 2), (3, 2)), ((2, 7, 5, 1), (3, 2)), ((1, 5, 7, 3), (1, 1)), ((1, 3, 4, 2), (5, 4)), ((1, 10, 7, 1), (7, 5)), ((1, 4, 6, 1), (2, 4))]:
    add("adaptive_avg_pool2d", [rand(*shape)], lambda x: nhwc(F.adaptive_avg_pool2d(nchw(x), size)), size)
    add("adaptive_max_pool2d", [rand(*shape)], lambda x: nhwc(F.adaptive_max_pool2d(nchw(x), size)), size)

path = pathlib.Path(__file__).with_name("indexing.json")
text = ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)
path.write_text('{"torch": "%s", "entries": [\n%s\n]}\n' % (torch.__version__, text))
print(len(entries), "entries,", path.stat().st_size, "bytes")
