"""What the peers written in Python share: command line, data, timing and output. harness/src/lib.rs is the same for Rust.

A peer is a class with these members, given to `main`:

    name, device()
    trainer() -> an object with
        step(images, labels) -> loss    queues one training step on arrays in host memory
        read(loss) -> float             waits for it
        classifier() -> function        from images to an array of classes
    matmul(a, b, times) -> work         a @ (a @ .. (a @ b)), `times` products
    conv(case, backward) -> work        convolution and bias, and with `backward` the gradients of sum(output * a random
                                        tensor) with respect to image, kernel and bias

`work(read)` computes all of it and waits; with `read` it gives the first row of the result. Images are [n, 28, 28] float32.
"""

import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

INFER_BATCH = 1000


@dataclass
class Conv:
    """A square image convolved with a 3x3 kernel."""

    name: str
    batch: int
    size: int
    inputs: int
    outputs: int
    padding: int

    def output_size(self):
        return self.size + 2 * self.padding - 2


CONVS = [Conv("13x13", 64, 13, 32, 64, 0), Conv("56x56", 16, 56, 64, 64, 1)]

MAX_S = float(os.environ.get("MAX_S", "10"))
THREADS = int(os.environ.get("THREADS", "2"))


def variant(default):
    return os.environ.get("VARIANT", default)


class Output:
    def __init__(self, peer):
        self.peer = peer

    def value(self, metric, value):
        print(f"{self.peer},{metric},{value:.6f}", flush=True)

    def peak_memory(self, mode):
        """The most memory the process has had, where the system tells (Linux)."""
        try:
            status = Path("/proc/self/status").read_text()
        except OSError:
            return
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self.value(f"{mode}_peak_rss_mb", int(line.split()[1]) / 1024)


def random_images(count):
    generator = np.random.default_rng(0)
    return generator.random((count, 28, 28), dtype=np.float32), generator.integers(0, 10, count)


def uniform(shape, limit, seed):
    generator = np.random.default_rng(seed)
    return (generator.random(shape, dtype=np.float32) * 2 - 1) * np.float32(limit)


def batch_at(images, labels, step, size):
    start = (step * size) % (len(images) - size + 1)
    return images[start : start + size], labels[start : start + size]


def sample(least, most, max_s, work):
    """Times `work` until there are `most` samples or the time is up, but at least `least` times. Seconds, the median."""
    start = time.perf_counter()
    samples = []
    while len(samples) < most and (len(samples) < least or time.perf_counter() - start < max_s):
        began = time.perf_counter()
        work(len(samples))
        samples.append(time.perf_counter() - began)
    return statistics.median(samples)


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def checked(loss):
    if not np.isfinite(loss):
        sys.exit(f"error: the loss is {loss}")


def cold(library, batch, out):
    """From the start of the process, which the variable T0_NS gives, to the end of the first step."""
    start = int(os.environ["T0_NS"])
    images, labels = random_images(batch)
    trainer = library.trainer()
    checked(trainer.read(trainer.step(images, labels)))
    out.value(f"cold_b{batch}_s", (time.time_ns() - start) / 1e9)
    out.peak_memory(f"cold_b{batch}")


def train(library, batch, out):
    images, labels = random_images(8192)
    trainer = library.trainer()

    def step_and_read(i):
        checked(trainer.read(trainer.step(*batch_at(images, labels, i, batch))))

    # Compiling and tuning; then how long a step takes, to know how many make a block.
    out.value(f"train_b{batch}_first_s", seconds_of(lambda: step_and_read(0)))
    step_s = sample(2, 10, MAX_S, lambda i: step_and_read(i + 1))
    block = min(max(int(MAX_S / 2 / step_s), 2), 50)

    def steps(_):
        for i in range(block):
            loss = trainer.step(*batch_at(images, labels, i, batch))
        checked(trainer.read(loss))

    out.value(f"train_b{batch}_ms", sample(1, 8, MAX_S, steps) / block * 1e3)
    out.value(f"train_b{batch}_lossread_ms", sample(3, 100, MAX_S / 2, step_and_read) * 1e3)
    out.peak_memory(f"train_b{batch}")


def infer(library, out):
    images, labels = random_images(10 * INFER_BATCH)
    classify = library.trainer().classifier()

    def all_of(size, count):
        for i in range(count):
            classes = classify(batch_at(images, labels, i, size)[0])
            if len(classes) != size or not (0 <= classes.min() and classes.max() < 10):
                sys.exit(f"error: {size} images gave these classes: {classes}")

    out.value("infer_1_first_s", seconds_of(lambda: all_of(1, 1)))
    sample(2, 20, MAX_S / 4, lambda _: all_of(1, 1))
    out.value("infer_1_ms", sample(3, 500, MAX_S / 2, lambda _: all_of(1, 1)) * 1e3)
    all_of(INFER_BATCH, 2)
    out.value("infer_10000_ms", sample(1, 10, MAX_S, lambda _: all_of(INFER_BATCH, 10)) * 1e3)
    out.peak_memory("infer")


