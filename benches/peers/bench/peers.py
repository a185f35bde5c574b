"""The peers: where their programs are, how they are built, in which environment they run."""

import gzip
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import machine

FOLDER = Path(__file__).resolve().parent.parent
REPOSITORY = FOLDER.parent.parent


@dataclass(frozen=True)
class Peer:
    name: str
    # What its times are compared with: wgrad on the same kind of device.
    base: str
    # Folder of its Cargo project, or the Python program in py/.
    project: str = ""
    binary: str = ""
    program: str = ""
    # The package that tells its version: in Cargo.lock, or of PyPI.
    package: str = ""
    # Tries kernels out on first use of each shape, and keeps what it found on disk.
    tunes: bool = False
    # Measured where no peers are named.
    default: bool = True
    # Modes that only some peers have.
    extra: tuple = ()

    @property
    def on_gpu(self):
        return self.base == "wgrad_gpu"


WGRAD_EXTRA = ("stats", "flat", "fit")
PEERS = {
    peer.name: peer
    for peer in [
        Peer("wgrad_cpu", "wgrad_cpu", "wgrad", "wgrad", package="wgrad", extra=WGRAD_EXTRA),
        Peer("torch", "wgrad_cpu", program="torch_peer.py", package="torch"),
        Peer("torch_cl", "wgrad_cpu", program="torch_peer.py", package="torch"),
        Peer("torch_compile", "wgrad_cpu", program="torch_peer.py", package="torch", default=False),
        Peer("tf", "wgrad_cpu", program="tf_peer.py", package="tensorflow", extra=("fit",)),
        Peer("tf_xla", "wgrad_cpu", program="tf_peer.py", package="tensorflow", default=False, extra=("fit",)),
        Peer("candle", "wgrad_cpu", "candle", "candle", package="candle-core"),
        Peer("burn_flex", "wgrad_cpu", "burn_flex", "burn_flex", package="burn"),
        Peer("wgrad_gpu", "wgrad_gpu", "wgrad", "wgrad", package="wgrad", extra=WGRAD_EXTRA),
        Peer("burn_wgpu", "wgrad_gpu", "burn_wgpu", "burn_wgpu", package="burn", tunes=True),
        Peer("burn_vulkan", "wgrad_gpu", "burn_vulkan", "burn_vulkan", package="burn", tunes=True),
        Peer("torch_cuda", "wgrad_gpu", program="torch_peer.py", package="torch"),
        Peer("torch_cuda_cl", "wgrad_gpu", program="torch_peer.py", package="torch", default=False),
    ]
}


