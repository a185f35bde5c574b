"""From what was measured to Markdown."""

import statistics
from dataclasses import dataclass

from peers import PEERS
from targets import targets


@dataclass
class Column:
    title: str
    # The run that gives the metric; several where options change its arguments.
    run: str
    metric: str
    unit: str = "ms"
    # Whether more is better.
    rate: bool = False
    # Whether to compare with wgrad.
    compared: bool = True
    # Digits after the point, where the size of the number does not say.
    digits: int = -1

    def text(self, value):
        return number(value) if self.digits < 0 else f"{value:.{self.digits}f}"


def summary(runs):
    """Median, extremes and number of values, by peer and metric."""
    values = {}
    for run in runs:
        for metric, value in run["values"].items():
            values.setdefault(run["peer"], {}).setdefault(metric, []).append(value)
    return {
        peer: {
            metric: {"median": statistics.median(v), "min": min(v), "max": max(v), "runs": len(v)}
            for metric, v in metrics.items()
        }
        for peer, metrics in values.items()
    }


def number(value):
    """Three digits or so."""
    if value is None:
        return "-"
    size = abs(value)
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3g}"


class Report:
    def __init__(self, results):
        self.results = results
        self.summary = results["summary"]
        self.lines = []
        failures = [run for run in results["runs"] if run["status"] != "ok"]
        self.failures = {(run["run"], run["peer"]): run for run in failures}

    def value(self, peer, metric):
        """The median, or None."""
        found = self.summary.get(peer, {}).get(metric)
        return found["median"] if found else None

    def at_least(self, peer, run):
        """Where a run did not end: the seconds that it was given."""
        failure = self.failures.get((run, peer))
        return failure["limit"] if failure and failure["status"] == "timeout" else None

    def runs_named(self, start):
        """Names of runs that begin with these words."""
        names = (run["run"] for run in self.results["runs"])
        return list(dict.fromkeys(name for name in names if f"{name} ".startswith(f"{start} ")))

    def add(self, *lines):
        self.lines.extend(lines)

    def cell(self, peer, column):
        found = self.summary.get(peer, {}).get(column.metric)
        if not found:
            failure = next((self.failures[r, peer] for r in self.runs_named(column.run) if (r, peer) in self.failures), None)
            if not failure:
                return ""
            return f"more than {failure['limit']:.0f} s" if failure["status"] == "timeout" else "failed"
        text, least, most = (column.text(found[name]) for name in ("median", "min", "max"))
        if least != most:
            text += f" ({least} to {most})"
        base = PEERS[peer].base
        own = self.value(base, column.metric)
        if column.compared and peer != base and own and found["median"]:
            ratio = own / found["median"] if column.rate else found["median"] / own
            text += f", **{number(ratio)}x**"
        return text

    def table(self, title, columns, note="", split=True):
        """A table with a row for each peer that has anything to say; CPU and GPU apart."""
        columns = [c for c in columns if any(self.cell(peer, c) for peer in PEERS)]
        if not columns:
            return
        self.add("", f"## {title}", *(["", note] if note else []))
        kinds = [("CPU", False), ("GPU", True)] if split else [("", None)]
        for kind, on_gpu in kinds:
            peers = [p for p in PEERS.values() if on_gpu is None or p.on_gpu == on_gpu]
            rows = [(p.name, [self.cell(p.name, c) for c in columns]) for p in peers]
            rows = [(name, cells) for name, cells in rows if any(cells)]
            if not rows:
                continue
            titles = [f"{c.title} [{c.unit}]" if c.unit else c.title for c in columns]
            self.add("", f"| {kind} | {' | '.join(titles)} |", "|" + " --- |" * (len(columns) + 1))
            self.add(*(f"| {name} | {' | '.join(cells)} |" for name, cells in rows))

    def adapter(self):
        return self.results["devices"].get("wgrad_gpu", "unknown adapter")

    # ---- parts ----

    def head(self):
        about = self.results["machine"]
        devices = self.results["devices"]
        self.add("# wgrad and its peers, side by side", "")
        self.add(
            "Medians of the runs, least and most in brackets. **2.0x**: wgrad is twice as fast on the same device "
            "(needs half the memory), **0.5x**: half as fast. What is measured how: benches/peers/README.md."
        )
        self.add("", "| | |", "| --- | --- |")
        memory = f", {about['memory_gib']} GiB" if about.get("memory_gib") else ""
        wide = ", AVX-512" if about.get("avx512") else ""
        self.add(f"| machine | {about['cpu']}, {about['cores']} logical cores{wide}{memory} |")
        self.add(f"| system | {about['system']}; {about['rust']}; Python {about['python']} |")
        if "wgrad_gpu" in devices:
            self.add(f"| GPU adapter | {devices['wgrad_gpu']} |")
        if "torch_cuda" in devices:
            self.add(f"| CUDA device | {devices['torch_cuda']} |")
        for session in self.results["sessions"]:
            threads = session["threads"] or "all"
            cut = "" if session["complete"] else "; **cut off**"
            self.add(
                f"| measured | {session['started']} to {session.get('ended', '?')}, commit {session['commit'] or 'unknown'}, "
                f"{', '.join(session['metrics'])}; {session['rounds']} rounds, {threads} threads, "
                f"load {session['load']} before and {session.get('load_at_end')} after{cut} |"
            )
        versions = {}
        for peer, version in self.results["versions"].items():
            versions.setdefault(version, []).append(peer)
        listed = "; ".join(version + " (" + ", ".join(peers) + ")" for version, peers in versions.items())
        self.add(f"| versions | {listed} |")
        for peer, reason in self.results["left_out"].items():
            self.add(f"| left out | {peer}: {reason} |")

    def target_table(self):
        rows = targets(self)
        if not rows:
            return
        self.add("", "## Targets", "", "| what | target | measured | |", "| --- | --- | --- | --- |")
        self.add(*(f"| {what} | {goal} | {measured} | {verdict} |" for what, goal, measured, verdict in rows))

    def training(self):
        batches = [name.split()[1] for name in self.runs_named("train")]
        self.table(
            "Training step of the MNIST network",
            [Column(f"batch {b}", f"train {b}", f"train_b{b}_ms") for b in batches],
            "Blocks of up to 50 steps; the loss is read at the end of each block.",
        )
        self.table(
            "Training step with the loss read every time",
            [Column(f"batch {b}", f"train {b}", f"train_b{b}_lossread_ms") for b in batches],
        )
        self.table(
            "First training step of a process, caches of earlier runs",
            [Column(f"batch {b}", f"train {b}", f"train_b{b}_first_s", "s") for b in batches],
        )
        self.table(
            "An epoch of MNIST, batch 128, and the accuracy on the test set after it",
            [
                Column("own loop", "mnist", "mnist_b128_epoch1_s", "s"),
                Column("accuracy", "mnist", "mnist_b128_epoch1_accuracy", "", compared=False, digits=4),
                Column("library's loop", "fit", "fit_b128_epoch1_s", "s"),
                Column("accuracy", "fit", "fit_b128_epoch1_accuracy", "", compared=False, digits=4),
            ],
        )

    def starting(self):
        cold = [(name.split()[1]) for name in self.runs_named("cold")] or ["128"]
        self.table(
            "From the start of the process to the end of the first training step",
            [
                column
                for b in cold
                for column in (
                    Column("caches empty", f"cold {b}", f"cold_b{b}_s", "s"),
                    Column("caches warm", f"warm {b}", f"warm_b{b}_s", "s"),
                )
            ],
        )
        warm = [name for name in self.runs_named("warm-up")]
        columns = []
        for name in warm:
            runs = {run["peer"]: run for run in self.results["runs"] if run["run"] == name}
            columns.append((name.removeprefix("warm-up "), runs))
        peers = list(dict.fromkeys(peer for _, runs in columns for peer in runs))
        if peers:
            self.add("", "## Tuning before anything is measured", "", "Once for each shape, in seconds; kept on disk.")
            self.add("", f"| | {' | '.join(title for title, _ in columns)} |", "|" + " --- |" * (len(columns) + 1))
            for peer in peers:
                cells = []
                for _, runs in columns:
                    run = runs.get(peer)
                    more = "" if not run or run["status"] == "ok" else "more than " if run["status"] == "timeout" else "failed, "
                    cells.append(f"{more}{number(run['seconds'])}" if run else "")
                self.add(f"| {peer} | {' | '.join(cells)} |")

    def operations(self):
        sizes = [n for name in self.runs_named("matmul") for n in name.split()[1:]]
        sizes = sorted(set(sizes), key=int)
        self.table(
            "Matrix product, f32, n x n x n",
            [Column(n, "matmul", f"matmul_{n}_gflops", "GFLOP/s", rate=True) for n in sizes],
        )
        names = {"13x13": "64x13x13x32 valid", "56x56": "16x56x56x64 same"}
        ways = {"fwd": "forward", "fwdbwd": "and gradients"}
        self.table(
            "conv2d 3x3 to 64 channels with bias",
            [Column(f"{names[n]}, {ways[w]}", "conv", f"conv_{n}_{w}_ms") for n in names for w in ways],
        )
        self.table(
            "Inference",
            [
                Column("one image", "infer", "infer_1_ms"),
                Column("10,000 images in batches of 1,000", "infer", "infer_10000_ms"),
            ],
        )

    def memory(self):
        batches = [name.split()[1] for name in self.runs_named("train")]
        columns = [Column(f"train {b}", f"train {b}", f"train_b{b}_peak_rss_mb", "MiB") for b in batches]
        columns.append(Column("inference, batch 1,000", "infer", "infer_peak_rss_mb", "MiB"))
        self.table("Peak memory of the process (resident set)", columns)
        columns = [
            Column("data", "mnist", "mnist_b128_data_mb", "MiB", compared=False),
            Column("training", "mnist", "mnist_b128_training_peak_rss_mb", "MiB"),
            Column("and testing", "mnist", "mnist_b128_peak_rss_mb", "MiB"),
            Column("library's loop: data", "fit", "fit_b128_data_mb", "MiB", compared=False),
            Column("library's loop", "fit", "fit_b128_peak_rss_mb", "MiB"),
        ]
        note = "Tested in batches of 1,000; in the library's loop, of 128 (wgrad) and 1,000 (Keras)."
        self.table("Peak memory of an epoch of MNIST, batch 128", columns, note)
        steps = [name.split() for name in self.runs_named("flat")]
        columns = []
        for _, batch, last in steps:
            for step in ("100", last):
                metric = f"flat_b{batch}_step{step}"
                columns.append(Column(f"step {step}, resident", "flat", f"{metric}_rss_mb", "MiB", compared=False))
                columns.append(Column(f"step {step}, device", "flat", f"{metric}_device_mb", "MiB", compared=False))
        self.table("wgrad's memory over many steps, batch 32", columns, split=False)

    def counters(self):
        rows = {}
        for peer in ("wgrad_cpu", "wgrad_gpu"):
            for metric in self.summary.get(peer, {}):
                if metric.startswith("stats_b"):
                    head, name = metric.removeprefix("stats_").rsplit("_", 1)
                    if head.endswith("_plan"):
                        head, name = head.removesuffix("_plan"), "plan misses"
                    elif head.endswith("_host"):
                        head, name = head.removesuffix("_host"), "host time [us]"
                    batch = head.replace("_partial", ", last batch of ").removeprefix("b")
                    rows.setdefault((peer, batch), {})[name] = number(self.value(peer, metric))
        if not rows:
            return
        names = ["dispatches", "submits", "allocations", "plan misses", "host time [us]"]
        self.add("", "## wgrad: a training step after warm-up", "", "On the CPU, a dispatch is an operation.", "")
        self.add(f"| device, batch | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 1))
        for (peer, batch), values in rows.items():
            self.add(f"| {peer}, {batch} | {' | '.join(values.get(name, '') for name in names)} |")

    def builds(self):
        self.table(
            "Clean release build, downloads excluded",
            [
                Column("time", "build", "build_s", "s"),
                Column("crates", "build", "build_crates", ""),
                Column("program, stripped", "build", "build_binary_mb", "MiB"),
            ],
            "A ratio says how many times as much as wgrad's.",
        )

    def problems(self):
        failed = [run for run in self.failures.values() if run["status"] == "failed"]
        if failed:
            self.add("", "## What failed", "")
            self.add(*(f"- {run['peer']}, {run['run']}: `{run['error']}`" for run in failed))


def markdown(results):
    parts = Report(results)
    parts.head()
    parts.target_table()
    parts.training()
    parts.starting()
    parts.operations()
    parts.memory()
    parts.counters()
    parts.builds()
    parts.problems()
    return "\n".join(parts.lines) + "\n"