def chain_length(n):
    """Products in a chain, so that one call of a small product does not measure the call."""
    return min(max(8 * 1024 // n, 1), 32)


def matmul(library, n, out):
    times = chain_length(n)
    # Limits that keep the size of the elements along the chain.
    a, b = uniform((n, n), (3 / n) ** 0.5, 2), uniform((n, n), 1, 3)
    work = library.matmul(a, b, times)
    out.value(f"matmul_{n}_first_s", seconds_of(lambda: work(False)))
    row, expected = work(True), a[0].astype(np.float64)
    for factor in [a] * (times - 1) + [b]:
        expected = expected @ factor
    if not np.abs(row - expected).max() <= 1e-4 * np.abs(expected).max():
        sys.exit(f"error: the product is wrong: off by {np.abs(row - expected).max()}")
    chain_s = sample(3, 12, MAX_S, lambda _: work(False))
    out.value(f"matmul_{n}_gflops", 2 * n**3 * times / chain_s / 1e9)


def conv(library, out):
    for case in CONVS:
        for name, backward in (("fwd", False), ("fwdbwd", True)):
            work = library.conv(case, backward)
            metric = f"conv_{case.name}_{name}"
            out.value(f"{metric}_first_s", seconds_of(lambda: work(False)))
            sample(2, 3, MAX_S / 4, lambda _: work(False))
            out.value(f"{metric}_ms", sample(3, 50, MAX_S / 2, lambda _: work(False)) * 1e3)
    out.peak_memory("conv")


def read_mnist():
    """Images as float32 in 0 to 1, labels; training, test."""
    folder = Path(os.environ["MNIST_DIR"])

    def idx(name, header):
        return np.frombuffer((folder / name).read_bytes(), np.uint8, offset=header)

    def part(name):
        images = idx(f"{name}-images-idx3-ubyte", 16).reshape(-1, 28, 28)
        return images.astype(np.float32) / np.float32(255), idx(f"{name}-labels-idx1-ubyte", 8).astype(np.int64)

    return part("train"), part("t10k")


def mnist(library, batch, epochs, out):
    """Epochs of the real MNIST, pixels as f32 in host memory; the last, smaller batch is left out."""
    (images, labels), (test, answers) = read_mnist()
    data = sum(array.nbytes for array in (images, labels, test, answers))
    out.value(f"mnist_b{batch}_data_mb", data / (1 << 20))
    trainer = library.trainer()
    generator = np.random.default_rng(7)
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        order = generator.permutation(len(images))
        for i in range(0, len(images) - batch + 1, batch):
            chosen = order[i : i + batch]
            loss = trainer.step(images[chosen], labels[chosen])
        checked(trainer.read(loss))
        out.value(f"mnist_b{batch}_epoch{epoch}_s", time.perf_counter() - start)
        if epoch == 1:
            out.peak_memory(f"mnist_b{batch}_training")
        classify = trainer.classifier()
        right = 0
        for i in range(0, len(test), INFER_BATCH):
            right += int((classify(test[i : i + INFER_BATCH]) == answers[i : i + INFER_BATCH]).sum())
        out.value(f"mnist_b{batch}_epoch{epoch}_accuracy", right / len(test))
    out.peak_memory(f"mnist_b{batch}")


def main(library):
    if len(sys.argv) < 2:
        sys.exit("usage: PEER info | cold BATCH | train BATCH | infer | matmul N.. | conv | mnist BATCH EPOCHS (see README.md)")
    mode, numbers = sys.argv[1], [int(word) for word in sys.argv[2:]]
    out = Output(variant(library.name))
    if mode == "info":
        print(library.device())
    elif mode == "cold":
        cold(library, numbers[0], out)
    elif mode == "train":
        train(library, numbers[0], out)
    elif mode == "infer":
        infer(library, out)
    elif mode == "matmul":
        for n in numbers:
            matmul(library, n, out)
        out.peak_memory("matmul")
    elif mode == "conv":
        conv(library, out)
    elif mode == "mnist":
        mnist(library, numbers[0], numbers[1], out)
    elif hasattr(library, mode):
        getattr(library, mode)(*numbers, out)
    else:
        sys.exit(f"error: there is no mode {mode}")
