#!/usr/bin/env python3
"""examples/char_lm.rs in PyTorch: the same model, first weights, batches and optimizer.

    cargo run --release --features app --example char_lm -- --device cpu --peer /tmp/char_lm --generate 0
    python benches/peers/py/char_lm.py /tmp/char_lm [WINDOWS [EPOCHS]]

Prints the loss per character of each epoch, that of validation, and the time, as the example does.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

CONTEXT, WIDTH, HEADS, LAYERS, BATCH, RATE = 64, 128, 4, 3, 32, 1e-3


class Block(nn.Module):
    """A block of GPT-2. PyTorch's own TransformerEncoderLayer is slower in training: it has no is_causal fast path there."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (part.view(b, t, HEADS, WIDTH // HEADS).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(WIDTH, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, WIDTH)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def load(self, w):
        """The example's weights: its matrices stand the other way round."""
        with torch.no_grad():
            self.embedding.weight.copy_(w["embedding.weight"])
            self.positions.copy_(w["positionembedding.weight"])
            for i, block in enumerate(self.blocks):
                p = "transformerdecoder" + (f"_{i}" if i else "")
                parts = [w[f"{p}.attention.{name}.weight"].T for name in ("query", "key", "value")]
                block.qkv.weight.copy_(torch.cat(parts))
                block.qkv.bias.copy_(torch.cat([w[f"{p}.attention.{name}.bias"] for name in ("query", "key", "value")]))
                for linear, name in [(block.out, "attention.out"), (block.up, "feedforward.intermediate"), (block.down, "feedforward.output")]:
                    linear.weight.copy_(w[f"{p}.{name}.weight"].T)
                    linear.bias.copy_(w[f"{p}.{name}.bias"])
                for norm, name in [(block.norm1, "attention_norm"), (block.norm2, "feedforward_norm")]:
                    norm.weight.copy_(w[f"{p}.{name}.gamma"])
                    norm.bias.copy_(w[f"{p}.{name}.beta"])
            self.norm.weight.copy_(w["layernorm.gamma"])
            self.norm.bias.copy_(w["layernorm.beta"])
            self.head.weight.copy_(w["dense.weight"].T)
            self.head.bias.copy_(w["dense.bias"])


def load_file(path):
    """A safetensors file: the length of a JSON header, the header, the numbers."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    entries = {k: v for k, v in json.loads(data[8:end]).items() if k != "__metadata__"}
    at = lambda e: np.frombuffer(data[end + e["data_offsets"][0]:end + e["data_offsets"][1]], dtype=np.float32)
    return {k: torch.tensor(at(e).reshape(e["shape"]).copy()) for k, e in entries.items()}


def windows(numbers, count):
    starts = np.arange(count) * 7919 % (len(numbers) - CONTEXT)
    rows = starts[:, None] + np.arange(CONTEXT)
    return torch.tensor(numbers[rows]), torch.tensor(numbers[rows + 1])


def main():
    torch.set_num_threads(2)
    folder = Path(sys.argv[1])
    count, epochs = (int(a) for a in (sys.argv[2:] + ["4800", "4"][len(sys.argv) - 2:]))
    numbers = np.load(folder / "numbers.npy").astype(np.int64)
    cut = len(numbers) * 9 // 10
    train, validation = windows(numbers[:cut], count), windows(numbers[cut:], -(-count // 20))
    model = Gpt(int(numbers.max()) + 1)
    model.load(load_file(folder / "first.safetensors"))
    # The example's epsilon is Keras's.
    adam = torch.optim.Adam(model.parameters(), lr=RATE, eps=1e-7)
    loss_of = lambda x, y: F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    start = time.perf_counter()
    for epoch in range(epochs):
        total = 0.0
        for at in range(0, count, BATCH):
            x, y = (part[at:at + BATCH] for part in train)
            adam.zero_grad(set_to_none=True)
            loss = loss_of(x, y)
            loss.backward()
            adam.step()
            total += loss.item() * len(x)
        with torch.no_grad():
            sums = [loss_of(validation[0][at:at + BATCH], validation[1][at:at + BATCH]).item() * len(validation[0][at:at + BATCH])
                    for at in range(0, len(validation[0]), BATCH)]
        print(f"epoch {epoch + 1}  loss {total / count:.4f}  val_loss {sum(sums) / len(validation[0]):.4f}  "
              f"{time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
