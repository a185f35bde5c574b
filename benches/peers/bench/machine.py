"""What figures depend on: the machine, and versions of what runs on it."""

import os
import platform
import re
import subprocess
from pathlib import Path


def output_of(command, cwd=None):
    """What a command prints, or nothing where it fails."""
    try:
        result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


def read(path):
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def first_match(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1).strip().strip('"') if found else ""


def describe():
    """The machine, as pairs that go into the report."""
    cpuinfo = read("/proc/cpuinfo")
    model = first_match(r"^model name\s*:\s*(.*)$", cpuinfo) or output_of(["sysctl", "-n", "machdep.cpu.brand_string"])
    flags = first_match(r"^flags\s*:\s*(.*)$", cpuinfo).split()
    kib = first_match(r"^MemTotal:\s*(\d+)", read("/proc/meminfo"))
    distribution = first_match(r"^PRETTY_NAME=(.*)$", read("/etc/os-release"))
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "avx512": "avx512f" in flags,
        "cores": os.cpu_count(),
        "memory_gib": round(int(kib) / (1 << 20), 1) if kib else None,
        "system": " ".join(filter(None, [distribution, platform.system(), platform.release(), platform.machine()])),
        "rust": output_of(["rustc", "--version"]),
        "python": platform.python_version(),
    }


def load():
    """Processes that wanted a core in the last minute, on average."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def commit(repository):
    """The commit that wgrad is built from; says so where files differ from it."""
    revision = output_of(["git", "rev-parse", "--short=12", "HEAD"], repository)
    changed = output_of(["git", "status", "--porcelain", "--untracked-files=no"], repository)
    return revision + (" with changes" if revision and changed else "")


def locked_version(lock, package):
    """The version of a package in a Cargo.lock."""
    return first_match(rf'^name = "{re.escape(package)}"\nversion = "(.*)"$', read(lock))


def distinct_cores(count):
    """`count` of the CPUs that this process may use, on different cores as long as there are any. None: all, or unknown."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    if count <= 0 or count >= len(allowed):
        return None
    first_of_core, rest, seen = [], [], set()
    for cpu in allowed:
        core = read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").strip() or str(cpu)
        (rest if core in seen else first_of_core).append(cpu)
        seen.add(core)
    return (first_of_core + rest)[:count]
