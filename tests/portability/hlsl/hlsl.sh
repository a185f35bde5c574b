#!/usr/bin/env bash
# hlsl.sh OUT [dxc|fxc]...: the HLSL of `translate OUT DIR` through Microsoft's own compilers under Wine: DXC for shader model 6.0,
# FXC for 5.1 (both where none is named). By hand: it takes minutes, and 90 MB of packages.
#
# Needs on Debian: wine64 gcc-mingw-w64-x86-64 unzip, npm and pip. The compilers come out of packages that redistribute them: DXC out
# of npm's onnxruntime-node, FXC out of PyPI's cefpython3; they stay in $PORTABILITY_CACHE (by default below the folder for
# temporary files).
set -euo pipefail
[ $# -ge 1 ] || { echo 'usage: tests/portability/hlsl/hlsl.sh OUT [dxc|fxc]...' >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$1" && pwd)
shift
compilers=("$@")
[ ${#compilers[@]} -gt 0 ] || compilers=(dxc fxc)
cache=${PORTABILITY_CACHE:-${TMPDIR:-/tmp}/wgrad-portability}
mkdir -p "$cache"
export WINEPREFIX=${WINEPREFIX:-$cache/wine} WINEDEBUG=${WINEDEBUG:--all}

if [ ! -e "$cache/dxcompiler.dll" ]; then
    (cd "$cache" && npm pack --silent onnxruntime-node@1.30.0 >/dev/null)
    tar -xzf "$cache"/onnxruntime-node-1.30.0.tgz -C "$cache" --strip-components=5 \
        package/bin/napi-v6/win32/x64/dxil.dll package/bin/napi-v6/win32/x64/dxcompiler.dll
    rm "$cache"/onnxruntime-node-1.30.0.tgz
fi
if [ ! -e "$cache/d3dcompiler_47.dll" ]; then
    pip download --quiet --no-deps --only-binary=:all: --platform win_amd64 --python-version 37 -d "$cache" cefpython3==66.1
    unzip -o -j -q "$cache"/cefpython3-*.whl '*/d3dcompiler_47.dll' -d "$cache"
    rm "$cache"/cefpython3-*.whl
fi
# Debian's `wine` says at each start what it misses for 32-bit programs.
wine=/usr/lib/wine/wine64
[ -x "$wine" ] || wine=$(command -v wine64 || command -v wine)
x86_64-w64-mingw32-gcc -O2 -o "$cache/check.exe" "$here/check.c"

status=0
for compiler in "${compilers[@]}"; do
    case $compiler in
    dxc) version=6.0 profile=cs_6_0 ;;
    # Wine has a d3dcompiler_47.dll of its own, which is another compiler.
    fxc) version=5.1 profile=cs_5_1; export WINEDLLOVERRIDES='d3dcompiler_47=n' ;;
    *) echo "hlsl.sh: '$compiler' is neither dxc nor fxc" >&2; exit 2 ;;
    esac
    for mode in checked trusted; do
        list=$cache/$compiler-$mode.txt
        find "$out/hlsl-$version-$mode" -name '*.hlsl' | sort | sed 's/^/Z:/' >"$list"
        echo "$mode:"
        (cd "$cache" && "$wine" check.exe "$compiler" "$profile" "Z:$list") | tr -d '\r' || status=1
    done
done
exit $status
