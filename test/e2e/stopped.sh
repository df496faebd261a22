#!/bin/bash
# each program in turn stands still for a moment, again and again, while bytes are on their way: all come, in order. And a hub
# that may have few descriptors: what it cannot serve it refuses in words
. "$(dirname "$0")/lib.sh"
setup
start_hub
head -c 24000000 /dev/urandom >"$T/src"
expect 0 "all is well at first" nefia exec --target web -- true

# stop_and_go PID... : while $JOB runs
stop_and_go() {
	n_stops=0
	while kill -0 "$JOB" 2>/dev/null; do
		kill -STOP "$@" 2>/dev/null
		sleep 0.12
		kill -CONT "$@" 2>/dev/null
		sleep 0.02
		n_stops=$((n_stops + 1))
		[ $n_stops -lt 300 ] || fail "$what: it does not end"
	done
}
hub_children() { ps -o pid= --ppid "$HUB_PID"; }
ssh_sessions() { for p in $(pgrep -P "$SSHD_PID"); do echo "$p"; pgrep -P "$p"; done; }
command_itself() { echo "$JOB"; }
hub_itself() { echo "$HUB_PID"; }
agent_itself() { echo "$AGENT_PID"; }
# arrives_all_the_same WHAT RESULT: the job that was just begun, while $who is stopped again and again
arrives_all_the_same() {
	local what="$1, standing still: $who" rc
	stop_and_go $($who)
	wait $JOB
	rc=$? # before anything else is run
	check "$what: its status: $(cat "$T/err")" equal $rc 0
	check "$what: every byte" cmp "$T/src" "$2"
	check "$what: it was on its way" test $n_stops -ge 2
	stops="${stops:-} $n_stops"
}
for who in command_itself hub_itself hub_children agent_itself ssh_sessions; do
	"$NEFIA" exec --target web -- cat <"$T/src" >"$T/back" 2>"$T/err" &
	JOB=$!
	arrives_all_the_same exec "$T/back"
	rm -f "$T/far"
	"$NEFIA" fs put "$T/src" "web:$T/far" >"$T/out" 2>"$T/err" &
	JOB=$!
	arrives_all_the_same "fs put" "$T/far"
done
echo "stopped so often:$stops"

# For longer than TCP's first timeouts, in the middle of it.
for who in hub_itself agent_itself; do
	"$NEFIA" exec --target web -- 'cat; sleep 0.2' <"$T/src" >"$T/back" 2>"$T/err" &
	JOB=$!
	what="three seconds: $who"
	check "it has begun" wait_until 10 test -s "$T/back"
	kill -STOP $($who)
	sleep 3
	kill -CONT $($who)
	began=$(calm_ms)
	wait $JOB
	rc=$? # before anything else is run
	check "$what: its status: $(cat "$T/err")" equal $rc 0
	check "$what: every byte" cmp "$T/src" "$T/back"
	check "$what: it goes on at once, not after $(($(calm_ms) - began)) ms" test $(($(calm_ms) - began)) -le 6000
done

# A hub with few descriptors.
"$NEFIA" hub stop >/dev/null || fail "hub stop"
wait "$HUB_PID"
(ulimit -n 40 && exec "$NEFIA" hub) >>"$T/hub.log" 2>&1 &
HUB_PID=$!
PIDS="$PIDS $HUB_PID"
check "a hub with 40 descriptors starts" wait_until 5 test -S "$NEFIA_HOME/run/hub.sock"
expect 0 "it serves one" nefia exec --target web -- true
go=$T/go
for i in $(seq 40); do
	"$NEFIA" exec --target web -- "n=0; while [ ! -e '$go' ] && [ \$n -lt 100 ]; do sleep 0.1; n=\$((n+1)); done; echo $i" >"$T/few.$i" 2>"$T/few.$i.err" </dev/null &
	few[i]=$!
done
sleep 1
ticks() { awk '{ print $14 + $15 }' "/proc/$HUB_PID/stat"; }
before=$(ticks)
sleep 1
check "it does not spin" test $(($(ticks) - before)) -le 40
touch "$go"
served=0 refused=0
for i in $(seq 40); do
	if wait "${few[i]}"; then
		check "command $i: its output" equal "$(cat "$T/few.$i")" "$i"
		served=$((served + 1))
	else
		check "command $i: in words" contains "$(cat "$T/few.$i.err")" "Error: [E"
		refused=$((refused + 1))
	fi
done
echo "with 40 descriptors: $served served, $refused refused"
check "some are served" test $served -ge 1
check "the hub is there" kill -0 "$HUB_PID"
expect 0 "and serves again" nefia exec --target web -- true
done_all
