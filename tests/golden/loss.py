#!/usr/bin/env python3
"""Writes loss.json: losses, their gradients, and metrics, of Keras 3 (and where noted of PyTorch) in float64.

    pip install tensorflow torch
    python tests/golden/loss.py

Inputs are exact in float32, so that both precisions start from the same. Losses carry the mean over the batch, the mean
weighted by sample, and the gradient of the former; metrics are updated batch by batch.
"""

import json
import os
import pathlib

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import torch

keras.config.set_floatx("float64")
rng = np.random.default_rng(20261123)


def single(a):
    """Rounded to 1/1024: exact in single precision, and short in the file."""
    return np.round(np.asarray(a, np.float64) * 1024) / 1024


def normal(*shape, scale=2.0):
    return single(rng.normal(size=shape) * scale)


def uniform(*shape, low=0.05, high=0.95):
    return single(rng.uniform(low, high, size=shape))


def simplex(*shape):
    """Rows that sum to one, exactly: TensorFlow's gradient of the softmax cross-entropy counts on it."""
    p = rng.uniform(0.05, 1.0, size=shape)
    p = single(p / p.sum(-1, keepdims=True))
    p[..., 0] += 1 - p.sum(-1)
    assert p.min() > 0
    return p


def array(a):
    a = np.asarray(a)
    kind = "int" if a.dtype.kind in "iu" else "float"
    return {"shape": list(a.shape), "dtype": kind, "values": [number(v) for v in a.reshape(-1)]}


def number(v):
    v = v.item() if hasattr(v, "item") else v
    return v if isinstance(v, int) or np.isfinite(v) else str(v)


losses = []
metrics = []


def loss(name, outputs, targets, note="", **args):
    """One entry: the loss `name` of Keras with the arguments `args`."""
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    fn = getattr(keras.losses, name)(**args)
    y = tf.Variable(outputs)
    with tf.GradientTape() as tape:
        value = fn(tf.constant(targets), y)
    gradient = tf.convert_to_tensor(tape.gradient(value, y))
    entry = {
        "name": name,
        "note": note,
        "args": args,
        "outputs": array(outputs),
        "targets": array(targets),
        "value": number(value.numpy()),
        "gradient": [number(v) for v in gradient.numpy().reshape(-1)],
    }
    if outputs.ndim > 1:
        weights = uniform(outputs.shape[0], low=0.0, high=2.0)
        # Keras multiplies losses [batch, ..]; the classes' axis, or the last, is gone
        shaped = weights.reshape([-1] + [1] * (outputs.ndim - 2))
        entry["weights"] = array(weights)
        entry["weighted"] = number(fn(tf.constant(targets), tf.constant(outputs), sample_weight=shaped).numpy())
    losses.append(entry)


def smoothed(outputs, labels, smoothing):
    """Label smoothing of integer labels, which Keras lacks: PyTorch's."""
    x = torch.tensor(outputs, requires_grad=True)
    value = torch.nn.functional.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing)
    value.backward()
    losses.append({
        "name": "SparseCategoricalCrossentropy",
        "note": "PyTorch",
        "args": {"from_logits": True, "label_smoothing": smoothing},
        "outputs": array(outputs),
        "targets": array(labels),
        "value": number(value.item()),
        "gradient": [number(v) for v in x.grad.numpy().reshape(-1)],
    })


def one_hot(labels, classes):
    return np.eye(classes)[labels]


