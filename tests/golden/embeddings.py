#!/usr/bin/env python3
"""Writes embeddings.json: losses of embeddings and their gradients, and BLEU, in float64.

    pip install tensorflow torch nltk sacrebleu
    python tests/golden/embeddings.py

PyTorch's losses are called; TensorFlow Addons, which no longer installs, has its formulas written out here as it had them. BLEU is
sacreBLEU's, of tokens that are numbers, and NLTK's where both have a method.
"""

import json
import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu  # noqa: E402
from sacrebleu.metrics import BLEU  # noqa: E402

rng = np.random.default_rng(20271126)
torch.set_default_dtype(torch.float64)
losses = []


def rand(*shape):
    return np.round(rng.normal(size=shape) * 64) / 64


def entry(name, args, inputs, value, grads, targets=None):
    out = {"name": name, "args": args, "value": float(value),
           "inputs": [{"shape": list(x.shape), "values": x.reshape(-1).tolist()} for x in inputs],
           "grads": [np.asarray(g).reshape(-1).tolist() for g in grads]}
    if targets is not None:
        out["targets"] = np.asarray(targets).tolist()
    losses.append(out)


def in_torch(name, f, inputs, args=None, targets=None):
    leaves = [torch.tensor(x, requires_grad=True) for x in inputs]
    value = f(*leaves)
    entry(name, args or [], inputs, value.item(), [g.numpy() for g in torch.autograd.grad(value, leaves)], targets)


three = [rand(6, 4) for _ in range(3)]
for margin, p, swap in [(1.0, 2.0, False), (0.5, 2.0, True), (2.0, 1.0, False), (1.5, 3.0, True)]:
    in_torch("triplet_margin", torch.nn.TripletMarginLoss(margin=margin, p=p, swap=swap), three, [margin, p, float(swap)])
signs = [1, -1, -1, 1, -1, 1]
for margin in [0.0, 0.5]:
    in_torch("cosine_embedding",
             lambda a, b: torch.nn.CosineEmbeddingLoss(margin=margin)(a, b, torch.tensor(signs)), three[:2], [margin], signs)
zeros = np.zeros((2, 3))
in_torch("cosine_embedding", lambda a, b: torch.nn.CosineEmbeddingLoss()(a, b, torch.tensor([1, -1])), [zeros, rand(2, 3)], [0.0],
         [1, -1])


def info_nce(temperature, symmetric):
    def f(a, b):
        logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
        own = torch.arange(len(a))
        there = F.cross_entropy(logits, own)
        return (there + F.cross_entropy(logits.T, own)) / 2 if symmetric else there
    return f


def nt_xent(temperature):
    def f(a, b):
        z = F.normalize(torch.cat([a, b]), dim=1)
        logits = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool), float("-inf"))
        n = len(a)
        return F.cross_entropy(logits, torch.cat([torch.arange(n) + n, torch.arange(n)]))
    return f


for temperature in [1.0, 0.07]:
    in_torch("info_nce", info_nce(temperature, False), three[:2], [temperature, 0.0])
    in_torch("info_nce", info_nce(temperature, True), three[1:], [temperature, 1.0])
    in_torch("nt_xent", nt_xent(temperature), three[:2], [temperature])
in_torch("nt_xent", nt_xent(0.5), [rand(1, 3), rand(1, 3)], [0.5])


# TensorFlow Addons
def pairwise_distance(x, squared):
    d = tf.reduce_sum(tf.square(x[:, None] - x[None]), -1)
    if squared:
        return d
    # its root is masked where it is 0, so that the gradient is 0 there
    zero = tf.equal(d, 0.0)
    return tf.where(zero, tf.zeros_like(d), tf.sqrt(tf.where(zero, tf.ones_like(d), d)))


def masked_maximum(data, mask, dim=1):
    least = tf.reduce_min(data, dim, keepdims=True)
    return tf.reduce_max(tf.multiply(data - least, mask), dim, keepdims=True) + least


def masked_minimum(data, mask, dim=1):
    most = tf.reduce_max(data, dim, keepdims=True)
    return tf.reduce_min(tf.multiply(data - most, mask), dim, keepdims=True) + most


def triplet_semihard_loss(labels, x, margin, squared):
    labels = tf.reshape(labels, [-1, 1])
    pdist = pairwise_distance(x, squared)
    adjacency = tf.math.equal(labels, tf.transpose(labels))
    adjacency_not = tf.math.logical_not(adjacency)
    n = x.shape[0]
    tile = tf.tile(pdist, [n, 1])
    mask = tf.math.logical_and(tf.tile(adjacency_not, [n, 1]),
                               tf.math.greater(tile, tf.reshape(tf.transpose(pdist), [-1, 1])))
    final = tf.reshape(tf.math.greater(tf.reduce_sum(tf.cast(mask, tf.float64), 1, keepdims=True), 0.0), [n, n])
    final = tf.transpose(final)
    adjacency_not = tf.cast(adjacency_not, tf.float64)
    mask = tf.cast(mask, tf.float64)
    outside = tf.transpose(tf.reshape(masked_minimum(tile, mask), [n, n]))
    inside = tf.tile(masked_maximum(pdist, adjacency_not), [1, n])
    loss = margin + pdist - tf.where(final, outside, inside)
    positives = tf.cast(adjacency, tf.float64) - tf.eye(n, dtype=tf.float64)
    return tf.math.truediv(tf.reduce_sum(tf.math.maximum(tf.multiply(loss, positives), 0.0)), tf.reduce_sum(positives))


