#!/bin/bash
# test/long/soak.sh - everything with a process of its own, once on each of SOAK_LOADS: a slow machine finds no fault
# that a fast one does not. About half an hour each.
cd "$(dirname "$0")/../.." || exit 1
for load in ${SOAK_LOADS:-busy disk}; do
	TEST_SUITES="unit-sh interop e2e" test/soak.sh -b "${B:-build}" -l "$load" || bad=1
done
[ -z "${bad:-}" ]