def all_losses():
    extreme = np.array([[100.0, -100.0, 0.0], [1e4, -1e4, 1e4], [-1e4, 1e4, 0.0], [0.0, 0.0, 0.0]])
    labels = np.array([1, 0, 2, 1])
    certain = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])

    for shape in [(5, 3), (1, 2), (3, 17), (2, 3, 4)]:
        logits, picks = normal(*shape), rng.integers(0, shape[-1], size=shape[:-1])
        loss("SparseCategoricalCrossentropy", logits, picks, from_logits=True)
        loss("SparseCategoricalCrossentropy", logits, picks, from_logits=True, ignore_class=int(picks.flat[0]))
        loss("SparseCategoricalCrossentropy", simplex(*shape), picks, from_logits=False)
        soft = simplex(*shape)
        loss("CategoricalCrossentropy", logits, soft, from_logits=True)
        loss("CategoricalCrossentropy", logits, one_hot(picks, shape[-1]), from_logits=True, label_smoothing=0.1)
        loss("CategoricalCrossentropy", simplex(*shape), soft, from_logits=False)
        loss("CategoricalCrossentropy", simplex(*shape), one_hot(picks, shape[-1]), label_smoothing=0.3)
    loss("CategoricalCrossentropy", uniform(4, 3), simplex(4, 3), "rows that don't sum to one", from_logits=False)
    loss("SparseCategoricalCrossentropy", uniform(4, 3), labels, "rows that don't sum to one", from_logits=False)
    void = np.array([[0, 255, 2], [255, 255, 1]])
    loss("SparseCategoricalCrossentropy", normal(2, 3, 3), void, "void pixels", from_logits=True, ignore_class=255)
    loss("SparseCategoricalCrossentropy", simplex(2, 3, 3), void, "void pixels", from_logits=False, ignore_class=255)
    all_void = np.full((2, 3), 255)
    loss("SparseCategoricalCrossentropy", normal(2, 3, 3), all_void, "void only", from_logits=True, ignore_class=255)
    loss("SparseCategoricalCrossentropy", extreme, labels, "extreme", from_logits=True)
    loss("CategoricalCrossentropy", extreme, one_hot(labels, 3), "extreme", from_logits=True)
    loss("CategoricalCrossentropy", extreme, one_hot(labels, 3), "extreme", from_logits=True, label_smoothing=0.2)
    loss("SparseCategoricalCrossentropy", certain, np.array([1, 1, 2]), "0 and 1", from_logits=False)
    loss("CategoricalCrossentropy", certain, one_hot([1, 1, 2], 3), "0 and 1", from_logits=False)
    for smoothing in [0.1, 1.0]:
        smoothed(normal(6, 5), rng.integers(0, 5, size=6), smoothing)
        smoothed(extreme, labels, smoothing)

    for shape in [(7,), (5, 1), (3, 4), (2, 3, 2)]:
        bits = rng.integers(0, 2, size=shape)
        for smoothing in [0.0, 0.2]:
            loss("BinaryCrossentropy", normal(*shape, scale=4), bits, from_logits=True, label_smoothing=smoothing)
            loss("BinaryCrossentropy", uniform(*shape), bits, from_logits=False, label_smoothing=smoothing)
        loss("BinaryCrossentropy", normal(*shape), uniform(*shape), "soft targets", from_logits=True)
    edge = np.array([[0.0], [0.0], [100.0], [-100.0], [1e4], [-1e4], [1e4], [-1e4], [20.0], [-20.0]])
    bits = np.array([[0], [1], [1], [0], [1], [0], [0], [1], [1], [0]])
    loss("BinaryCrossentropy", edge, bits, "extreme", from_logits=True)
    loss("BinaryCrossentropy", edge, bits, "extreme", from_logits=True, label_smoothing=0.1)
    sure = np.array([[0.0], [0.0], [1.0], [1.0], [0.5]])
    loss("BinaryCrossentropy", sure, np.array([[0], [1], [0], [1], [1]]), "0 and 1", from_logits=False)

    for shape in [(7,), (5, 1), (3, 4), (2, 3, 2)]:
        y, t = normal(*shape), normal(*shape)
        for name in ["MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "LogCosh"]:
            loss(name, y, t)
        for delta in [1.0, 0.3]:
            loss("Huber", y, t, delta=delta)
        loss("MeanSquaredLogarithmicError", uniform(*shape, high=4), uniform(*shape, high=4))
        loss("Poisson", uniform(*shape, high=4), rng.integers(0, 5, size=shape))
        for name in ["Hinge", "SquaredHinge"]:
            loss(name, y, rng.integers(0, 2, size=shape), "0 and 1")
            loss(name, y, 2.0 * rng.integers(0, 2, size=shape) - 1, "-1 and 1")
    zeros = np.zeros((2, 3))
    y = np.array([[0.0, 1e4, -1e4], [100.0, -100.0, 1.5]])
    for name in ["MeanSquaredError", "MeanAbsoluteError", "LogCosh"]:
        loss(name, y, zeros, "zeros and extremes")
    loss("Huber", y, zeros, "zeros and extremes", delta=1.5)
    loss("MeanAbsolutePercentageError", np.array([[1.0, -2.0]]), np.array([[0.0, 4.0]]), "division by zero")
    loss("MeanSquaredLogarithmicError", np.array([[-1.0, 2.0, 3.0]]), np.array([[0.0, -4.0, 1.0]]), "negative")
    loss("Poisson", np.array([[0.0, 2.0]]), np.array([[3, 0]]), "zero rate")

    for shape in [(5, 3), (1, 2), (2, 3, 4)]:
        loss("KLDivergence", simplex(*shape), simplex(*shape))
        loss("CosineSimilarity", normal(*shape), normal(*shape))
        picks = rng.integers(0, shape[-1], size=shape[:-1])
        loss("CategoricalHinge", normal(*shape), one_hot(picks, shape[-1]))
    loss("KLDivergence", certain, one_hot([1, 1, 2], 3), "0 and 1")
    y = np.array([[3.0, 4.0], [0.25, 0.0], [-2.0, 0.0]])
    loss("CosineSimilarity", y, np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 0.0]]), "zero targets, parallel")


