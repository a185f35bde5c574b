"""Measures wgrad and its peers side by side and writes results.md and results.json. Called by run.sh; see README.md."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import machine
import report
from peers import PEERS, REPOSITORY, Workplace, run_group

DEFAULT_CACHE = REPOSITORY / "target" / "peers"


@dataclass(frozen=True)
class Run:
    """One call of a peer's program."""

    group: str
    arguments: tuple
    # Seconds after which it is ended.
    limit: float
    # Where the program keeps what it has compiled and tuned: in empty folders, or in those of earlier runs.
    fresh: bool = False

    @property
    def name(self):
        words = " ".join(self.arguments)
        return words.replace("cold", "warm", 1) if self.group == "cold" and not self.fresh else words

    def is_for(self, peer):
        """Some modes exist in some peers only."""
        mode = self.arguments[0]
        return mode not in ("stats", "flat", "fit") or mode in peer.extra


GROUPS = ("train", "cold", "matmul", "conv", "infer", "stats", "mnist", "fit", "flat", "build")


def runs_of(options):
    """What is to be measured, in order."""
    quick = options.quick
    sizes = [str(n) for n in options.sizes]
    all_runs = [
        *(Run("train", ("train", str(b)), 600) for b in options.batches),
        Run("cold", ("cold", "128"), 600, fresh=True),
        Run("cold", ("cold", "128"), 600),
        Run("matmul", ("matmul", *sizes), 600),
        Run("conv", ("conv",), 600),
        Run("infer", ("infer",), 600),
        *(Run("stats", ("stats", b), 600) for b in ("1", "128")),
        Run("mnist", ("mnist", "128", "1"), 1800),
        Run("fit", ("fit", "128", "1"), 1800),
        Run("flat", ("flat", "32", "1000" if quick else "10000"), 3600),
    ]
    return [run for run in all_runs if run.group in options.metrics]


