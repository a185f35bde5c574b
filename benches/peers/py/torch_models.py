#!/usr/bin/env python3
"""benches/models.rs in PyTorch, on the CPU with two threads: the same sections, sizes and lines.

    python benches/peers/py/torch_models.py SECTION [DEVICE [STEPS]]     (the device is left out of account)
"""

import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(2)
torch.manual_seed(0)


def measure(name, steps, step):
    times = []
    for i in range(steps + 2):
        start = time.perf_counter()
        step()
        if i >= 2:
            times.append(1e3 * (time.perf_counter() - start))
    print(f"{name} {statistics.median(times):.2f}", flush=True)


def train(name, steps, model, x, labels):
    adam = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def step():
        logits = model(x)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
        adam.zero_grad()
        loss.backward()
        adam.step()

    measure(name, steps, step)


class Block(nn.Module):
    """A block of GPT-2."""

    def __init__(self, width, hidden, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        b, t, w = x.shape
        q, k, v = (p.view(b, t, self.heads, w // self.heads).transpose(1, 2) for p in self.qkv(self.norm1(x)).split(w, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, w)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(100, 256), nn.Parameter(torch.zeros(256, 256))
        self.blocks = nn.Sequential(*(Block(256, 1024, 8) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(256), nn.Linear(256, 100)

    def forward(self, tokens):
        return self.head(self.norm(self.blocks(self.embedding(tokens) + self.positions)))


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(64, 256, batch_first=True), nn.Linear(256, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Residual(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        def conv(a, b, size, stride):
            return nn.Sequential(nn.Conv2d(a, b, size, stride, size // 2, bias=False), nn.BatchNorm2d(b))

        self.first, self.second = conv(channels, filters, 3, stride), conv(filters, filters, 3, 1)
        self.short = nn.Identity() if channels == filters else conv(channels, filters, 1, stride)

    def forward(self, x):
        return F.relu(self.short(x) + self.second(F.relu(self.first(x))))


def resnet18():
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    channels = 64
    for filters in (64, 128, 256, 512):
        for block in range(2):
            layers.append(Residual(channels, filters, 2 if block == 0 and filters > 64 else 1))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def attention(steps):
    for b, h, t, w in [(8, 8, 16, 32), (8, 8, 64, 32), (8, 8, 256, 32), (8, 4, 256, 64), (1, 4, 2048, 64), (1, 1, 8192, 128)]:
        for causal in (False, True):
            q, k, v = (torch.rand(b, t, h, w).transpose(1, 2).requires_grad_() for _ in range(3))
            up = torch.rand(b, h, t, w)
            name = f"attention {b}x{h}x{t}x{w}{' causal' if causal else ''}"
            with torch.no_grad():
                measure(f"{name} forward", steps, lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal))
            measure(f"{name} with gradients", steps,
                    lambda: torch.autograd.grad(F.scaled_dot_product_attention(q, k, v, is_causal=causal), (q, k, v), up))


section, steps = sys.argv[1], int(sys.argv[3]) if len(sys.argv) > 3 else 10
if section == "transformer":
    train(section, steps, Gpt(), torch.randint(100, (8, 256)), torch.randint(100, (8, 256)))
elif section == "lstm":
    train(section, steps, Last(), torch.rand(32, 100, 64), torch.randint(10, (32,)))
elif section == "conv1d":
    convs = [layer for i in range(4) for layer in (nn.Conv1d(64 if i else 1, 64, 9, padding=4), nn.ReLU())]
    train(section, steps, nn.Sequential(*convs, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10)), torch.rand(2, 1, 16_000),
          torch.randint(10, (2,)))
elif section == "resnet18":
    model = resnet18().to(memory_format=torch.channels_last)
    train(section, steps, model, torch.rand(8, 3, 32, 32).to(memory_format=torch.channels_last), torch.randint(10, (8,)))
elif section == "attention":
    attention(steps)
