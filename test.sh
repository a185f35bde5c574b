#!/usr/bin/env bash
# Everything that must pass before a change is merged: format, lints, documentation, all tests, and the main example on
# both devices. Installs a software Vulkan driver (Mesa's lavapipe) where the machine has no Vulkan driver.
#
# All of it is built in one profile, `dev`: its dependencies are optimised (see Cargo.toml), so that tests run fast, while the
# crate itself compiles quickly and keeps debug assertions and bounds-checked shaders, which release builds leave out. A
# second profile would build every dependency again. So would the feature `gles`, which has no code of its own: `app` and `mpi` are
# all others. Where there is no MPI and none can be installed, what needs one is left out, unless CI is set.
#
# WGRAD_DATA names a folder with MNIST's files; without it they are taken from the user's cache, and where there are none the
# example trains on synthetic digits. WGRAD_ADAPTER chooses the GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

section() {
    printf '\n==== %s (after %dm%02ds) ====\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
}

fail() {
    printf 'test.sh: FAILED: %s\n' "$1" >&2
    exit 1
}

trap 'printf "\ntest.sh: FAILED at line %s\n" "$LINENO" >&2' ERR
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Only Linux may lack a driver: macOS has Metal, Windows DX12 with a software adapter.
has_vulkan() {
    [ "$(uname -s)" = Linux ] || return 0
    local libraries
    libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null || true)
    [[ $libraries == *libvulkan.so.1* ]] || return 1
    [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] && return 0
    compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null
}

# Files for a next build are half of the target folder (7 of 15 GB), and a machine of CI has none.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

section 'GPU driver'
if has_vulkan; then
    echo 'a driver is installed'
elif command -v apt-get >/dev/null; then
    echo 'no Vulkan loader or driver found: installing Mesa'
    as_root apt-get update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1
else
    fail 'no Vulkan loader or driver found, and no apt-get to install one: install Mesa (lavapipe) and libvulkan'
fi
if ! command -v spirv-val >/dev/null && command -v apt-get >/dev/null; then
    install_spirv_tools() {
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends spirv-tools >/dev/null 2>&1
    }
    install_spirv_tools || { as_root apt-get update >/dev/null && install_spirv_tools; } ||
        echo 'spirv-tools can not be installed: SPIR-V will not be checked'
fi
[ -z "${CI:-}" ] || command -v spirv-val >/dev/null || fail 'no spirv-val: install spirv-tools'
features=app
has_mpi() {
    command -v mpicc >/dev/null && command -v mpirun >/dev/null
}
if ! has_mpi && command -v apt-get >/dev/null; then
    install_mpi() {
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
            openmpi-bin libopenmpi-dev libclang-dev >/dev/null 2>&1
    }
    install_mpi || { as_root apt-get update >/dev/null && install_mpi; } || true
fi
if has_mpi; then
    features=app,mpi
elif [ -n "${CI:-}" ]; then
    fail 'no MPI: install openmpi-bin, libopenmpi-dev and libclang-dev'
else
    echo 'MPI can not be installed: training on several ranks will not be checked'
fi
# What scripts called from here build, too.
export WGRAD_FEATURES=$features
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
    # Mesa complains without one.
    export XDG_RUNTIME_DIR="$scratch/runtime"
    mkdir -m 700 "$XDG_RUNTIME_DIR"
fi

section 'Format'
cargo fmt --all --check
for package in translate windows; do
    cargo fmt --check --manifest-path "tests/portability/$package/Cargo.toml"
done

section 'Lints'
cargo clippy --quiet --package wgrad-derive --package wgrad-tiles --all-targets -- -D warnings
cargo clippy --quiet --all-targets --features "$features" -- -D warnings
cargo clippy --quiet --lib --examples -- -D warnings
cargo clippy --quiet --lib --tests --benches --no-default-features -- -D warnings
# Features by themselves: those that share much code with others, of which something could be left over. With an example, since
# that brings the dependencies of tests along: they give all others the features that they were built with above.
for feature in download plot import images; do
    cargo clippy --quiet --lib --example doctor --no-default-features --features "$feature" -- -D warnings
