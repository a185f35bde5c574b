"""What a new shape costs in PyTorch on the CPU: the programs of `benches/shapes.rs`, eager, in the same order.

    THREADS=2 python3 benches/peers/py/torch_shapes.py

PyTorch compiles nothing for a shape, so what is compared are steps and tokens.
"""

import math
import os
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
torch.manual_seed(0)

BATCH, INPUT, HIDDEN = 16, 8, 32


def milliseconds(f):
    start = time.perf_counter()
    f()
    return (time.perf_counter() - start) * 1e3


def lstm():
    def variable(*shape):
        return (torch.rand(shape) * 2 - 1).mul(0.2).requires_grad_()

    w, u, bias = variable(INPUT, 4 * HIDDEN), variable(HIDDEN, 4 * HIDDEN), variable(4 * HIDDEN)
    head = variable(HIDDEN, 1)
    adam = torch.optim.Adam([w, u, bias, head], lr=1e-3, fused=True)

    def step(x, y):
        h = c = torch.zeros(BATCH, HIDDEN)
        inputs = x @ w
        outputs = []
        for t in range(x.shape[1]):
            i, f, g, o = (inputs[:, t] + h @ u + bias).split(HIDDEN, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        adam.zero_grad(set_to_none=True)
        F.mse_loss(torch.stack(outputs, 1) @ head, y).backward()
        adam.step()

    for length in [50, 51, 52, 60]:
        x, y = torch.rand(BATCH, length, INPUT), torch.rand(BATCH, length, 1)
        times = [milliseconds(lambda: step(x, y)) for _ in range(4)]
        print(f"torch lstm, T = {length}: " + ", ".join(f"{t:.1f}" for t in times) + " ms")


def cnn():
    convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)]
    network = nn.Sequential(*convolutions, *head)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7, fused=True)

    def step(batch):
        x, y = torch.rand(batch, 1, 28, 28), torch.randint(0, 10, (batch,))

        def run():
            adam.zero_grad(set_to_none=True)
            F.cross_entropy(network(x), y).backward()
            adam.step()

        return milliseconds(run)

    for batch in [128, 128, 128, 96, 96]:
        print(f"torch cnn, batch {batch}: {step(batch):.1f} ms")
    extra = []
    for batch in range(1, 129):
        first = step(batch)
        extra.append(first - min(step(batch), step(batch)))
    print(f"torch cnn, every batch from 1 to 128: {statistics.median(extra):.2f} ms more for the first step, {max(extra):.1f} at most")


WIDTH, HEADS, VOCABULARY, CAPACITY = 64, 4, 256, 256


@torch.no_grad()
def generate():
    def weights(a, b):
        return (torch.rand(a, b) * 2 - 1) * math.sqrt(3 / a)

    embedding, positions = weights(VOCABULARY, WIDTH), weights(CAPACITY, WIDTH)
    shapes = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]
    blocks = [[weights(*s) for s in shapes] for _ in range(2)]
    caches = [torch.zeros(2, CAPACITY, HEADS, WIDTH // HEADS) for _ in blocks]
    length = 0

    def following(tokens):
        nonlocal length
        n, size = len(tokens), WIDTH // HEADS
        end = length + n
        x = embedding[torch.tensor(tokens)] + positions[length:end]
        mask = torch.arange(end)[None] <= torch.arange(length, end)[:, None]
        for (qkv, out, up, down), cache in zip(blocks, caches):
            q, k, v = (F.layer_norm(x, (WIDTH,)) @ qkv).view(n, 3, HEADS, size).unbind(1)
            cache[0, length:end], cache[1, length:end] = k, v
            keys, values = cache[0, :end].permute(1, 2, 0), cache[1, :end].permute(1, 0, 2)
            scores = q.permute(1, 0, 2) @ keys / math.sqrt(size)
            mixed = scores.masked_fill(~mask, -1e30).softmax(-1) @ values
            x = x + mixed.permute(1, 0, 2).reshape(n, WIDTH) @ out
            x = x + F.gelu(F.layer_norm(x, (WIDTH,)) @ up, approximate="tanh") @ down
        length = end
        return int((F.layer_norm(x[-1:], (WIDTH,)) @ embedding.T).argmax())

    tokens, times = [17, 4, 99, 200, 31, 8, 150, 77], []
    for _ in range(200):
        start = time.perf_counter()
        tokens = [following(tokens)]
        times.append((time.perf_counter() - start) * 1e3)
    print(f"torch generate, tokens 4 to 200: {statistics.median(times[3:]):.2f} ms each (median)")


if __name__ == "__main__":
    print("torch", torch.__version__)
    lstm()
    cnn()
    generate()
