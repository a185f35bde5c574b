#!/usr/bin/env python3
"""Writes arrays.json: what NumPy computes of arrays of small whole numbers, which every element type holds exactly.

    pip install numpy
    python tests/golden/arrays.py

Each entry names a call that tests/arrays/golden.rs knows, its arguments, its inputs, and what it gives: one array or several.
Where an entry is of floats only, it says so.
"""

import json
import pathlib

import numpy as np

rng = np.random.default_rng(13)
entries = []


def whole(*shape):
    """Half of the entries have no negative numbers, for unsigned integers."""
    return rng.integers(0 if len(entries) // 4 % 2 else -4, 5, shape).astype(np.float64)


def plain(a):
    a = np.asarray(a)
    one = lambda v: int(v) if np.isfinite(v) and v == int(v) else (float(v) if np.isfinite(v) else str(float(v)))
    return {"shape": list(a.shape), "values": [one(v) for v in a.reshape(-1).tolist()]}


def add(call, inputs, outputs, args=(), text=None, floats=False):
    entry = {"call": call, "args": list(args), "inputs": [plain(x) for x in inputs]}
    if text is not None:
        entry["text"] = text
    if floats:
        entry["floats"] = True
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    entry["outputs"] = [plain(y) for y in outputs]
    entries.append(entry)


def pieces(x, lengths, axis):
    return np.split(x, np.cumsum(lengths)[:-1], axis)


for shape, axis in [((5,), 0), ((3, 4), 0), ((3, 4), -1), ((2, 3, 5), 1), ((0, 3), 0), ((2, 0), 0), ((1, 7), 1)]:
    x = whole(*shape)
    for shift in [0, 1, -1, 3, -13, 700]:
        add("roll", [x], np.roll(x, shift, axis), [shift, axis])
    for count in [0, 1, 3]:
        add("repeat", [x], np.repeat(x, count, axis), [count, axis])

for shape, counts in [((), [3]), ((), []), ((3,), [2]), ((3,), [2, 2]), ((2, 3), [2]), ((2, 3), [2, 1]), ((2, 3), [3, 2]),
                      ((2, 3), [2, 1, 3]), ((2, 1, 3), [1, 4, 1]), ((2, 3), [0, 2]), ((0, 3), [2, 2]),
                      ((2, 1, 3, 2), [2, 2, 2, 2])]:
    x = whole(*shape)
    add("tile", [x], np.tile(x, counts), counts)

for shape, axis, lengths in [((6,), 0, [2, 2, 2]), ((6,), 0, [1, 0, 5]), ((4, 6), 1, [1, 2, 3]), ((4, 6), -2, [4]), ((0, 2), 0, [0, 0])]:
    x = whole(*shape)
    add("split", [x], pieces(x, lengths, axis), [axis, *lengths])
for shape, axis, parts in [((6,), 0, 3), ((4, 6), 1, 2), ((4, 6), -2, 4), ((0, 2), 0, 2)]:
    x = whole(*shape)
    add("split_equally", [x], np.split(x, parts, axis), [axis, parts])
# PyTorch's: chunks of ceil(n / count)
for n, count, lengths in [(7, 3, [3, 3, 1]), (5, 4, [2, 2, 1]), (6, 3, [2, 2, 2]), (2, 5, [1, 1]), (1, 1, [1])]:
    x = whole(2, n)
    add("chunk", [x], pieces(x, lengths, 1), [1, count])

for shape in [(3, 3), (2, 4), (4, 2), (1, 5), (5, 1), (2, 3, 4), (0, 3), (3, 0)]:
    x = whole(*shape)
    for k in [0, 1, -1, 2, -3, 9, -9]:
        add("tril", [x], np.tril(x, k), [k])
        add("triu", [x], np.triu(x, k), [k])
        if len(shape) == 2:
            add("diag", [x], np.diag(x, k), [k])
        add("diagonal", [x], np.diagonal(x, k, -2, -1), [k, -2, -1])
        add("diagonal", [x], np.diagonal(x, k, 1, 0), [k, 1, 0])
    add("trace", [x], np.trace(x, axis1=-2, axis2=-1))
for n in [0, 1, 3]:
    x = whole(n)
    for k in [0, 1, -1, 4, -4]:
        add("diag", [x], np.diag(x, k), [k])
x = whole(3, 2, 4, 3)
add("diagonal", [x], np.diagonal(x, 0, 0, 3), [0, 0, 3])
add("diagonal", [x], np.diagonal(x, -1, 2, 1), [-1, 2, 1])

a, b, c = whole(2), whole(3), whole(4)
add("meshgrid", [a, b, c], list(np.meshgrid(a, b, c, indexing="ij")))
add("meshgrid", [b], list(np.meshgrid(b, indexing="ij")))

for text, shapes in [
    ("i->i", [(3,)]), ("i->", [(3,)]), ("ij->ji", [(2, 3)]), ("ba", [(2, 3)]), ("ij", [(2, 3)]), ("ii", [(3, 3)]), ("ii->i", [(3, 3)]),
    ("iij->ij", [(3, 3, 2)]), ("iji->j", [(3, 2, 3)]), ("iii->i", [(3, 3, 3)]), ("ijij->ij", [(2, 3, 2, 3)]), ("ijk->j", [(2, 3, 4)]),
    ("ijk->kj", [(2, 3, 4)]), ("->", [()]), (",->", [(), ()]), ("i,->i", [(3,), ()]),
    ("i,i->", [(4,), (4,)]), ("i,i", [(4,), (4,)]), ("i,i->i", [(4,), (4,)]), ("i,j->ij", [(2,), (3,)]), ("i,j->ji", [(2,), (3,)]),
    ("i,j->", [(2,), (3,)]), ("i,j->i", [(2,), (3,)]),
    ("ij,jk->ik", [(2, 3), (3, 4)]), ("ij,jk", [(2, 3), (3, 4)]), ("ij,kj->ik", [(2, 3), (4, 3)]), ("ji,jk->ki", [(3, 2), (3, 4)]),
    ("ij,j->i", [(2, 3), (3,)]), ("j,ij->i", [(3,), (2, 3)]), ("bA,A", [(2, 3), (3,)]), ("ij,ij->", [(2, 3), (2, 3)]),
    ("ij,ij->i", [(2, 3), (2, 3)]), ("ij,ij->j", [(2, 3), (2, 3)]), ("ij,kl->ijkl", [(2, 3), (1, 4)]), ("ij,kl->il", [(2, 3), (2, 4)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]), ("bij,jk->bik", [(2, 3, 4), (4, 5)]), ("bij,bkj->ikb", [(2, 3, 4), (2, 5, 4)]),
    ("bthd,bshd->bhts", [(2, 3, 2, 4), (2, 5, 2, 4)]), ("bhts,bshd->bthd", [(2, 2, 3, 5), (2, 5, 2, 4)]),
    ("abcd,cdef->abef", [(2, 2, 3, 2), (3, 2, 1, 4)]), ("abcd,dcef->efab", [(2, 2, 3, 2), (2, 3, 2, 3)]), ("abc,bca->", [(2, 3, 4), (3, 4, 2)]),
    ("abc,acd,de->be", [(2, 3, 4), (2, 4, 3), (3, 2)]), ("i,ij,j->", [(2,), (2, 3), (3,)]), ("ij,jk,kl,lm->im", [(2, 3), (3, 4), (4, 2), (2, 3)]),
    ("ijk,il,jm,kn->lmn", [(2, 3, 2), (2, 4), (3, 2), (2, 3)]), ("ij,ij,ij->ij", [(2, 3)] * 3), ("ab,bc,ca->", [(2, 3), (3, 4), (4, 2)]),
    ("a,ab,abc->abc", [(2,), (2, 3), (2, 3, 4)]), ("ii,ij->j", [(3, 3), (3, 2)]), ("iij,jk->ik", [(3, 3, 2), (2, 4)]),
    ("i,j,k->ijk", [(2,), (3,), (2,)]), ("i,j,k->kij", [(2,), (3,), (2,)]),
    ("...->...", [(2, 3)]), ("...", [(2, 3)]), ("i...->...", [(2, 3, 2)]), ("...i->...", [(2, 3)]), ("...ii->...i", [(2, 3, 3)]),
    ("i...->i...", [(2, 3)]), ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 2)]), ("...ij,...jk", [(2, 2, 3), (2, 3, 2)]),
    ("...,...->...", [(2, 1), (3,)]), ("...i,i...->...", [(2, 3), (3, 2)]), ("i...j,j->...i", [(2, 3, 4), (4,)]), ("...j,j->...", [(4,), (4,)]),
    ("b...,b->b...", [(2, 3, 4), (2,)]), ("...a,b...->ab...", [(3, 2), (4, 3)]),
    ("i,i->i", [(1,), (3,)]), ("ij,jk->ik", [(2, 1), (3, 4)]), ("ij,jk->ik", [(2, 1), (1, 4)]), ("ij,ij->j", [(1, 3), (2, 3)]),
    ("ij,jk->ik", [(2, 0), (0, 3)]), ("ij,jk->ik", [(0, 2), (2, 3)]), ("i,j->ij", [(0,), (3,)]), ("ij->", [(2, 0)]), ("ij,j->i", [(2, 0), (1,)]),
    ("a b , b c -> a c", [(2, 3), (3, 2)]), ("zA,Az->zA", [(2, 3), (3, 2)]),
    ("abcdefg,abcdefg->", [(1, 2, 1, 2, 1, 2, 2)] * 2), ("abcdefgh,h->abcdefg", [(1, 2, 1, 2, 1, 2, 2, 3), (3,)]),
    ("abcdefgh,bi->iacdefgh", [(1, 2, 1, 2, 1, 2, 2, 2), (2, 3)]), ("abcdefgk,abcdefgk->abcdefg", [(2, 1, 2, 1, 2, 1, 2, 3)] * 2),
    ("abcdefi,abcdefj->abcdefij", [(2, 1, 2, 1, 2, 1, 3), (2, 1, 2, 1, 2, 1, 2)]),
    ("abcdefgi,abcdefgi->abcdefg", [(2, 1, 2, 1, 2, 1, 1, 3)] * 2), ("abcdefik,abcdefk->abcdefi", [(2, 1, 2, 1, 2, 1, 3, 4), (2, 1, 2, 1, 2, 1, 4)]),
]:
    x = [whole(*s) for s in shapes]
    add("einsum", x, np.einsum(text, *x), text=text)

