"""What wgrad is to reach, and whether it does."""

CPU_PEERS = ("torch", "torch_cl", "torch_compile", "tf", "tf_xla", "burn_flex", "candle")
# What a process may grow by between two looks without being called growing, MiB.
NOISE_MB = 8


def verdict(met):
    return "met" if met else "**missed**"


def best(report, metric, highest=False):
    """The fastest CPU peer and its value; None where none was measured."""
    values = [(report.value(peer, metric), peer) for peer in CPU_PEERS]
    values = [pair for pair in values if pair[0] is not None]
    if not values:
        return None
    return max(values) if highest else min(values)


def named(name):
    return f" ({name})" if name else ""


def ratio_at_most(what, goal, own, other, most, name=""):
    """A row for own / other <= most, where both were measured."""
    if own is None or not other:
        return []
    ratio = own / other
    return [(what, goal, f"{own:.3g} against {other:.3g}{named(name)}: {ratio:.2f}", verdict(ratio <= most))]


def ratio_at_least(what, goal, own, other, least, name="", bound=False):
    if own is None or not other:
        return []
    ratio = own / other
    text = f"{own:.3g} against {other:.3g}{named(name)}: {'more than ' if bound else ''}{ratio:.2f}"
    if bound and ratio < least:
        return [(what, goal, text, "not decided")]
    return [(what, goal, text, verdict(ratio >= least))]


def value_at_most(what, goal, value, most):
    return [] if value is None else [(what, goal, f"{value:.4g}", verdict(value <= most))]


def cpu(report):
    rows = []
    for batch in (32, 128, 512):
        metric = f"train_b{batch}_ms"
        other = best(report, metric)
        if other:
            what = f"CPU training step, batch {batch} [ms]"
            rows += ratio_at_most(what, "ratio to the fastest peer <= 1.0", report.value("wgrad_cpu", metric), other[0], 1.0, other[1])
    for n in (1024, 2048):
        metric = f"matmul_{n}_gflops"
        other = best(report, metric, highest=True)
        if other:
            what = f"CPU matmul {n} [GFLOP/s]"
            rows += ratio_at_least(what, ">= 0.95 of the fastest peer", report.value("wgrad_cpu", metric), other[0], 0.95, other[1])
    other = best(report, "cold_b128_s")
    if other:
        own = report.value("wgrad_cpu", "cold_b128_s")
        rows += ratio_at_most("CPU start to first step, caches empty [s]", "no slower than the fastest peer", own, other[0], 1.0, other[1])
    for run, part, title in (
        ("fit", "", "library's loop"),
        ("mnist", "training_", "own loop, training alone"),
        ("mnist", "", "own loop, tested in batches of 1,000"),
    ):
        peak = report.value("wgrad_cpu", f"{run}_b128_{part}peak_rss_mb")
        data = report.value("wgrad_cpu", f"{run}_b128_data_mb")
        if peak is not None and data is not None:
            what = f"CPU peak of an MNIST epoch over its data, {title} [MiB]"
            rows += value_at_most(what, "<= 150", peak - data, 150)
    return rows


def burn_wgpu(report, metric, run):
    """Burn's value, and whether it is a lower bound: the time after which it was ended."""
    value = report.value("burn_wgpu", metric)
    if value is not None:
        return value, False
    limit = report.at_least("burn_wgpu", run)
    return (limit, True) if limit and metric.endswith("_s") else (None, False)


def software_gpu(report):
    """Targets on lavapipe: they say nothing of a real GPU."""
    rows = []
    own = report.value("wgrad_gpu", "train_b128_ms")
    other, _ = burn_wgpu(report, "train_b128_ms", "train 128")
    if own:
        rows += ratio_at_least("lavapipe training step, batch 128 [ms]: Burn wgpu against wgrad", ">= 10", other, own, 10)
    goal = "<= 3.5 times wgrad's CPU time"
    rows += ratio_at_most("lavapipe training step, batch 128 [ms]", goal, own, report.value("wgrad_cpu", "train_b128_ms"), 3.5)
    flops = report.value("wgrad_gpu", "matmul_1024_gflops")
    if flops is not None:
        rows.append(("lavapipe matmul 1024 [GFLOP/s]", ">= 30", f"{flops:.1f}", verdict(flops >= 30)))
    own = report.value("wgrad_gpu", "cold_b128_s")
    rows += value_at_most("lavapipe start to first step, caches empty [s]", "<= 5", own, 5)
    other, bound = burn_wgpu(report, "cold_b128_s", "cold 128")
    if own:
        what = "lavapipe start to first step, caches empty [s]: Burn wgpu against wgrad"
        rows += ratio_at_least(what, ">= 10", other, own, 10, bound=bound)
    rows += value_at_most("lavapipe start to first step, caches warm [s]", "<= 1.5", report.value("wgrad_gpu", "warm_b128_s"), 1.5)
    return rows


def cuda(report):
    rows = []
    for n in (2048, 4096, 8192):
        metric = f"matmul_{n}_gflops"
        own, other = report.value("wgrad_gpu", metric), report.value("torch_cuda", metric)
        rows += ratio_at_least(f"GPU matmul {n} [GFLOP/s]", ">= 0.6 of cuBLAS", own, other, 0.6, "torch_cuda")
    metric = "train_b128_ms"
    own, other = report.value("wgrad_gpu", metric), report.value("torch_cuda", metric)
    rows += ratio_at_most("GPU training step, batch 128 [ms]", "faster than PyTorch CUDA", own, other, 1.0, "torch_cuda")
    for name in ("13x13", "56x56"):
        for way in ("fwd", "fwdbwd"):
            metric = f"conv_{name}_{way}_ms"
            own, other = report.value("wgrad_gpu", metric), report.value("torch_cuda", metric)
            rows += ratio_at_most(f"GPU conv {name}, {way} [ms]", "<= 2 times cuDNN's time", own, other, 2.0, "torch_cuda")
    return rows


def steps(report):
    rows = value_at_most("GPU host time per step, batch 1 [us]", "<= 250", report.value("wgrad_gpu", "stats_b1_host_us"), 250)
    goals = {"dispatches": 30, "submits": 1, "allocations": 0, "plan_misses": 0}
    for part, title in (("b128", "a step"), ("b128_partial96", "a last, partial batch")):
        for name, most in goals.items():
            value = report.value("wgrad_gpu", f"stats_{part}_{name}")
            rows += value_at_most(f"GPU {name.replace('_', ' ')} of {title}", f"<= {most}", value, most)
    for peer in ("wgrad_cpu", "wgrad_gpu"):
        for run in report.runs_named("flat"):
            _, batch, last = run.split()
            first, final = (report.value(peer, f"flat_b{batch}_step{step}_rss_mb") for step in ("100", last))
            if first is not None and final is not None:
                what = f"{peer}: memory from step 100 to {last} [MiB]"
                rows += value_at_most(what, f"flat (growth <= {NOISE_MB})", final - first, NOISE_MB)
    return rows


def build(report):
    rows = value_at_most("clean release build [s]", "< 180", report.value("wgrad_cpu", "build_s"), 180)
    return rows + value_at_most("crates", "< 100", report.value("wgrad_cpu", "build_crates"), 99)


def targets(report):
    """Rows of what, target, measured, verdict."""
    rows = cpu(report)
    if "software" in report.adapter():
        rows += software_gpu(report)
    return rows + cuda(report) + steps(report) + build(report)
