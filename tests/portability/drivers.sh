#!/usr/bin/env bash
# Every driver of driver.sh: the first trial and the self-check of every operation (example doctor), the suite of parity, the CNN,
# which has to train as on the CPU (tests/training.rs), and the main example on the first images of MNIST, with its accuracy on the
# 10,000 test images. Prints rows of docs/platforms.md; what failed is in the logs.
#
#   tests/portability/drivers.sh [NAME...]     all drivers, or these
#
# TESTS='parity training' chooses tests; IMAGES how many the example trains on (0: not at all); LOGS is where what they print goes;
# MINUTES how long any one of them may take. Needs jq. MNIST comes from where the example finds it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
drivers=("$@")
[ ${#drivers[@]} -gt 0 ] || drivers=(lavapipe lavapipe4 lavapipe16 lavapipe-none lavapipe-small lavapipe-tiled lavapipe-webgpu mesa25 gl swiftshader null)
tests=${TESTS:-parity parity_fusion parity_limits training}
images=${IMAGES:-6400}
limit=${MINUTES:-60}m
logs=${LOGS:-$(mktemp -d)}
mkdir -p "$logs"

command -v jq >/dev/null || { echo 'drivers.sh: no jq: apt-get install jq' >&2; exit 1; }
cargo build --quiet --release --all-features --example doctor --example mnist_cnn
# Copies: a build in the meantime does not change what is run.
for example in doctor mnist_cnn; do cp "${CARGO_TARGET_DIR:-target}/release/examples/$example" "$logs/$example.example"; done
flags=()
for test in $tests; do flags+=(--test "$test"); done
declare -A binary
while IFS='=' read -r name path; do
    cp "$path" "$logs/$name.test"
    binary[$name]=$logs/$name.test
done < <(
    cargo test --no-run --all-features "${flags[@]}" 2>&1 | sed -nE 's/^ *Executable tests\/([a-z_]+)\.rs \((.*)\)$/\1=\2/p')

for test in $tests; do
    [ -n "${binary[$test]:-}" ] || { echo "drivers.sh: tests/$test.rs does not build, or is none" >&2; exit 1; }
done

# Seconds since a time of `date +%s.%N`.
since() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.0f", b - a }'; }

echo "| driver | what it says of itself | self-check | tests | MNIST | seconds |"
echo "| --- | --- | --- | --- | --- | --- |"
for driver in "${drivers[@]}"; do
    start=$(date +%s.%N)
    log=$logs/$driver
    "$here/driver.sh" "$driver" timeout "$limit" "$logs/doctor.example" --adapter "$([ "$driver" = gl ] && echo gl || echo 0)" --json "$log.json" \
        >"$log.doctor" 2>&1 || true
    said=$(jq -r '.adapters[0] | "\(.name), \(.driver), \(.backend)"' "$log.json" 2>/dev/null || tail -1 "$log.doctor")
    check=$(jq -r '.adapters[0] | if .self_check then
        "\([.self_check.operations[] | select(.problem == null)] | length) of \(.self_check.operations | length)"
        else "refused" end' "$log.json" 2>/dev/null || echo none)
    passed='' accuracy=none
    if [ "$check" != refused ] && [ "$check" != none ]; then
        for test in $tests; do
            # Tests that run this binary again choose drivers' settings themselves.
            "$here/driver.sh" "$driver" timeout "$limit" "${binary[$test]}" --test-threads 2 --skip kinds:: >"$log.$test" 2>&1 || true
            passed+="$test $(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed.*/\1 passed, \2 failed/p' "$log.$test" | tail -1); "
            [ -n "$(grep -E '^test result' "$log.$test")" ] || passed+="$test did not end; "
        done
        if [ "$images" != 0 ]; then
            "$here/driver.sh" "$driver" timeout "$limit" "$logs/mnist_cnn.example" --device gpu --epochs 1 --limit-train "$images" \
                >"$log.mnist" 2>&1 || true
            accuracy=$(sed -nE 's/^test .*accuracy ([0-9.]+%?).*/\1/p' "$log.mnist")
        fi
    fi
    echo "| $driver | $said | $check | ${passed%; } | ${accuracy:-did not end} | $(since "$start") |"
done
echo "logs: $logs" >&2
