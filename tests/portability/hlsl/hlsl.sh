#!/usr/bin/env bash
# hlsl.sh OUT [dxc|fxc]...: the HLSL of `translate OUT DIR` through Microsoft's own compilers under Wine: DXC for shader model 6.0,
# FXC for 5.1 (both where none is named). By hand: it takes minutes, by FXC half an hour, and 90 MB of packages.
#
# It can be stopped at any time, and goes on where it was: each result is noted by the HLSL's text, and what was seen is not given to
# the compiler again, in whichever folder and under whatever name it is. The notes, $PORTABILITY_CACHE/seen-*, are of one library and one
# check.c; who deletes them begins anew. HLSL_SECONDS is the time after which it stops by itself. Short texts come first, since the
# slow ones are among the long. Ends with 1 where a kernel failed, with 3 where none did and some were not seen.
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
    dxc) version=6.0 profile=cs_6_0 library=$cache/dxcompiler.dll ;;
    # Wine has a d3dcompiler_47.dll of its own, which is another compiler.
    fxc) version=5.1 profile=cs_5_1 library=$cache/d3dcompiler_47.dll; export WINEDLLOVERRIDES='d3dcompiler_47=n' ;;
    *) echo "hlsl.sh: '$compiler' is neither dxc nor fxc" >&2; exit 2 ;;
    esac
    seen=$cache/seen-$compiler-$(cat "$library" "$here/check.c" | sha256sum | cut -c 1-12).txt
    touch "$seen"
    all=$cache/$compiler.txt rest=$cache/$compiler-rest.txt
    # Every kernel of both modes as "BYTES MODE NAME TEXT'S-SUM", the shortest first; of those not seen yet one for each text.
    for mode in trusted checked; do
        folder=$out/hlsl-$version-$mode
        [ -n "$(find "$folder" -name '*.hlsl' -print -quit)" ] || { echo "hlsl.sh: no kernels in $folder" >&2; exit 2; }
        (cd "$folder" && paste -d ' ' <(stat -c '%s' -- *.hlsl) <(sha256sum -- *.hlsl)) | awk -v mode="$mode" '{ print $1, mode, $3, $2 }'
    done | sort -n >"$all"
    awk -v folder="Z:$out/hlsl-$version" '
        FILENAME == ARGV[1] { seen[$3]; next }
        !($4 in seen) { seen[$4]; print $4, folder "-" $2 "/" $3 }' "$seen" "$all" >"$rest"
    limit=0 ended=0
    [ -z "${HLSL_SECONDS:-}" ] || limit=$((HLSL_SECONDS > SECONDS ? HLSL_SECONDS - SECONDS : 1))
    (cd "$cache" && timeout --foreground "$limit" "$wine" check.exe "$compiler" "$profile" "Z:$rest") >>"$seen" || ended=$?
    case $ended in
    0 | 1 | 124) ;;
    2) exit 2 ;;
    *) echo "hlsl.sh: $compiler ended with $ended, on the first kernel of $rest that $seen has not" >&2; status=1 ;;
    esac
    for mode in trusted checked; do
        code=0
        awk -v mode=$mode -v name="$compiler $mode" '
            FILENAME == ARGV[1] {
                result[$3] = $1; time[$3] = $2; message[$3] = $0
                sub(/^[^ ]+ [^ ]+ [^ ]+ ?/, "", message[$3])
                next
            }
            $2 != mode { next }
            { kernels++; new = !($4 in text); text[$4]; texts += new }
            !($4 in result) { unseen++; next }
            result[$4] == "ok" { ok++ }
            result[$4] != "ok" { failed++; print "FAILED", $3, message[$4] }
            new { sum += time[$4]; if (time[$4] >= longest) { longest = time[$4]; slowest = $3 } }
            END {
                printf "%s: %d kernels of %d texts: %d ok, %d failed, %d not seen; %d s, at most %d ms (%s)\n",
                    name, kernels, texts, ok, failed, unseen, sum / 1000, longest, slowest
                exit failed ? 1 : unseen ? 3 : 0
            }' "$seen" "$all" || code=$?
        [ $code = 0 ] || [ $status = 1 ] || status=$code
    done
done
exit $status
