#!/usr/bin/env bash
# probe.sh [--unchecked] [--tensors] [--self-check] [FILTER]: builds the probe (src/main.rs) for Windows and runs it under Wine, on
# Vulkan and on Wine's Direct3D 12 (vkd3d, on whatever Vulkan driver there is). By hand.
#
# Needs on Debian: wine64 gcc-mingw-w64-x86-64 xvfb, and rustup. With FXC in $PORTABILITY_CACHE (hlsl.sh puts it there), that compiles
# the shaders; without it, Wine's own replacement, which is not ready for them. VK_DRIVER_FILES chooses the driver below.
# Nothing bounds what vkd3d and lavapipe allocate: the process is ended where it has more than $PROBE_GIB (6) GiB.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
cache=${PORTABILITY_CACHE:-${TMPDIR:-/tmp}/wgrad-portability}
mkdir -p "$cache/windows"
rustup target add x86_64-pc-windows-gnu >/dev/null
cp "$root/Cargo.lock" "$here/Cargo.lock"
target=${CARGO_TARGET_DIR:-$root/target}/portability
cargo build --quiet --manifest-path "$here/Cargo.toml" --target x86_64-pc-windows-gnu --target-dir "$target"
cp "$target/x86_64-pc-windows-gnu/debug/probe.exe" "$cache/windows/"
x86_64-w64-mingw32-gcc -O2 -shared -o "$cache/windows/bcryptprimitives.dll" "$here/prng.c" -ladvapi32
# Without it, each descriptor heap that vkd3d 1.6 makes on lavapipe 25, however small, takes a gigabyte.
export VKD3D_CONFIG=${VKD3D_CONFIG:-virtual_heaps}
export WINEPREFIX=${WINEPREFIX:-$cache/wine} WINEDEBUG=${WINEDEBUG:--all}
if [ -e "$cache/d3dcompiler_47.dll" ]; then
    cp "$cache/d3dcompiler_47.dll" "$cache/windows/"
    export WINEDLLOVERRIDES='d3dcompiler_47=n'
fi
wine=/usr/lib/wine/wine64
[ -x "$wine" ] || wine=$(command -v wine64 || command -v wine)
cd "$cache/windows"
# vkd3d's instance wants a display.
command -v Xvfb >/dev/null || { echo 'probe.sh: no Xvfb: apt-get install xvfb' >&2; exit 1; }
rm -f display
Xvfb -displayfd 3 -screen 0 640x480x24 3>display >/dev/null 2>&1 &
screen=$!
trap 'kill "$screen" 2>/dev/null || true' EXIT
until [ -s display ]; do
    kill -0 "$screen" 2>/dev/null || { echo 'probe.sh: Xvfb does not start' >&2; exit 1; }
    sleep 0.2
done
export DISPLAY=:$(<display)
"$wine" probe.exe "$@" &
running=$!
while kill -0 "$running" 2>/dev/null; do
    kib=$(awk '/^VmRSS/ { print $2 }' "/proc/$running/status" 2>/dev/null || true)
    if [ "${kib:-0}" -gt $((${PROBE_GIB:-6} << 20)) ]; then
        echo "probe.sh: more than ${PROBE_GIB:-6} GiB: ended" >&2
        kill -9 "$running"
    fi
    sleep 1
done
wait "$running"