def more_metrics():
    for spread, mean in [(1.0, 0.0), (2.0, 8.0)]:
        batches = []
        for size in [9, 4, 1]:
            t = single(rng.normal(size=(size, 3)) * spread + mean)
            batches.append((single(t + rng.normal(size=(size, 3)) * 0.5), t))
        metric("R2Score", batches)
        y, t = (np.concatenate([b[k] for b in batches]) for k in [0, 1])
        correlation = np.mean([np.corrcoef(y[:, k], t[:, k])[0, 1] for k in range(3)])
        ours("PearsonCorrelation", batches, correlation)
    for sizes, n in [([7, 5], 3), ([40], 6)]:
        batches = [(normal(size, 4, n), rng.integers(0, n - 1, size=(size, 4))) for size in sizes]
        mean_iou = keras.metrics.MeanIoU(n, sparse_y_pred=False)
        for o, t in batches:
            mean_iou.update_state(t, o)
        ours("MeanIoU", batches, mean_iou.result())
    batches = [(normal(size, 4, 5), rng.integers(0, 5, size=(size, 4))) for size in [3, 2]]
    rows = np.concatenate([torch.nn.functional.cross_entropy(
        torch.tensor(o).reshape(-1, 5), torch.tensor(t).reshape(-1), reduction="none").numpy() for o, t in batches])
    ours("Perplexity", batches, np.exp(rows.mean()))


def ctc(outputs, labels, blank):
    """PyTorch's, whose sums are in float64."""
    x = torch.tensor(outputs, requires_grad=True)
    value = torch.nn.functional.ctc_loss(
        x.log_softmax(-1).permute(1, 0, 2), torch.tensor(labels),
        torch.full((len(labels),), outputs.shape[1]), torch.tensor((labels != blank).sum(-1)), blank, "none").mean()
    value.backward()
    losses.append({
        "name": "CTC", "note": "PyTorch", "args": {"blank": blank}, "outputs": array(outputs), "targets": array(labels),
        "value": number(value.item()), "gradient": [number(v) for v in x.grad.numpy().reshape(-1)],
    })


def more_losses():
    for shape in [(7,), (3, 4), (2, 3, 2)]:
        bits = rng.integers(0, 2, size=shape)
        loss("BinaryFocalCrossentropy", uniform(*shape), bits, from_logits=False)
        loss("BinaryFocalCrossentropy", normal(*shape), bits, from_logits=True, gamma=1.5)
        loss("BinaryFocalCrossentropy", normal(*shape), bits, from_logits=True, gamma=3.0, label_smoothing=0.2)
        loss("BinaryFocalCrossentropy", uniform(*shape), bits, apply_class_balancing=True, alpha=0.3, gamma=1.0)
    for shape in [(5, 3), (2, 3, 4)]:
        picks = rng.integers(0, shape[-1], size=shape[:-1])
        loss("CategoricalFocalCrossentropy", normal(*shape), one_hot(picks, shape[-1]), from_logits=True)
        loss("CategoricalFocalCrossentropy", normal(*shape), simplex(*shape), from_logits=True, alpha=0.6, gamma=1.5)
        loss("CategoricalFocalCrossentropy", uniform(*shape), one_hot(picks, shape[-1]), gamma=0.0, label_smoothing=0.1)
    # Ours is of each sample: Keras's of a batch of one.
    for shape in [(1, 5), (1, 3, 3, 2)]:
        loss("Dice", uniform(*shape), rng.integers(0, 2, size=shape))
        loss("Dice", uniform(*shape), np.zeros(shape, int), "nothing is there")
        loss("Tversky", uniform(*shape), rng.integers(0, 2, size=shape), alpha=0.3, beta=0.7)
    for (batch, steps, classes), labels, blank in [
        ((1, 1, 2), [[1]], 0),
        ((3, 6, 4), [[1, 2, 3], [2, 2, 0], [0, 0, 0]], 0),
        ((2, 12, 5), [[1, 1, 2, 3, 3], [4, 4, 4, 0, 0]], 0),
        ((2, 7, 3), [[0, 1, 0], [1, 2, 2]], 2),
    ]:
        ctc(normal(batch, steps, classes), np.array(labels), blank)


def metric(name, batches, call=None, note="", pick=None, **args):
    """One entry: the metric `name` of Keras with the arguments `args`; `call` is what it is called here, with `args`."""
    fn = getattr(keras.metrics, name)(**args)
    for outputs, targets in batches:
        # in_top_k takes single precision only
        fn.update_state(targets, outputs.astype(np.float32) if "TopK" in name else outputs)
    value = np.asarray(fn.result(), np.float64)
    metrics.append({
        "name": call or name,
        "note": note,
        "args": args,
        "batches": [{"outputs": array(o), "targets": array(t)} for o, t in batches],
        "value": [number(v) for v in value.reshape(-1)],
    })


