#!/usr/bin/env bash
# quick.sh - what `make bench-quick` says of a change: a loss of more than 5 % is told and ends with status 1, nothing else does.
# bench/quick stands aside here; another program prints the costs that are wanted.
set -euo pipefail
cd "$(dirname "$0")/../../.."
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
mkdir "$t/bench"
cat >"$t/bench/quick" <<X
#!/bin/sh
cat "$t/costs"
X
chmod +x "$t/bench/quick"

# costs SEGMENT CONNECTION [UNIT]
costs() { echo "{\"unit\":\"${3:-instructions}\",\"segment\":$1,\"connection\":$2}" >"$t/costs"; }
# expect STATUS WHAT [OPTION]: its output is in $t/out
expect() {
	local rc=0
	B=$t bench/quick.py --baseline "$t/baseline.json" ${3:-} >"$t/out" 2>&1 || rc=$?
	[ $rc = "$1" ] || { echo "FAIL: $2: exit status $rc"; cat "$t/out"; exit 1; }
}

costs 100 200
expect 0 "the first measurement on a machine is its baseline"
grep -q 'stored as the baseline' "$t/out"
expect 0 "the same again"
costs 104.9 209.9
expect 0 "5 % is not reached"
costs 105.1 190
expect 1 "one of the two lost more than 5 %"
grep -q 'slower by more than 5 %: segment ' "$t/out"
expect 1 "asked twice: a loss does not become the baseline by itself"
costs 50 100
expect 0 "faster"
expect 0 "and that is the baseline now" --store
costs 53 100
expect 1 "measured against the new one"
costs 500 1000 "libsodium packets"
expect 0 "what is counted otherwise has a baseline of its own"
python3 - "$t/baseline.json" <<'X'
import json, sys
known = json.load(open(sys.argv[1]))
assert len(known) == 2, known
assert sorted(v["segment"] for v in known.values()) == [50, 500], known
X
