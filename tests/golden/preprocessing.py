#!/usr/bin/env python3
"""Writes preprocessing.json: what Keras's preprocessing layers make of numbers and words, and what they adapt to.

    pip install keras tensorflow numpy
    python tests/golden/preprocessing.py
"""

import json
import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(13)
cases = []


def number(v):
    v = v.decode() if isinstance(v, bytes) else v
    if isinstance(v, (str, np.str_)):
        return str(v)
    v = float(v)
    return str(v) if not np.isfinite(v) else int(v) if v == int(v) else v


def plain(a):
    a = np.asarray(a)
    return {"shape": list(a.shape), "values": [number(v) for v in a.reshape(-1).tolist()]}


def case(kind, layer, x, adapt=(), learnt=(), **settings):
    for_keras = [np.asarray(b) for b in adapt]
    if len(for_keras) > 1:
        layer.adapt(iter(for_keras) if kind != "Normalization" else for_keras)
    elif for_keras:
        layer.adapt(for_keras[0])
    y = layer(np.asarray(x))
    y = y.numpy() if hasattr(y, "numpy") else np.asarray(y)
    settings = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
    entry = {"kind": kind, "settings": settings, "adapt": [plain(b) for b in adapt], "input": plain(x), "output": plain(y)}
    for name, get in learnt:
        entry[name] = plain(get(layer))
    cases.append(entry)


f32 = lambda a: np.asarray(a, dtype="float32")
rand = lambda *shape: f32(np.round(rng.uniform(-4, 4, shape) * 16) / 16)
learnt = [("mean", lambda l: l.mean), ("variance", lambda l: l.variance)]

x = rand(5, 3)
case("Normalization", layers.Normalization(), x, [rand(12, 3)], learnt, axes=[-1])
case("Normalization", layers.Normalization(), x, [rand(7, 3), rand(5, 3), rand(1, 3)], learnt, axes=[-1])
case("Normalization", layers.Normalization(axis=None), x, [rand(12, 3)], learnt, axes=[])
case("Normalization", layers.Normalization(invert=True), x, [rand(6, 3)], learnt, axes=[-1], invert=True)
images = rand(6, 2, 4, 3)
case("Normalization", layers.Normalization(), images[:2], [images], learnt, axes=[-1])
case("Normalization", layers.Normalization(axis=(1, 3)), images[:2], [images], learnt, axes=[0, 2])
case("Normalization", layers.Normalization(axis=(1, 2, 3)), images[:2], [images], learnt, axes=[0, 1, 2])
case("Normalization", layers.Normalization(), f32([[5, 1], [5, 2]]), [f32([[5, 1], [5, 4]])], learnt, axes=[-1])
case("Normalization", layers.Normalization(mean=3.0, variance=2.0), f32([[1], [2], [3]]), mean=[3], variance=[2])
case("Normalization", layers.Normalization(mean=[3.0, 1.0], variance=[2.0, 0.0]), f32([[1, 1], [2, 1]]), mean=[3, 1], variance=[2, 0])

case("Rescaling", layers.Rescaling(1 / 127.5, offset=-1), f32([[0, 127.5, 255]]), scale=1 / 127.5, offset=-1)

bounds = [("boundaries", lambda l: f32(l.bin_boundaries))]
values = f32([[-1.5, 1, 3.4, 0.5], [0, 3, 1.3, 0], [np.inf, -np.inf, np.nan, 2]])
for mode in ["int", "one_hot", "multi_hot", "count"]:
    case("Discretization", layers.Discretization([0.0, 1.0, 2.0], output_mode=mode), values, boundaries=[0, 1, 2], output=mode)
case("Discretization", layers.Discretization([0.5], output_mode="one_hot"), values[:, :1], boundaries=[0.5], output="one_hot")
for bins, n in [(4, 8), (4, 3), (2, 1), (1, 9), (3, 40), (10, 500), (5, 734)]:
    data = f32(rng.permutation(n).reshape(n, 1) / 8)
    case("Discretization", layers.Discretization(num_bins=bins), values, [data], bounds, bins=bins)
# Every value once: among equal ones NumPy's sort decides by chance.
skewed = np.split(f32(rng.permutation(1400)[:1014] ** 2 / 1024).reshape(-1, 2), [50, 250, 257])
case("Discretization", layers.Discretization(num_bins=6), values, skewed, bounds, bins=6)
case("Discretization", layers.Discretization(num_bins=6, epsilon=0.1), values, skewed[:3], bounds, bins=6, epsilon=0.1)

ints = np.array([[0, 1], [0, 0], [1, 2], [3, 1]])
for mode in ["one_hot", "multi_hot", "count"]:
    case("CategoryEncoding", layers.CategoryEncoding(4, output_mode=mode), ints, tokens=4, output=mode)
    case("CategoryEncoding", layers.CategoryEncoding(5, output_mode=mode), ints[:, :1], tokens=5, output=mode)
