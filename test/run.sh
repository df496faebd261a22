#!/usr/bin/env bash
# run.sh B [long] - run every suite in turn; the last line is "N passed, M failed, K skipped".
# A script or program ends with 0 (passed), 77 (skipped; its last line is the reason) or anything else (failed).
# cmocka programs count every test in them, skipped ones too. TEST_SUITES="e2e interop", TEST_ONLY="test/e2e/exec.sh": these alone.
set -uo pipefail
cd "$(dirname "$0")/.."
B=${1:-build} long=${2:-}
export B BUILD=$PWD/$B PATH=$PATH:/usr/sbin:/sbin
LIMIT=${TEST_TIMEOUT:-240} # only so that nothing hangs for ever
passed=0 failed=0 skipped=0
logs=${TEST_LOGS:-$B/test/log}
broken=()
rm -rf "$logs"
mkdir -p "$logs"

# A script or program that must have the machine for itself says so, and why, in a line of its source: "alone: why".
# The others go as many at a time as there are processors: most of them wait for something most of the time. (One more saved a
# fifth of the time, and found races of tests.) Not more than free_port() has parts of its range for.
WIDTH=$(nproc)
WIDTH=${TEST_WIDTH:-$((WIDTH > 4 ? 4 : WIDTH))}
is_alone() {
	local source=${1#"$B/"}
	[ -f "$source" ] || source=$source.c
	grep -qE '^(#|//| \*|/\*) alone: ' "$source" 2>/dev/null
}

# start COMMAND...: run it with the time limit; what came of it is in the log, its status and its time beside
start() {
	local log=$logs/${ONE_NAME//\//_}.log t0=${EPOCHREALTIME/[.,]/} rc
	timeout -k 5 "$LIMIT" "$@" >"$log" 2>&1 </dev/null
	rc=$?
	echo "$rc $(((${EPOCHREALTIME/[.,]/} - t0) / 100000))" >"$log.end"
}

# count NAME: how it ended
count() {
	local name=$1 log=$logs/${1//\//_}.log rc tenths n
	read -r rc tenths <"$log.end"
	rm "$log.end"
	printf '%d.%d s  %s\n' $((tenths / 10)) $((tenths % 10)) "$name" >>"$logs/times"
	n=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | paste -sd+ | bc_)
	case $rc in
	0)
		tell_skipped "$name" "$log"
		passed=$((passed + (n + n_skipped > 0 ? n : 1)))
		skipped=$((skipped + n_skipped))
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
		[ "$rc" = 124 ] && echo "  (time limit of $LIMIT s)"
		echo "  FAIL  $name (exit status $rc)"
		excerpt "$log" | sed 's/^/        /'
		# once more at the end, with what was said right before, for who sees only that
		broken+=("$name: $({ grep -m 1 -B 3 -aE "$FAILURE" "$log" || tail -n 3 "$log"; } | cut -c 1-300 | paste -sd '|' | sed 's/|/ | /g')")
		;;
	esac
}

# tell_skipped NAME LOG: which tests of a cmocka program were skipped, with what the test said last; their number is n_skipped
tell_skipped() {
	local test why
	n_skipped=0
	while IFS=$'\t' read -r test why; do
		n_skipped=$((n_skipped + 1))
		echo "  skip  $1: $test: ${why:-see its source}"
	done < <(awk '/^\[=+\] Running / { on = 1 } /^\[=+\] .* run\.$/ { on = 0 }
		on && /^\[  SKIPPED \] / { print $4 "\t" said } { said = /^\[/ ? "" : $0 }' "$2")
}

# excerpt LOG: what was said before each failure in it and after, 150 lines at most; without one, its end
FAILURE='^FAIL |^\[  FAILED  \] [a-z]|ERROR: [A-Z][a-z]+Sanitizer|runtime error: |^FAIL:'
excerpt() {
	if grep -qaE "$FAILURE" "$1"; then
		grep -aE -B 25 -A 90 "$FAILURE" "$1" | head -n 150
	else
		tail -n 60 "$1"
	fi | cut -c 1-500
}

# sum of "a+b+c"; nothing is 0
bc_() { local e; e=$(cat); echo $((${e:-0})); }

# at_once N RUNNER FILE...: N of them at a time. They are jobs, or bash would have them ignore Ctrl-C for good.
declare -A running=() lanes=()
set -m
trap 'for pid in "${!running[@]}"; do pkill -P "$pid"; done; exit 130' INT TERM HUP
ended() {
	local pid
	wait -n -p pid "${!running[@]}"
	count "${running[$pid]}"
	unset "running[$pid]" "lanes[$pid]"
}
# a number that no other of them has, so that they can keep apart what a machine has once: ports
free_lane() { local n=0; while [[ " ${lanes[*]} " == *" $n "* ]]; do n=$((n + 1)); done; echo $n; }
at_once() {
	local width=$1 runner=$2 t lane
	shift 2
	for t; do
		[ ${#running[@]} -lt "$width" ] || ended
		lane=$(free_lane)
		ONE_NAME=$t TEST_LANE=$lane "$runner" "$t" &
		running[$!]=$t lanes[$!]=$lane
	done
	while [ ${#running[@]} -gt 0 ]; do ended; done
}

# suite_of NAME RUNNER FILE...: count and time what RUNNER does with the files. One that cannot be run counts as failed.
suite_of() {
	local name=$1 runner=$2 t0=$SECONDS p0=$passed f0=$failed s0=$skipped t
	local -a shared=() alone=()
	shift 2
	[[ " ${TEST_SUITES:-$name} " == *" $name "* ]] || return 0
	for t; do
		[ -f "$t" ] && [[ " ${TEST_ONLY:-$t} " == *" $t "* ]] || continue
		if is_alone "$t"; then alone+=("$t"); else shared+=("$t"); fi
	done
	at_once "$WIDTH" "$runner" "${shared[@]}"
	at_once 1 "$runner" "${alone[@]}"
	if [ $((passed - p0 + failed - f0 + skipped - s0)) -gt 0 ]; then
		printf '%-12s %4d passed %3d failed %3d skipped  %3d s\n' "$name" \
			$((passed - p0)) $((failed - f0)) $((skipped - s0)) $((SECONDS - t0))
	fi
}
suite() { local name=$1; shift; suite_of "$name" start "$@"; }

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
dropped() { start test/e2e/drop.sh "$PWD/$1"; }
suite_of e2e dropped "${e2e[@]}"
suite lint test/lint.sh test/doc.sh test/manual.sh test/clang.sh
# minutes each; SIM_MINUTES and the like say how many
[ -n "$long" ] && WIDTH=1 LIMIT=${TEST_TIMEOUT_LONG:-7200} suite long test/long/*.sh
echo "slowest: $(sort -rn "$logs/times" | head -n 5 | sed 's/  */ /g' | paste -sd, | sed 's/,/, /g')"
for what in "${broken[@]}"; do echo "failed: $what"; done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