for (s, t), (p, q) in [(((2, 3), (3, 4)), ([1], [0])), (((2, 3), (3, 4)), ([-1], [-2])), (((2, 3, 4), (4, 3, 2)), ([1, 2], [1, 0])),
                       (((2, 3, 4), (4, 3, 2)), ([0, 2, 1], [2, 0, 1])), (((2, 3), (4,)), ([], [])), (((3,), (3,)), ([0], [0])),
                       (((2, 0), (0, 3)), ([1], [0])), (((2, 3, 4, 5), (5, 4, 7)), ([-1, -2], [0, 1]))]:
    x, y = whole(*s), whole(*t)
    add("tensordot", [x, y], np.tensordot(x, y, (p, q)), p + q)
for s, t in [((2,), (3,)), ((2, 2), (3,)), ((), (3,)), ((0,), (3,)), ((), ())]:
    x, y = whole(*s), whole(*t)
    add("outer", [x, y], np.outer(x, y))
for n in [0, 1, 5]:
    x, y = whole(n), whole(n)
    add("dot", [x, y], np.dot(x, y))
for s, (t, u) in [((4,), ((2, 3), (3, 4))), ((2, 4), ((2, 3), (3, 4))), ((), ((2, 3), (3, 4))), ((2, 1, 4), ((2, 2, 3), (3, 4)))]:
    b, x, y = whole(*s), whole(*t), whole(*u)
    add("addmm", [b, x, y], b + x @ y, floats=True)

