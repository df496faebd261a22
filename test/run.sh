#!/usr/bin/env bash
# run.sh B [long] - run every suite in turn; the last line is "N passed, M failed, K skipped".
# A script or program ends with 0 (passed), 77 (skipped; its last line is the reason) or anything else (failed).
# cmocka programs count every test in them.
set -uo pipefail
cd "$(dirname "$0")/.."
B=${1:-build} long=${2:-}
export B BUILD=$PWD/$B PATH=$PATH:/usr/sbin:/sbin
LIMIT=${TEST_TIMEOUT:-120}
passed=0 failed=0 skipped=0
logs=$B/test/log
rm -rf "$logs"
mkdir -p "$logs"

# one COMMAND...: run it with the time limit and count its outcome
one() {
	local name=${ONE_NAME:-$1} log rc n
	log=$logs/${name//\//_}.log
	timeout -k 5 "$LIMIT" "$@" >"$log" 2>&1 </dev/null
	rc=$?
	n=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | paste -sd+ | bc_)
	case $rc in
	0)
		passed=$((passed + (n > 0 ? n : 1)))
		;;
	77)
		skipped=$((skipped + 1))
		echo "  skip  $name: $(tail -n 1 "$log")"
		;;
	*)
		bad=$(grep -c '^\[  FAILED  \] [^0-9]' "$log")
		bad=$((bad / 2))
		passed=$((passed + n))
		failed=$((failed + (bad > 0 ? bad : 1)))
		[ $rc = 124 ] && echo "  (time limit of $LIMIT s)"
		echo "  FAIL  $name (exit status $rc)"
		grep -m 3 "^FAIL " "$log" | sed "s,^,        ,"
		tail -n 60 "$log" | sed 's/^/        /'
		;;
	esac
}

# sum of "a+b+c"; nothing is 0
bc_() { local e; e=$(cat); echo $((${e:-0})); }

# suite_of NAME RUNNER FILE...: count and time what RUNNER does with the files
suite_of() {
	local name=$1 runner=$2 t0=$SECONDS p0=$passed f0=$failed s0=$skipped
	shift 2
	"$runner" "$@"
	if [ $((passed - p0 + failed - f0 + skipped - s0)) -gt 0 ]; then
		printf '%-12s %4d passed %3d failed %3d skipped  %3d s\n' "$name" \
			$((passed - p0)) $((failed - f0)) $((skipped - s0)) $((SECONDS - t0))
	fi
}

# A test that cannot be run counts as failed, not as absent.
each() { local t; for t; do [ -f "$t" ] && one "$t"; done; }
suite() { local name=$1; shift; suite_of "$name" each "$@"; }

programs() { local f; for f; do case $f in *.d | *.o) ;; *) printf '%s\n' "$f" ;; esac; done; }

shopt -s nullglob
mapfile -t units < <(programs "$B"/test/unit/*/*_test)
suite unit "${units[@]}"
suite unit-sh test/unit/*/*.sh
mapfile -t replays < <(programs "$B"/fuzz-replay/*_fuzz)
suite fuzz-replay "${replays[@]}"
suite sim "$B"/test/sim
suite interop test/interop/*.sh
# lib.sh is sourced, run.sh and drop.sh are for calling by hand or from the others
mapfile -t e2e < <(printf '%s\n' test/e2e/*.sh | grep -vE '/(lib|run|drop)\.sh$')
# as an ordinary user without capabilities, whoever we are
dropped() { local t; for t; do ONE_NAME=$t one test/e2e/drop.sh "$PWD/$t"; done; }
suite_of e2e dropped "${e2e[@]}"
suite lint test/lint.sh test/manual.sh test/clang.sh
# minutes each; SIM_MINUTES and the like say how many
[ -n "$long" ] && LIMIT=${TEST_TIMEOUT_LONG:-7200} suite long test/long/*.sh
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
