#!/usr/bin/env bash
# translate.sh OUT DIR...: the kernels of the folders in the languages of all of wgpu's backends (see translate/src/main.rs), the
# SPIR-V checked by spirv-val where that is installed. Ends with 1 where a kernel fails.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
crate=$root/tests/portability/translate
version() { sed -n '/^name = "naga"$/{n;s/^version = "\(.*\)"$/\1/p;}' "$1"; }
if [ "$(version "$root/Cargo.lock")" != "$(version "$crate/Cargo.lock")" ]; then
    echo "translate.sh: wgpu has naga $(version "$root/Cargo.lock"), tests/portability/translate $(version "$crate/Cargo.lock")" >&2
    echo "  cargo update --manifest-path tests/portability/translate/Cargo.toml naga --precise $(version "$root/Cargo.lock")" >&2
    exit 2
fi
cargo build --quiet --locked --manifest-path "$crate/Cargo.toml" --target-dir "${CARGO_TARGET_DIR:-$root/target}/portability"
exec "${CARGO_TARGET_DIR:-$root/target}/portability/debug/translate" "$@"