def triplet_hard_loss(labels, x, margin, squared, soft):
    labels = tf.reshape(labels, [-1, 1])
    pdist = pairwise_distance(x, squared)
    adjacency = tf.math.equal(labels, tf.transpose(labels))
    nearest = masked_minimum(pdist, tf.cast(tf.math.logical_not(adjacency), tf.float64))
    positives = tf.cast(adjacency, tf.float64) - tf.eye(x.shape[0], dtype=tf.float64)
    off = masked_maximum(pdist, positives) - nearest
    return tf.reduce_mean(tf.math.log1p(tf.math.exp(off)) if soft else tf.maximum(off + margin, 0.0))


def contrastive_loss(alike, distances, margin):
    alike = tf.cast(alike, tf.float64)
    return tf.reduce_mean(alike * tf.math.square(distances)
                          + (1.0 - alike) * tf.math.square(tf.math.maximum(margin - distances, 0.0)))


def in_tensorflow(name, f, x, targets, args):
    leaf = tf.Variable(x)
    with tf.GradientTape() as tape:
        value = f(tf.constant(targets), leaf)
    entry(name, args, [x], value.numpy(), [tf.convert_to_tensor(tape.gradient(value, leaf)).numpy()], targets)


labels = [0, 1, 2, 0, 1, 0, 2, 1]
many = rand(8, 3)
unit = np.float32(many / np.linalg.norm(many, axis=1, keepdims=True)).astype(np.float64)
for x in [many, unit]:
    for squared in [False, True]:
        in_tensorflow("triplet_semi_hard", lambda t, y: triplet_semihard_loss(t, y, 1.0, squared), x, labels, [1.0, float(squared)])
        in_tensorflow("triplet_semi_hard", lambda t, y: triplet_semihard_loss(t, y, 0.25, squared), x, labels, [0.25, float(squared)])
        for soft in [False, True]:
            in_tensorflow("triplet_hard", lambda t, y: triplet_hard_loss(t, y, 0.5, squared, soft), x, labels,
                          [0.5, float(squared), float(soft)])
in_tensorflow("contrastive", lambda t, y: contrastive_loss(t, y, 1.25), np.abs(rand(7)), [1, 0, 1, 0, 0, 1, 0], [1.25])

bleu = []


def score(written, references, smoothing, method, order=4, effective=False, nltk=None):
    kind, by = (smoothing or [None, None])
    most = max(map(len, references))
    # sacreBLEU wants the same number of references of each sentence; what is missing is None.
    columns = [[" ".join(map(str, r[i])) if i < len(r) else None for r in references] for i in range(most)]
    metric = BLEU(smooth_method=kind or "none", smooth_value=by, tokenize="none", max_ngram_order=order, effective_order=effective,
                  force=True)
    value = metric.corpus_score([" ".join(map(str, w)) for w in written], columns).score / 100
    if nltk is not None:
        theirs = corpus_bleu(references, written, weights=[1 / order] * order, smoothing_function=nltk)
        assert abs(theirs - value) < 1e-12, (theirs, value)
    bleu.append({"written": written, "references": references, "smoothing": [method, by or 0.0], "order": order,
                 "effective": effective, "score": value})


corpus, right = [], []
# NLTK counts an n-gram of sentences that are too short to have one: none is.
for length in [12, 6, 9, 20, 5]:
    truth = rng.integers(0, 9, length).tolist()
    corpus.append([t if rng.random() < 0.75 else int(rng.integers(0, 9)) for t in truth][: length - int(rng.integers(0, 2))])
    right.append([truth] + [rng.integers(0, 9, length + k).tolist() for k in range(int(rng.integers(0, 3)))])
chance = SmoothingFunction(epsilon=0.1)
score(corpus, right, None, "none", nltk=chance.method0)
score(corpus, right, None, "none", order=2, nltk=chance.method0)
score(corpus, right, ["exp", None], "exponential")
score(corpus, right, ["add-k", 1.0], "add", nltk=chance.method2)
one = [[1, 2, 3, 4, 5, 6]], [[[1, 2, 9, 4, 5, 7, 8]]]
score(*one, None, "none")
score(*one, ["floor", 0.1], "floor", nltk=chance.method1)
score(*one, ["add-k", 1.0], "add", nltk=chance.method2)
score(*one, ["add-k", 0.5], "add")
score(*one, ["exp", None], "exponential", nltk=chance.method3)
score([[1, 2]], [[[1, 2, 3]]], None, "none", effective=True)
score([[1, 2]], [[[1, 2, 3]]], ["exp", None], "exponential", effective=True)
score([[1, 2]], [[[1, 2, 3]]], None, "none")
score([[7, 8, 9, 10]], [[[1, 2, 3, 4]]], ["exp", None], "exponential")
score([[1, 1, 1, 1, 1]], [[[1, 1, 2, 3], [1, 2, 3, 4, 5, 1]]], ["exp", None], "exponential")

path = pathlib.Path(__file__).with_name("embeddings.json")


def lines(entries):
    return ",\n".join(json.dumps(e, separators=(",", ":")) for e in entries)


path.write_text('{"torch":"%s","losses":[\n%s\n],"bleu":[\n%s\n]}\n' % (torch.__version__, lines(losses), lines(bleu)))
print(f"{len(losses)} losses, {len(bleu)} scores, {path.stat().st_size} bytes")
