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



def rounded(a):
    """To the digits that single precision can be compared with."""
    return [float(f"{v:.9g}") for v in np.asarray(a.detach() if isinstance(a, torch.Tensor) else a).reshape(-1).tolist()]


def projections(prefix, m):
    """nn.MultiheadAttention's parameters under our names: ours is x @ weight, theirs x @ weight.T."""
    e = m.embed_dim
    parts = m.in_proj_weight.split(e) if m.in_proj_weight is not None else [m.q_proj_weight, m.k_proj_weight, m.v_proj_weight]
    out = {f"{prefix}{n}.weight": lambda part=part: part.T for n, part in zip(("query", "key", "value"), parts)}
    biases = m.in_proj_bias.split(e)
    out |= {f"{prefix}{n}.bias": lambda part=part: part for n, part in zip(("query", "key", "value"), biases)}
    out |= {f"{prefix}out.weight": lambda: m.out_proj.weight.T, f"{prefix}out.bias": lambda: m.out_proj.bias}
    return out


def linear(prefix, m):
    return {f"{prefix}.weight": lambda: m.weight.T, f"{prefix}.bias": lambda: m.bias}


def norm(prefix, m):
    return {f"{prefix}.gamma": lambda: m.weight, f"{prefix}.beta": lambda: m.bias}


def layer(kind, module, inputs, call, named, args=(), mask=None):
    """named: our names of the parameters, each with a view of PyTorch's."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.tensor(rand(*p.shape, low=-1.0, high=1.0)))
    xs = [torch.tensor(x, requires_grad=True) for x in inputs]
    direct = call(module, *xs)
    up = upstream_of(tuple(direct.shape))
    params = list(module.parameters())
    grads = torch.autograd.grad(direct, xs + params, torch.tensor(up))
    of = dict(zip(map(id, params), grads[len(xs):]))
    values = {name: np.asarray(view().detach()).copy() for name, view in named(module).items()}
    # The same views of the gradients, in the parameters' places.
    for p in params:
        p.data = of[id(p)].clone()
    slopes = {name: np.asarray(view().detach()).copy() for name, view in named(module).items()}
    array = lambda x: {"shape": list(np.shape(x)), "values": plain(x)}
    layers.append({"layer": kind, "args": list(args), "inputs": [array(x) for x in inputs], "mask": None if mask is None else array(mask),
                   "weights": [{"name": n, **array(v)} for n, v in values.items()], "shape": list(direct.shape),
                   "output": rounded(direct), "upstream": plain(up),
                   "grads": [{"name": f"input{i}", "values": rounded(g)} for i, g in enumerate(grads[:len(xs)])]
                   + [{"name": n, "values": rounded(v)} for n, v in slopes.items()]})


def causal(t):
    return torch.ones(t, t, dtype=torch.bool).triu(1)


mha = lambda m: projections("", m)
layer("attention", nn.MultiheadAttention(6, 3, batch_first=True), [rand(2, 4, 6)], lambda m, x: m(x, x, x, need_weights=False)[0], mha, [3, 2, 0])
layer("attention", nn.MultiheadAttention(4, 2, batch_first=True), [rand(2, 3, 4)],
      lambda m, x: m(x, x, x, need_weights=False, attn_mask=causal(3))[0], mha, [2, 2, 1])
# Our order of inputs: query, value, key.
layer("attention", nn.MultiheadAttention(4, 2, kdim=3, vdim=5, batch_first=True), [rand(2, 3, 4), rand(2, 5, 5), rand(2, 5, 3)],
      lambda m, q, v, k: m(q, k, v, need_weights=False)[0], mha, [2, 2, 0])


def encoder(m):
    return (projections("attention.", m.self_attn) | norm("attention_norm", m.norm1) | linear("feedforward.intermediate", m.linear1)
            | linear("feedforward.output", m.linear2) | norm("feedforward_norm", m.norm2))


def encoder_layer(**more):
    return nn.TransformerEncoderLayer(4, 2, dim_feedforward=6, dropout=0.0, batch_first=True, **more)


layer("encoder", encoder_layer(), [rand(2, 3, 4)], lambda m, x: m(x), encoder, [6, 2, 0, 0])
layer("encoder", encoder_layer(activation="gelu", norm_first=True), [rand(1, 4, 4)], lambda m, x: m(x), encoder, [6, 2, 1, 1])
padded = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1]])
layer("encoder", encoder_layer(), [rand(3, 3, 4)], lambda m, x: m(x, src_key_padding_mask=torch.tensor(padded == 0)), encoder,
      [6, 2, 0, 0], mask=padded)
# A decoder without a second sequence: a GPT's block.
layer("decoder", encoder_layer(norm_first=True), [rand(2, 5, 4)], lambda m, x: m(x, src_mask=causal(5), is_causal=True), encoder, [6, 2, 0, 1])


def decoder(m):
    return (projections("attention.", m.self_attn) | norm("attention_norm", m.norm1)
            | projections("cross_attention.", m.multihead_attn) | norm("cross_attention_norm", m.norm2)
            | linear("feedforward.intermediate", m.linear1) | linear("feedforward.output", m.linear2) | norm("feedforward_norm", m.norm3))


for first in (False, True):
    layer("decoder", nn.TransformerDecoderLayer(4, 2, dim_feedforward=6, dropout=0.0, batch_first=True, norm_first=first),
          [rand(2, 3, 4), rand(2, 5, 4)], lambda m, x, y: m(x, y, tgt_mask=causal(3), tgt_is_causal=True), decoder, [6, 2, 0, int(first)])

layer("rms_norm", nn.RMSNorm(5, eps=1e-6), [rand(2, 3, 5)], lambda m, x: m(x), lambda m: {"gamma": lambda: m.weight})
layer("instance_norm", nn.InstanceNorm1d(3, eps=1e-3, affine=True), [rand(2, 4, 3)], lambda m, x: m(x.transpose(1, 2)).transpose(1, 2),
      lambda m: {"gamma": lambda: m.weight, "beta": lambda: m.bias})

path = pathlib.Path(__file__).with_name("attention.json")


def lines(entries):
    return ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)


path.write_text('{"torch":"%s","products":[\n%s\n],"layers":[\n%s\n]}\n' % (torch.__version__, lines(products), lines(layers)))
print(f"{len(products)} products, {len(layers)} layers, {path.stat().st_size} bytes")
