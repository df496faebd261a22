#!/bin/bash
# the programs on lwIP's TCP as shipped (make stock), a baseline of the benchmark: by themselves, and with an agent of ours
OURS_BUILD=${BUILD:-$(dirname "$0")/../../build}
BUILD=$OURS_BUILD/stock
export BUILD
. "$(dirname "$0")/lib.sh"
setup
start_hub
head -c 1500000 /dev/urandom >"$T/file"

# both_ways WHO: a command, 1.5 MB there and back, an exit status
both_ways() {
	expect 0 "$1: a command" nefia exec --target web -- echo through
	check "$1: its output" equal "$OUT" through
	nefia exec --target web -- cat <"$T/file" >"$T/back" || fail "$1: 1.5 MB there and back"
	check "$1: whole" cmp "$T/file" "$T/back"
	expect 7 "$1: an exit status" nefia exec --target web -- exit 7
}
both_ways "stock and stock"
stop_pid "$AGENT_PID"
AGENT=$OURS_BUILD/nefia-agent
start_agent web
both_ways "stock and ours"
done_all
