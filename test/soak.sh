#!/usr/bin/env bash
# soak.sh [-n TIMES] [-l LOAD] [-b B] [FILE...] - the suites, or these files of them, again and again on a machine that is
# made slow: a test must not fail because it had to wait. Prints what failed, how often, and where its log is.
#
#   LOAD  one    one processor for everything
#         busy   the same, shared with two programs that never rest (two thirds of the time are gone)
#         quota  60 % of one processor, in slices of 100 ms (a cgroup of version 1; root)
#         disk   a program that writes and syncs all the time beside them
# soak.sh -l busy -n 5 test/e2e/exec.sh
set -uo pipefail
cd "$(dirname "$0")/.."
times=1 load=one B=${B:-build}
while getopts n:l:b: o; do
	case $o in n) times=$OPTARG ;; l) load=$OPTARG ;; b) B=$OPTARG ;; *) exit 2 ;; esac
done
shift $((OPTIND - 1))
out=$B/test/soak
mkdir -p "$out"
pids=() group=
finish() {
	[ ${#pids[@]} = 0 ] || kill -9 "${pids[@]}" 2>/dev/null
	rm -f "$out/filler"
	[ -z "$group" ] || { cat "$group/cgroup.procs" | while read -r p; do echo "$p" >"${group%/*}/cgroup.procs"; done; rmdir "$group"; } 2>/dev/null
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
one_processor() { taskset -cp 0 $$ >/dev/null; }
case $load in
one) one_processor ;;
busy)
	one_processor
	for _ in 1 2; do
		(while :; do :; done) &
		pids+=($!)
	done
	;;
quota)
	group=/sys/fs/cgroup/cpu/nefia-soak-$$
	mkdir "$group" || exit 1
	echo 100000 >"$group/cpu.cfs_period_us"
	echo 60000 >"$group/cpu.cfs_quota_us"
	echo $$ >"$group/cgroup.procs"
	;;
disk)
	(while :; do dd if=/dev/zero of="$out/filler" bs=1M count=64 conv=fsync 2>/dev/null; done) &
	pids+=($!)
	;;
*) echo "soak.sh: no such load: $load" >&2; exit 2 ;;
esac

declare -A bad=()
for ((n = 1; n <= times; n++)); do
	TEST_ONLY="$*" TEST_LOGS=$out/log TEST_TIMEOUT=${TEST_TIMEOUT:-600} test/run.sh "$B" >"$out/run" 2>&1
	while read -r name; do
		bad[$name]=$((${bad[$name]:-0} + 1))
		log=$out/$(basename "$name").$load.$n.log
		cp "$out/log/${name//\//_}.log" "$log"
		echo "run $n: $name: $(grep -m 1 -aE 'FAIL |\[  FAILED' "$log") ($log)"
	done < <(sed -n 's/^  FAIL  \([^ ]*\) .*/\1/p' "$out/run")
	echo "run $n, $load: $(tail -n 1 "$out/run")"
done
for name in "${!bad[@]}"; do echo "$name: ${bad[$name]} of $times"; done
[ ${#bad[@]} = 0 ]