def ours(name, batches, value, **args):
    metrics.append({
        "name": name,
        "note": "tf.math",
        "args": args,
        "batches": [{"outputs": array(o), "targets": array(t)} for o, t in batches],
        "value": [number(v) for v in np.asarray(value, np.float64).reshape(-1)],
    })


def all_metrics():
    def classes(sizes, n):
        # in steps of a hundredth, each once in a row: no ties
        rows = lambda size: single(np.stack([rng.permutation(4 * n)[:n] for _ in range(size)]) / 100 + 0.01)
        return [(rows(size), rng.integers(0, n, size=size)) for size in sizes]

    def dense(batches, n):
        return [(o, one_hot(t, n)) for o, t in batches]

    def tied(sizes, n):
        return [(single(rng.integers(0, 3, size=(s, n)) / 4), rng.integers(0, n, size=s)) for s in sizes]

    def binary(sizes, tail):
        return [(uniform(s, *tail, low=0, high=1), rng.integers(0, 2, size=(s, *tail))) for s in sizes]

    for n, sizes in [(3, [7, 5, 1]), (10, [8, 3]), (2, [4])]:
        batches = classes(sizes, n)
        metric("SparseCategoricalAccuracy", batches, "Accuracy")
        metric("CategoricalAccuracy", dense(batches, n), "Accuracy")
        metric("SparseCategoricalAccuracy", tied(sizes, n), "Accuracy", "ties")
        for k in [1, 2, 3, 5]:
            metric("SparseTopKCategoricalAccuracy", batches, "TopKAccuracy", k=k)
            metric("SparseTopKCategoricalAccuracy", tied(sizes, n), "TopKAccuracy", "ties", k=k)
            metric("TopKCategoricalAccuracy", dense(batches, n), "TopKAccuracy", k=k)
        for average in ["macro", "micro", "weighted", None]:
            metric("F1Score", dense(batches, n), average=average)
        for c in range(min(n, 3)):
            metric("Precision", dense(batches, n), class_id=c, top_k=1)
            metric("Recall", dense(batches, n), class_id=c, top_k=1)
        matrix = sum(tf.math.confusion_matrix(t, o.argmax(-1), n).numpy() for o, t in batches)
        ours("Confusion", batches, matrix, classes=n)
    sequence = [(normal(2, 3, 4), rng.integers(0, 4, size=(2, 3))), (normal(1, 3, 4), rng.integers(0, 4, size=(1, 3)))]
    metric("SparseCategoricalAccuracy", sequence, "Accuracy", "sequences")
    metric("SparseTopKCategoricalAccuracy", sequence, "TopKAccuracy", "sequences", k=2)

    quarters = [(np.array([[0.0], [0.25], [0.5], [0.5], [0.75], [1.0]]), np.array([[0], [0], [0], [1], [1], [1]]))]
    nothing = [(np.full((3, 1), 0.25), np.zeros((3, 1), int))]
    everything = [(np.full((3, 1), 0.75), np.ones((3, 1), int))]
    for batches in [binary([9, 4], ()), binary([30, 1], (1,)), binary([5, 5], (3,)), quarters, nothing, everything]:
        for threshold in [0.5, 0.25]:
            metric("BinaryAccuracy", batches, threshold=threshold)
            metric("Precision", batches, thresholds=threshold)
            metric("Recall", batches, thresholds=threshold)
            if batches[0][0].ndim == 2 and batches[0][0].shape[1] == 1:
                metric("F1Score", batches, average="micro", threshold=threshold)
        for curve in ["ROC", "PR"]:
            metric("AUC", batches, curve=curve)
            metric("AUC", batches, curve=curve, num_thresholds=7)
    logits = [(normal(20, 1), rng.integers(0, 2, size=(20, 1))) for _ in range(2)]
    metric("AUC", logits, from_logits=True)
    metric("Precision", logits, note="logits", thresholds=0.0)
    metric("Recall", logits, note="logits", thresholds=0.0)
    metric("BinaryAccuracy", logits, note="logits", threshold=0.0)

    regression = [(normal(s, 3), normal(s, 3)) for s in [6, 2]]
    for name in ["RootMeanSquaredError", "MeanSquaredError", "MeanAbsoluteError", "LogCoshError"]:
        metric(name, regression)


all_losses()
all_metrics()
more_losses()
more_metrics()
path = pathlib.Path(__file__).with_name("loss.json")
text = lambda entries: ",\n".join(json.dumps(e) for e in entries)
versions = f"keras {keras.__version__}, tensorflow {tf.__version__}, torch {torch.__version__}"
path.write_text(
    f'{{"made_by": "{versions}",\n"losses": [\n{text(losses)}\n],\n"metrics": [\n{text(metrics)}\n]}}\n'
)
print(f"{len(losses)} losses, {len(metrics)} metrics, {path.stat().st_size} bytes")
