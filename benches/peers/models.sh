#!/usr/bin/env bash
# benches/models.rs and the same in PyTorch in turn, so that a machine which others use is the same to both: rounds of each section, and
# the medians of these. `wgrad on gpu` is the adapter of WGRAD_ADAPTER or the best.
#
#   benches/peers/models.sh PYTHON BINARY [ROUNDS [SECTIONS..]]
#
# BINARY is what `cargo bench --bench models --no-run` has built, PYTHON one that has PyTorch. ON="wgrad torch gpu" says who takes part.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=$1 binary=$2 rounds=${3:-5}
sections=("${@:4}")
[ ${#sections[@]} -gt 0 ] || sections=(transformer lstm conv1d resnet18)
export RAYON_NUM_THREADS=2
for section in "${sections[@]}"; do
    for ((round = 0; round < rounds; round++)); do
        for who in ${ON:-wgrad torch}; do
            case $who in
            wgrad) "$binary" "$section" cpu 5 ;;
            gpu) "$binary" "$section" gpu 3 ;;
            torch) "$python" benches/peers/py/torch_models.py "$section" cpu 5 ;;
            esac 2>/dev/null | sed "s/^/$who /"
        done
    done
done | "$python" -c '
import collections, statistics, sys
times = collections.defaultdict(list)
for line in sys.stdin:
    who, *name, ms = line.split()
    times[" ".join(name), who].append(float(ms))
for (name, who), ms in times.items():
    print(f"{name}, {who}: {statistics.median(ms):.1f} ms, {min(ms):.1f} to {max(ms):.1f}")
'
