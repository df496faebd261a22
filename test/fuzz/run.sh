#!/usr/bin/env bash
# run.sh BUILD SECONDS NAME... - run fuzz targets with libFuzzer, one after the other. What is new in coverage is kept in
# BUILD/corpus/NAME; an input that breaks a target is left in BUILD, and the line that replays it is printed.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
build=$1 seconds=$2 bad=0
shift 2
for name; do
	found=$build/corpus/$name log=$build/$name.log
	seeds=test/fuzz/corpus/$name dict=test/fuzz/$name.dict
	mkdir -p "$found"
	rm -f "$build/$name"-{crash,leak,timeout,oom}-*
	set -- -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1500 -print_final_stats=1 \
		-artifact_prefix="$build/$name-"
	[ -f "$dict" ] && set -- "$@" -dict="$dict"
	if "$build/bin/${name}_fuzz" "$@" "$found" "$seeds" >"$log" 2>&1; then
		printf '%-14s %9s runs  %5s edges  %4s inputs kept\n' "$name" \
			"$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
			"$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)" "$(find "$found" -type f | wc -l)"
		continue
	fi
	bad=1
	echo "$name FAILED"
	tail -n 40 "$log"
	for input in "$build/$name"-{crash,leak,timeout,oom}-*; do
		[ -e "$input" ] && echo "again: $build/bin/${name}_fuzz $input"
	done
done
exit $bad