class Bench:
    def __init__(self, options):
        self.options = options
        self.workplace = Workplace(options.cache, options.threads, options.max_s)
        self.results = {"sessions": [], "machine": machine.describe(), "devices": {}, "versions": {}, "left_out": {}, "runs": []}
        self.out = options.out
        if options.append:
            self.results.update(json.loads((self.out / "results.json").read_text()))
        self.replaced = set()
        self.peers = []

    # ---- what is there ----

    def prepare(self):
        """Builds and looks which peers there are."""
        wanted = [PEERS[name] for name in self.options.peers]
        built = {}
        for peer in wanted:
            key = peer.program or peer.project
            if key not in built:
                built[key] = "" if self.options.skip_build else self.workplace.build(peer, self.options.build_limit)
            reason = built[key]
            if not reason and not self.workplace.is_built(peer):
                reason = "not built (--skip-build)" if self.options.skip_build else "not built"
            if not reason:
                reason = self.try_out(peer)
            if reason:
                self.leave_out(peer, reason)
                continue
            self.results["left_out"].pop(peer.name, None)
            self.results["versions"][peer.name] = self.workplace.version(peer)
            self.peers.append(peer)
        if {"mnist", "fit"} & set(self.options.metrics):
            reason = self.workplace.unpack_mnist()
            if reason:
                print(f"left out: mnist and fit: {reason}", flush=True)
                self.results["left_out"]["mnist, fit"] = reason
                self.options.metrics = [g for g in self.options.metrics if g not in ("mnist", "fit")]

    def leave_out(self, peer, reason):
        print(f"left out: {peer.name}: {reason}", flush=True)
        self.results["left_out"][peer.name] = reason

    def try_out(self, peer):
        """Whether the peer starts and finds its device. Gives why not, or nothing."""
        status, out, error, _ = self.call(peer, ("info",), self.workplace.state(peer), 120)
        if status == "ok":
            self.results["devices"][peer.name] = out.strip()
            return ""
        return "did not start within 120 s" if status == "timeout" else error

    def call(self, peer, arguments, state, limit, max_s=None):
        """Gives "ok", "failed" or "timeout", what was printed, the error in one line, seconds."""
        environment = self.workplace.environment(peer, state, max_s)
        command = self.workplace.command(peer) + list(arguments)
        started = time.monotonic()
        environment["T0_NS"] = str(time.time_ns())
        try:
            code, (out, err) = run_group(
                command,
                limit,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
                cwd=state,
            )
        except OSError as error:
            return "failed", "", str(error), 0.0
        seconds = time.monotonic() - started
        if code is None:
            return "timeout", out, f"took more than {limit:.0f} s", seconds
        return ("failed" if code else "ok"), out, error_line(err, code) if code else "", seconds

    # ---- measuring ----

    def measure(self):
        session = {
            "started": now(),
            "commit": machine.commit(REPOSITORY),
            "load": machine.load(),
            "peers": [peer.name for peer in self.peers],
            "metrics": list(self.options.metrics),
            "rounds": self.options.rounds,
            "threads": self.options.threads,
            "max_s": self.options.max_s,
            "complete": False,
        }
        self.results["sessions"].append(session)
        if session["load"] is not None and session["load"] > 0.5:
            print(f"note: the machine is busy (load {session['load']}): figures will be noisy", flush=True)
        cpus = machine.distinct_cores(self.options.threads)
        if cpus is not None:
            # Inherited by all that is started from now on.
            os.sched_setaffinity(0, cpus)
        try:
            if "build" in self.options.metrics:
                self.measure_builds()
            for run in runs_of(self.options):
                self.measure_run(run)
            session["complete"] = True
        finally:
            session["ended"] = now()
            session["load_at_end"] = machine.load()
            self.write()

    def measure_builds(self):
        seen = {}
        for peer in self.peers:
            if not peer.project:
                continue
            if peer.project not in seen:
                print(f"clean build of {peer.project}", flush=True)
                seen[peer.project] = self.workplace.build_figures(peer, self.options.build_limit)
            values, reason = seen[peer.project]
            record = {"run": "build", "peer": peer.name, "round": 1, "limit": self.options.build_limit}
            status = "timeout" if "took more than" in reason else "failed" if reason else "ok"
            self.record({**record, "status": status, "error": reason, "values": values, "seconds": values.get("build_s")})

    def measure_run(self, run):
        """All peers in turn, and again: A B A B."""
        peers = [peer for peer in self.peers if run.is_for(peer)]
        ready = []
        for peer in peers:
            if peer.tunes and not run.fresh and not self.warm_up(peer, run):
                continue
            ready.append(peer)
        for number in range(1, self.options.rounds + 1):
            for peer in list(ready):
                seconds, status = self.measure_once(peer, run, number)
                # What takes minutes is measured once, and what does not end or fails would do so again.
                if status != "ok" or seconds > self.options.once_over:
                    ready.remove(peer)

    def warm_up(self, peer, run):
        """Lets a peer tune its kernels, untimed, once for each kind of run. False where that does not end."""
        marker = self.workplace.state(peer) / f"warm-up {run.name}.json"
        done = json.loads(marker.read_text()) if marker.exists() else {"status": "", "seconds": 0.0}
        left = self.options.warm_limit - done["seconds"]
        if done["status"] != "ok" and left > 0:
            print(f"warm-up of {peer.name} for {run.name} (at most {left:.0f} s)", flush=True)
            # An epoch's kernels are those of its first steps.
            arguments = ("train", *run.arguments[1:2]) if run.arguments[0] in ("mnist", "fit") else run.arguments
            status, _, error, seconds = self.call(peer, arguments, self.workplace.state(peer), left, max_s=0.1)
            done = {"status": status, "seconds": done["seconds"] + seconds, "error": error}
            if status != "failed":
                marker.write_text(json.dumps(done))
        limit = self.options.warm_limit
        record = {"run": f"warm-up {run.name}", "peer": peer.name, "round": 1, "limit": limit, "values": {}, **done}
        self.record(record)
        if done["status"] == "ok":
            return True
        self.record({**record, "run": run.name, "status": done["status"] or "timeout"})
        return False

    def measure_once(self, peer, run, number):
        limit = self.options.limit or run.limit
        print(f"{run.name}, round {number}, {peer.name}: ", end="", flush=True)
        if run.fresh:
            state = Path(tempfile.mkdtemp(prefix="fresh-", dir=self.workplace.folder))
        else:
            state = self.workplace.state(peer)
        try:
            if run.group == "cold" and not run.fresh and number == 1:
                # The caches of a user who has run the program before.
                self.call(peer, run.arguments, state, limit)
            status, out, error, seconds = self.call(peer, run.arguments, state, limit)
        finally:
            if run.fresh:
                shutil.rmtree(state, ignore_errors=True)
        values = values_of(out, peer.name)
        if run.group == "cold" and not run.fresh:
            values = {name.replace("cold", "warm", 1): value for name, value in values.items()}
        print(error or " ".join(f"{name}={value:g}" for name, value in values.items()), flush=True)
        record = {"run": run.name, "peer": peer.name, "round": number, "limit": limit}
        self.record({**record, "status": status, "error": error, "seconds": seconds, "values": values})
        return seconds, status

    # ---- results ----

    def record(self, entry):
        """Adds a run; what an earlier session measured of the kind goes."""
        key = (entry["run"], entry["peer"])
        if key not in self.replaced:
            self.replaced.add(key)
            self.results["runs"] = [r for r in self.results["runs"] if (r["run"], r["peer"]) != key]
        self.results["runs"].append(entry)
        self.write()

    def write(self):
        self.out.mkdir(parents=True, exist_ok=True)
        self.results["summary"] = report.summary(self.results["runs"])
        write_whole(self.out / "results.json", json.dumps(self.results, indent=1) + "\n")
        write_whole(self.out / "results.md", report.markdown(self.results))


