#!/usr/bin/env bash
# dump.sh DIR [PART...]: writes the kernels of the programs of models.rs (parts: table cnn transformer blocks; all where none is
# named), with the kernels of each kind that the adapter at hand can have, as DIR/*.wgsl with a JSON file beside each. A kernel that
# several kinds have is there once. WGRAD_DUMP_KINDS names other kinds than all four. Nothing is looked at but whether they run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -ge 1 ] || { echo 'usage: tests/portability/dump.sh DIR [table] [cnn] [transformer] [blocks]' >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(table cnn transformer blocks)
cargo build --quiet --features "${WGRAD_FEATURES:-app}" --example portability_models
program=${CARGO_TARGET_DIR:-target}/debug/examples/portability_models
for kind in ${WGRAD_DUMP_KINDS:-tiled register subgroup small}; do
    for part in "${parts[@]}"; do
        WGRAD_KERNELS=$kind WGRAD_DUMP_SHADERS=$out "$program" "$part" | sed "s/^/$kind /"
    done
done
# Complete by themselves, and no part of any program.
cp shaders/gemm_example_*.wgsl "$out"
echo "$(find "$out" -name '*.wgsl' | wc -l) kernels in $out"