class Workplace:
    """The cache folder: everything that is built, installed, unpacked or tuned."""

    def __init__(self, folder, threads, max_s):
        self.folder = folder
        self.target = folder / "build"
        self.venv = folder / "venv"
        self.mnist = folder / "mnist"
        self.threads = threads
        self.max_s = max_s
        folder.mkdir(parents=True, exist_ok=True)

    def python(self):
        scripts = "Scripts" if os.name == "nt" else "bin"
        return self.venv / scripts / "python"

    def command(self, peer):
        if peer.program:
            return [str(self.python()), "-B", str(FOLDER / "py" / peer.program)]
        suffix = ".exe" if os.name == "nt" else ""
        return [str(self.target / "release" / (peer.binary + suffix))]

    def state(self, peer):
        """The folder that the peer keeps its caches in from run to run."""
        return self.folder / "state" / peer.name

    def environment(self, peer, state, max_s=None):
        """The environment of a run: as many threads for all, and all caches under `state`."""
        for name in ("home", "cache", "mesa", "runtime"):
            (state / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        # Burn's tuning results: else they would go to the `target` of the outermost Cargo.toml above.
        (state / "cubecl.toml").write_text('[environment]\npath = "local"\n')
        environment = dict(os.environ)
        if self.threads > 0:
            for name in ("THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS"):
                environment[name] = str(self.threads)
        else:
            environment["THREADS"] = str(os.cpu_count())
        if "cuda" not in peer.name:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        environment.update(
            VARIANT=peer.name,
            MAX_S=str(self.max_s if max_s is None else max_s),
            MNIST_DIR=str(self.mnist),
            HOME=str(state / "home"),
            XDG_CACHE_HOME=str(state / "cache"),
            XDG_RUNTIME_DIR=str(state / "runtime"),
            MESA_SHADER_CACHE_DIR=str(state / "mesa"),
            TORCHINDUCTOR_CACHE_DIR=str(state / "inductor"),
            CUDA_CACHE_PATH=str(state / "cuda"),
        )
        return environment

    # ---- building ----

    def build(self, peer, limit):
        """Builds or installs what the peer needs. Gives why it can't, or nothing."""
        if peer.program:
            return self.install(peer, limit)
        if shutil.which("cargo") is None:
            return "cargo is not installed"
        print(f"building {peer.name}", flush=True)
        return self.logged(f"build-{peer.name}", self.cargo(peer, "build", "--release"), limit, self.target)

    def cargo(self, peer, *arguments):
        project = FOLDER / peer.project
        if peer.package == "wgrad":
            # The versions that the repository has locked.
            shutil.copyfile(REPOSITORY / "Cargo.lock", project / "Cargo.lock")
        return ["cargo", *arguments, "--manifest-path", str(project / "Cargo.toml")]

    def install(self, peer, limit):
        if not self.python().exists():
            print("making a virtual environment", flush=True)
            reason = self.logged("venv", [sys.executable, "-m", "venv", str(self.venv)], limit)
            if reason:
                return reason
        if self.installed_version(peer):
            return ""
        print(f"installing {peer.package} from PyPI", flush=True)
        command = [str(self.python()), "-m", "pip", "install", "--disable-pip-version-check", "numpy", peer.package]
        return self.logged(f"pip-{peer.package}", command, limit)

    def logged(self, name, command, limit, target=None):
        """Runs a command with its output in a log file. Gives why it failed, or nothing."""
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        environment = dict(os.environ)
        if target is not None:
            environment["CARGO_TARGET_DIR"] = str(target)
        with log.open("w") as file:
            try:
                code, _ = run_group(command, limit, stdout=file, stderr=subprocess.STDOUT, env=environment)
            except OSError as error:
                return f"{command[0]}: {error}"
        if code is None:
            return f"took more than {limit:.0f} s: {' '.join(command[:3])}, see {log}"
        return f"failed: {' '.join(command[:3])}, see {log}" if code else ""

    def is_built(self, peer):
        if peer.program:
            return self.python().exists() and bool(self.installed_version(peer))
        return Path(self.command(peer)[0]).exists()

    def installed_version(self, peer):
        code = f"import importlib.metadata as m; print(m.version({peer.package!r}))"
        return machine.output_of([str(self.python()), "-c", code])

    def version(self, peer):
        if peer.package == "wgrad":
            return " ".join(filter(None, ["wgrad", machine.commit(REPOSITORY)]))
        if peer.program:
            return f"{peer.package} {self.installed_version(peer)}"
        return f"{peer.package} {machine.locked_version(FOLDER / peer.project / 'Cargo.lock', peer.package)}"

    def build_figures(self, peer, limit):
        """Seconds of a clean release build with everything downloaded, crates, bytes of the stripped program."""
        target = self.folder / "clean-build"
        shutil.rmtree(target, ignore_errors=True)
        reason = self.logged(f"fetch-{peer.project}", self.cargo(peer, "fetch"), limit)
        if reason:
            return {}, reason
        try:
            start = time.monotonic()
            command = self.cargo(peer, "build", "--release", "--offline")
            reason = self.logged(f"clean-build-{peer.project}", command, limit, target)
            if reason:
                return {}, reason
            values = {"build_s": time.monotonic() - start}
            binary = target / "release" / Path(self.command(peer)[0]).name
            if shutil.which("strip"):
                subprocess.run(["strip", str(binary)], check=False, timeout=120)
                values["build_binary_mb"] = binary.stat().st_size / (1 << 20)
        finally:
            shutil.rmtree(target, ignore_errors=True)
        tree = machine.output_of(
            self.cargo(peer, "tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}")
        )
        crates = {line.removesuffix(" (*)") for line in tree.splitlines() if line}
        # The program itself and what peers share are no part of the library.
        own = {line for line in crates if str(FOLDER) in line}
        values["build_crates"] = float(len(crates - own))
        return values, ""

    # ---- data ----

    def unpack_mnist(self):
        """Puts the raw files of MNIST into the cache. Gives why it can't, or nothing."""
        names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
        folders = [os.environ.get("WGRAD_MNIST_DIR"), os.environ.get("WGRAD_DATA"), default_mnist_folder()]
        folders = [Path(folder) for folder in folders if folder]
        for name in names:
            target = self.mnist / name
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(".tmp")
            for folder in folders:
                if (folder / name).exists():
                    shutil.copyfile(folder / name, temporary)
                    break
                if (folder / f"{name}.gz").exists():
                    with gzip.open(folder / f"{name}.gz") as source, temporary.open("wb") as file:
                        shutil.copyfileobj(source, file)
                    break
            else:
                places = ", ".join(map(str, folders))
                return (
                    f"{name} is not in {places}; set WGRAD_MNIST_DIR to a folder with the files of MNIST, or have "
                    "them downloaded by `cargo run --release --example mnist_cnn`"
                )
            temporary.replace(target)
        return ""


def default_mnist_folder():
    """Where wgrad keeps MNIST."""
    home = os.environ.get("HOME")
    if sys.platform == "darwin":
        return Path(home) / "Library/Caches/wgrad/mnist" if home else None
    caches = os.environ.get("XDG_CACHE_HOME") or (Path(home) / ".cache" if home else None)
    return Path(caches) / "wgrad/mnist" if caches else None


def run_group(command, limit, **options):
    """Runs a command in a group of its own, all of which ends at the limit (seconds) or when this program is interrupted.

    Gives the exit code, None where the limit was reached, and what went to a pipe.
    """
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, **options)
    try:
        out, err = process.communicate(timeout=limit)
        return process.returncode, (out, err)
    except subprocess.TimeoutExpired:
        kill_group(process)
        return None, process.communicate()
    except BaseException:
        kill_group(process)
        process.wait()
        raise


def kill_group(process):
    try:
        os.killpg(process.pid, 9)
    except (OSError, AttributeError):
        process.kill()