for shape, axes in [((4,), (0,)), ((3, 5), (0,)), ((3, 5), (-1,)), ((2, 3, 4), (0, 2)), ((2, 3, 4), (0, 1, 2)), ((0, 3), (0,)), ((3, 0), (0,)), ((0,), (0,))]:
    x = whole(*shape) * (rng.random(shape) > 0.6)
    add("any", [x], np.any(x, axes), axes)
    add("all", [x], np.all(x + 1, axes), axes)
    add("count_nonzero", [x], np.count_nonzero(x, axes), axes)
for values, least in [([0, 2, 2, 1, 2], 0), ([0, 2, 2, 1, 2], 5), ([7], 0), ([], 0), ([], 3), ([0, 0], 1), ([3, 1, 300, 3], 4)]:
    add("bincount", [np.array(values, float)], np.bincount(np.array(values, int), minlength=least), [least])
a, b = np.array([0, 0, 2, -3, 1.0]), np.array([0, 1, 0, 5, 1.0])
for name in ["logical_and", "logical_or", "logical_xor"]:
    add(name, [a, b], getattr(np, name)(a, b))
    x, y = np.sign(whole(3, 1)), np.maximum(whole(2), 0)
    add(name, [x, y], getattr(np, name)(x, y))
add("logical_not", [a], np.logical_not(a))
x, mask = whole(2, 3), np.array([[1, 0, 0], [0, 1, 1.0]])
add("masked_fill", [x, mask], np.where(mask > 0, 9, x), [9])
add("masked_fill", [x, mask[:1]], np.where(mask[:1] > 0, 9, x), [9])

for n, m in [(0, (3,)), (1, (4,)), (2, (2, 3)), (5, (7,)), (8, (3, 0)), (9, (2, 2, 5)), (100, (40,))]:
    places, v = np.sort(whole(n)), whole(*m)
    for side in ["left", "right"]:
        add("searchsorted", [places, v], np.searchsorted(places, v, side), [int(side == "right")])
ends = np.array([-np.inf, -1, 0, 0, 3, np.inf, np.nan, np.nan])
for side in ["left", "right"]:
    add("searchsorted", [ends, ends], np.searchsorted(ends, ends, side), [int(side == "right")], floats=True)
    add("searchsorted", [ends[1:5], ends], np.searchsorted(ends[1:5], ends, side), [int(side == "right")], floats=True)

path = pathlib.Path(__file__).with_name("arrays.json")
lines = ",\n".join(json.dumps(e) for e in entries)
path.write_text('{"source": "NumPy %s", "entries": [\n%s\n]}\n' % (np.__version__, lines))
print(len(entries), "entries,", path.stat().st_size, "bytes")