def write_whole(path, text):
    """Readers find the old file or the new one, never a part."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def values_of(text, peer):
    values = {}
    for line in text.splitlines():
        words = line.split(",")
        if len(words) == 3 and words[0] == peer:
            try:
                values[words[1]] = float(words[2])
            except ValueError:
                continue
    return values


def error_line(stderr, code):
    """What a failed program says last, in one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("note:")]
    telling = [i for i, line in enumerate(lines) if line.startswith("error") or "panicked at" in line]
    if telling:
        return " ".join(lines[telling[-1] : telling[-1] + 2])[:300]
    if code < 0:
        return f"ended by signal {signal.Signals(-code).name}"
    return (lines[-1] if lines else f"exit code {code}")[:300]


def words(allowed):
    def parse(text):
        chosen = [word for word in text.split(",") if word]
        unknown = [word for word in chosen if word not in allowed]
        if unknown or not chosen:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(allowed)}")
        return chosen

    return parse


def numbers(text):
    try:
        values = [int(word) for word in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected numbers like 32,128")
    return values


def parse_options():
    defaults = [name for name, peer in PEERS.items() if peer.default]
    parser = argparse.ArgumentParser(
        prog="run.sh",
        description="Measures wgrad and its peers in turn and writes results.md and results.json.",
        epilog=f"Peers: {', '.join(PEERS)}. Metrics: {', '.join(GROUPS)}. MNIST is looked for in the folders that "
        "WGRAD_MNIST_DIR and WGRAD_DATA name, then in wgrad's cache.",
    )
    parser.add_argument("--peers", type=words(PEERS), default=",".join(defaults), metavar="A,B", help="default: %(default)s")
    parser.add_argument("--metrics", type=words(GROUPS), metavar="A,B", help="default: all but build")
    parser.add_argument("--build-times", action="store_true", help="measure clean builds, too (as --metrics ..,build)")
    parser.add_argument("--rounds", type=int, metavar="N", help="runs of each peer and metric, in turn (default 3)")
    parser.add_argument("--quick", action="store_true", help="1 round of short measurements, without mnist, fit and flat")
    parser.add_argument("--skip-build", action="store_true", help="use the peers that are built; build and install nothing")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads for all; 0: all (default 2)")
    parser.add_argument("--batches", type=numbers, default=[32, 128, 512], metavar="A,B", help="of train")
    parser.add_argument("--sizes", type=numbers, metavar="A,B", help="of matmul (default 512,1024,2048)")
    parser.add_argument("--max-s", type=float, metavar="S", help="seconds for one measurement in a run (default 6)")
    parser.add_argument("--limit", type=float, metavar="S", help="seconds for a run (default 600; epochs 1800, flat 3600)")
    parser.add_argument("--warm-limit", type=float, metavar="S", help="seconds for tuning (Burn) per metric (default 1800)")
    parser.add_argument("--once-over", type=float, default=180, metavar="S", help="run what takes longer once (default 180)")
    parser.add_argument("--build-limit", type=float, default=10800, metavar="S", help="seconds for a build (default 10800)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the results go (default: results in the cache)")
    parser.add_argument("--append", action="store_true", help="keep in DIR what this call does not measure again")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(os.environ.get("WGRAD_PEERS_CACHE") or DEFAULT_CACHE),
        metavar="DIR",
        help="builds, downloads, tuning results (default: WGRAD_PEERS_CACHE, else target/peers)",
    )
    options = parser.parse_args()
    quick = options.quick
    if options.metrics is None:
        options.metrics = [g for g in GROUPS if g != "build" and not (quick and g in ("mnist", "fit", "flat"))]
    if options.build_times and "build" not in options.metrics:
        options.metrics.append("build")
    options.rounds = options.rounds or (1 if quick else 3)
    options.max_s = options.max_s or (1.0 if quick else 6.0)
    options.sizes = options.sizes or ([512, 1024] if quick else [512, 1024, 2048])
    options.warm_limit = options.warm_limit if options.warm_limit is not None else (300.0 if quick else 1800.0)
    options.cache = options.cache.resolve()
    options.out = (options.out or options.cache / "results").resolve()
    if options.append and not (options.out / "results.json").exists():
        parser.error(f"--append: there is no results.json in {options.out}")
    return options


def stop(*_):
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, stop)
    options = parse_options()
    bench = Bench(options)
    try:
        bench.prepare()
        if not bench.peers:
            sys.exit("run.sh: no peer is left to be measured")
        bench.measure()
    except KeyboardInterrupt:
        kept = f"what was measured is in {options.out}" if bench.results["runs"] else "nothing was measured"
        print(f"\ninterrupted; {kept}", file=sys.stderr)
        sys.exit(130)
    print(f"results are in {options.out}/results.md and results.json")


if __name__ == "__main__":
    main()
