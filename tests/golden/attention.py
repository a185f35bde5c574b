#!/usr/bin/env python3
"""Writes attention.json: reference values and gradients of PyTorch in float64, of attention and of what transformers are made of.

    pip install torch
    python tests/golden/attention.py

"products" are calls of scaled_dot_product_attention: options, inputs, the output, and the gradients of the inputs for one
upstream gradient. "layers" are PyTorch's modules with their weights. Inputs and weights are multiples of 1/32, exact in single
precision.
"""

import json
import pathlib

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(20261126)
products, layers = [], []


def rand(*shape, low=-2.0, high=2.0):
    return np.round(rng.uniform(low, high, shape) * 32) / 32


def plain(a):
    return [v if np.isfinite(v) else str(v) for v in np.asarray(a, dtype=np.float64).reshape(-1).tolist()]


def short(a):
    return [float(f"{v:.15g}") for v in np.asarray(a.detach() if isinstance(a, torch.Tensor) else a).reshape(-1).tolist()]


def upstream_of(shape):
    n = int(np.prod(shape))
    return (np.round(np.linspace(0.5, -1.25, n) * 32) / 32).reshape(shape)


def product(q, k, v, scale=None, causal=False, seen=None, added=None, lengths=None):
    """seen: 1 where a query sees a key; added: to the scores; lengths: of the elements of the batch."""
    given = {"query": q, "key": k, "value": v} | ({"added": added} if added is not None else {})
    leaves = {name: torch.tensor(x, requires_grad=True) for name, x in given.items()}
    # PyTorch takes one mask: all that hides a key is one of minus infinity.
    t, s = q.shape[-2], k.shape[-2]
    hidden = torch.zeros(t, s, dtype=torch.bool)
    if causal:
        hidden = hidden | ~torch.ones(t, s, dtype=torch.bool).tril()
    if seen is not None:
        hidden = hidden | ~torch.tensor(seen).bool()
    if lengths is not None:
        behind = torch.arange(s)[None, :] >= torch.tensor(lengths)[:, None]
        hidden = hidden | behind.reshape([len(lengths)] + [1] * (q.ndim - 2) + [s])
    mask = torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))
    if added is not None:
        mask = mask + leaves["added"]
    y = F.scaled_dot_product_attention(leaves["query"], leaves["key"], leaves["value"], attn_mask=mask, scale=scale,
                                       enable_gqa=q.ndim > 2 and q.shape[-3] != k.shape[-3])
    up = upstream_of(tuple(y.shape))
    grads = torch.autograd.grad(y, list(leaves.values()), torch.tensor(up))
    array = lambda x: {"shape": list(np.shape(x)), "values": plain(x)}
    e = {"scale": scale, "causal": causal, "inputs": {name: array(x) for name, x in given.items()},
         "seen": None if seen is None else array(seen), "lengths": lengths, "shape": list(y.shape), "output": short(y),
         "upstream": plain(up), "grads": {name: short(g) for name, g in zip(leaves, grads)}}
    products.append(e)


def some(*shape):
    return (rng.uniform(0, 1, shape) < 0.6).astype(np.float64)


product(rand(3, 4), rand(5, 4), rand(5, 2))
product(rand(2, 2, 4, 3), rand(2, 2, 4, 3), rand(2, 2, 4, 3), causal=True)
product(rand(2, 5, 3), rand(2, 3, 3), rand(2, 3, 2), causal=True)
product(rand(2, 3, 3), rand(2, 6, 3), rand(2, 6, 2), causal=True, scale=0.3)
product(rand(2, 4, 3, 2), rand(2, 2, 5, 2), rand(2, 2, 5, 3), seen=np.maximum(some(3, 5), np.eye(3, 5)))
product(rand(2, 3, 4, 2), rand(2, 1, 4, 2), rand(2, 1, 4, 2), causal=True, lengths=[3, 1])
product(rand(2, 2, 3, 2), rand(2, 2, 5, 2), rand(2, 2, 5, 2), added=rand(2, 3, 5), lengths=[5, 2])
product(rand(2, 2, 3, 2), rand(2, 2, 4, 2), rand(2, 2, 4, 2), added=rand(2, 1, 1, 4), causal=True, scale=-1.5)
product(rand(1, 1, 3, 2) * 400, rand(1, 1, 4, 2) * 400, rand(1, 1, 4, 2))
product(rand(1, 2, 1, 4), rand(1, 2, 1, 4), rand(1, 2, 1, 4), causal=True)

path = pathlib.Path(__file__).with_name("attention.json")


def lines(entries):
    return ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)


path.write_text('{"torch":"%s","products":[\n%s\n],"layers":[\n%s\n]}\n' % (torch.__version__, lines(products), lines(layers)))
print(f"{len(products)} products, {len(layers)} layers, {path.stat().st_size} bytes")
