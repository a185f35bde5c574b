#!/usr/bin/env bash
# tint.sh DIR...: the kernels of the folders through Tint, in a headless Chromium. By hand.
#
# Needs on Debian: chromium, node and npm. playwright-core, which drives it, is installed into $PORTABILITY_CACHE (by default below
# the folder for temporary files). CHROMIUM names another browser than /usr/bin/chromium.
set -euo pipefail
[ $# -ge 1 ] || { echo 'usage: tests/portability/tint/tint.sh DIR...' >&2; exit 2; }
export PORTABILITY_CACHE=${PORTABILITY_CACHE:-${TMPDIR:-/tmp}/wgrad-portability}
mkdir -p "$PORTABILITY_CACHE"
if [ ! -d "$PORTABILITY_CACHE/node_modules/playwright-core" ]; then
    npm install --silent --no-save --prefix "$PORTABILITY_CACHE" playwright-core@1.65.1
fi
exec node "$(dirname "${BASH_SOURCE[0]}")/parse.mjs" "$@"