case("CategoryEncoding", layers.CategoryEncoding(4, output_mode="one_hot"), ints[:, 0], tokens=4, output="one_hot")
weights = f32([[0.1, 0.2], [0.1, 0.1], [0.2, 0.3], [0.2, 0.2]])
weighted = layers.CategoryEncoding(4, output_mode="count")(ints, count_weights=weights)
cases.append({"kind": "CategoryEncoding", "settings": {"tokens": 4, "output": "count"}, "adapt": [], "input": plain(ints),
              "weights": plain(weights), "output": plain(weighted)})

vocabulary = [("vocabulary", lambda l: l.get_vocabulary())]
codes = np.array([[12, 1138, 42, 42], [42, 1000, 36, -7], [7, 7, 0, 12]])
asked = np.array([[42, 1000, 7, 99], [-7, 0, 5, -3], [12, 12, 1138, 100000]])
for mode in ["int", "one_hot", "multi_hot", "count", "tf_idf"]:
    for extra in [{}, {"num_oov_indices": 3}, {"mask_token": 7}, {"max_tokens": 4}, {"max_tokens": 20, "pad_to_max_tokens": True},
                  {"num_oov_indices": 2, "mask_token": 0, "max_tokens": 6}]:
        layer = layers.IntegerLookup(output_mode=mode, **extra)
        case("IntegerLookup", layer, asked, [codes], vocabulary, output=mode, **extra)
case("IntegerLookup", layers.IntegerLookup(vocabulary=[5, 3, 9], num_oov_indices=0), np.array([9, 5, 3]), vocabulary=[5, 3, 9], num_oov_indices=0)

words = np.array([["a", "b", "b"], ["c", "b", "ä"], ["", "d", "c"], ["Δ", "a", "e e"]])
queries = np.array([["b", "zz", "a"], ["", "c", "Δ"], ["e e", "unknown word", "d"]])
for mode in ["int", "one_hot", "multi_hot", "count", "tf_idf"]:
    for extra in [{}, {"num_oov_indices": 3}, {"mask_token": ""}, {"max_tokens": 4, "mask_token": ""}, {"max_tokens": 12, "pad_to_max_tokens": True}]:
        case("StringLookup", layers.StringLookup(output_mode=mode, **extra), queries, [words], vocabulary, output=mode, **extra)

texts = ["", "a", "ab", "abc", "abcd", "abcdefg", "abcdefgh", "ä" * 7, "x" * 16, "y" * 17, "z" * 31, "0" * 32, "1" * 33, "2" * 63, "3" * 64,
         "4" * 65, "5" * 127, "6" * 128, "7" * 129, "the quick brown fox jumps over the lazy dog " * 9]
for bins, extra in [(3, {}), (1000003, {}), (1000003, {"salt": [133, 137]}), (7, {"mask_value": "abc"}), (7, {"mask_value": "", "salt": [1, 2]})]:
    case("Hashing", layers.Hashing(bins, **extra), np.array(texts), bins=bins, **extra)
case("Hashing", layers.Hashing(1000), np.array([0, 1, -5, 123456789, 7]), bins=1000)

texts = np.array(["The cat sat, the cat ran!", "a dog; the dog's DOG", "", "  cat\t dog\n ran  ", "naïve Käse 東京 🙂 cat", "(one) two-three [four]"])
more = np.array(["the dog ran", "no such words here", "", "cat cat cat 🙂", "東京 a"])
plain_modes = [{}, {"max_tokens": 6}, {"output_sequence_length": 3}, {"output_sequence_length": 9}, {"standardize": "lower"},
               {"standardize": "strip_punctuation"}, {"standardize": None}, {"split": "character"}, {"split": None}, {"ngrams": 2},
               {"ngrams": (3,)}, {"split": "character", "ngrams": (2, 3), "max_tokens": 20}]
vectors = [{"output_mode": m, **e} for m in ["multi_hot", "count", "tf_idf"]
           for e in [{}, {"max_tokens": 5}, {"max_tokens": 40, "pad_to_max_tokens": True, "ngrams": 2}]]
for extra in plain_modes + vectors:
    layer = layers.TextVectorization(**extra)
    asked = more[:, None] if extra.get("split", "") is None else more
    case("TextVectorization", layer, asked, [texts], vocabulary, **extra)

path = pathlib.Path(__file__).with_name("preprocessing.json")
lines = ",\n".join(json.dumps(c, separators=(",", ":"), ensure_ascii=False) for c in cases)
path.write_text(f'{{"keras":"{keras.__version__}","cases":[\n{lines}\n]}}\n')
print(len(cases), "cases", path.stat().st_size, "bytes")
