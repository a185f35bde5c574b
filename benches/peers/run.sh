#!/usr/bin/env bash
# Measures wgrad and its peers side by side. README.md says what and how; ./run.sh --help lists the options.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    echo 'run.sh: needs python3, version 3.9 or later (and cargo, to build wgrad and the peers)' >&2
    exit 1
fi
exec python3 -B "$folder/bench/run.py" "$@"
