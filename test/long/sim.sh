#!/usr/bin/env bash
# The simulator for SIM_MINUTES (10), on seeds that were not run before: they begin at the time of day.
set -euo pipefail
cd "$(dirname "$0")/../.."
sim=${B:-build}/test/sim
"$sim" --self-test
"$sim" --first "$(date +%s)0000" --minutes "${SIM_MINUTES:-10}"