done

section 'Documentation'
RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps --features "$features"

section 'Public interface'
# Out of the documentation that was just built. It names what differs from docs/api.txt, and how to write that anew.
if [ "$features" = app,mpi ]; then
    WGRAD_API=check cargo test --quiet --features "$features" --test api
else
    echo 'not compared: it has what needs MPI'
fi

section 'Tests'
cargo test --quiet --package wgrad-derive --package wgrad-tiles
cargo test --quiet --features "$features"

section 'Faults planted in kernels: a sample'
tests/mutants/run sample 10

cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/wgrad/mnist
[ "$(uname -s)" = Darwin ] && cache=${HOME:-/nonexistent}/Library/Caches/wgrad/mnist
if [ -n "${WGRAD_DATA:-}" ] || compgen -G "$cache/train-images*" >/dev/null; then
    dataset=mnist
else
    dataset=synthetic
fi

# Trains for a moment and looks at what came out: the last line, and the counters of the second epoch.
train() {
    local device=$1 log="$scratch/$1.log" json="$scratch/$1.json"
    cargo run --quiet --features "$features" --example mnist_cnn -- --device "$device" --dataset "$dataset" --epochs 2 --batch-size 64 \
        --limit-train 2048 --json "$json" 2>&1 | tee "$log"
    grep -Eq '^test accuracy (0\.[7-9][0-9]*|1\.0+) \(loss [0-9.]+\)' "$log" || fail "$device: too low an accuracy, or none"
    local key
    for key in device adapter dataset seed batch_size epochs train_loss test_accuracy first_losses step_ms_median \
        dispatches_per_step submits_per_step allocations_per_step host_us_per_step cold_start_ms peak_bytes weights_sha256; do
        grep -q "\"$key\":" "$json" || fail "$device: the JSON file has no $key"
    done
    grep -q '"plan_misses_after_warmup": 0,\?$' "$json" || fail "$device: plans were missed after the first epoch"
}

section "Example on the CPU ($dataset)"
train cpu
section "Example on the GPU ($dataset)"
WGRAD_DUMP_SHADERS="$scratch/kernels" train gpu

section 'Kernels in the languages of other drivers'
# The example's kernels of this adapter are there already: those of real GPUs are added. spirv-val checks the SPIR-V.
WGRAD_DUMP_KINDS=tiled tests/portability/dump.sh "$scratch/kernels" table transformer
tests/portability/translate.sh "$scratch/translated" "$scratch/kernels"

if [ "$features" = app,mpi ]; then
    # tests/mpi.rs has compared bits on 1 to 4 ranks, without an example's command line.
    section 'The example on 1, 2 and 4 ranks'
    # As in a container, where root has to say so twice, and processes may not read each other's memory.
    export OMPI_MCA_btl_vader_single_copy_mechanism=none
    [ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    cargo build --quiet --features "$features" --example mnist_cnn_mpi
    target=${CARGO_TARGET_DIR:-target}/debug/examples/mnist_cnn_mpi
    for ranks in 1 2 4; do
        mpirun --oversubscribe --bind-to none -n $ranks "$target" --device cpu --dataset "$dataset" --epochs 1 --limit-train 512 \
            --shards 4 | tee "$scratch/ranks$ranks.log"
    done
    [ "$(grep -h ^weights "$scratch"/ranks[124].log | sort | uniq -c | awk '{print $1}')" = 3 ] ||
        fail 'ranks have trained different weights'
fi

section 'An operation from outside the crate'
cargo run --quiet --features "$features" --example custom_op -- cpu
cargo run --quiet --features "$features" --example custom_op -- gpu

printf '\ntest.sh: all passed in %dm%02ds\n' $((SECONDS / 60)) $((SECONDS % 60))
