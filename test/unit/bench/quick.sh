#!/usr/bin/env bash
# quick.sh - what `make bench-quick` says of a change: a loss of more than 5 % is told and ends with status 1, nothing else does.
# bench/quick stands aside here, and so does the build of the baseline's commit; other programs print the costs that are wanted.
set -euo pipefail
cd "$(dirname "$0")/../../.."
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
# program WHERE COSTS: prints what stands in that file
program() {
	mkdir -p "$(dirname "$1")"
	printf '#!/bin/sh\ncat "%s"\n' "$2" >"$1"
	chmod +x "$1"
}
program "$t/bench/quick" "$t/costs"

# costs SEGMENT CONNECTION [UNIT]
costs() { echo "{\"unit\":\"${3:-instructions}\",\"segment\":$1,\"connection\":$2}" >"$t/costs"; }
# expect STATUS WHAT [OPTION]: its output is in $t/out
expect() {
	local rc=0
	B=$t GIT_DIR=$t/none bench/quick.py --baseline "$t/baseline.json" ${3:-} >"$t/out" 2>&1 || rc=$?
	[ $rc = "$1" ] || { echo "FAIL: $2: exit status $rc"; cat "$t/out"; exit 1; }
}

# Where there is no git, figures alone are stored and compared.
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

# With a commit it is that commit's program that counts, run here, not the figures from elsewhere.
costs 100 200
commit=0123456789012345678901234567890123456789
python3 - "$t/baseline.json" $commit <<'X'
import json, sys
known = json.load(open(sys.argv[1]))
for v in known.values():
    v.update(commit=sys.argv[2], segment=90, connection=180)
json.dump(known, open(sys.argv[1], "w"))
X
expect 1 "a commit that is not to be had: its figures stand in for it"
grep -q 'cannot be built here' "$t/out"
echo '{"unit":"instructions","segment":99,"connection":199}' >"$t/costs-then"
program "$t/baseline/$commit/build/bench/quick" "$t/costs-then"
expect 0 "as fast as that commit on this machine, whatever it cost elsewhere"
costs 105 200
expect 1 "slower than that commit"
grep -q 'slower by more than 5 %: segment ' "$t/out"
