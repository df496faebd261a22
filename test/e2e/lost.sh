#!/bin/bash
# an agent that restarts: new commands are back in 3 s, those that ran are told of their loss, even when they are silent
. "$(dirname "$0")/lib.sh"
setup
start_hub
gone() { ! kill -0 "$1" 2>/dev/null; }
expect 0 "all is well at first" nefia exec --target web -- true
add_agent busy
start_agent busy
BUSY_PID=$AGENT_PID
expect 0 "busy too" nefia exec --target busy -- true

add_agent quiet
start_agent quiet
QUIET_PID=$AGENT_PID

# one that is silent, one that talks, one that transfers; and one that is silent on a connection of its own
start() { # start NAME COMMAND...
	rm -f "$T/$1.begun"
	"${@:2}" >"$T/$1.out" 2>"$T/$1.err" </dev/null &
	eval "$1=$!"
	PIDS="$PIDS $!"
}
start silent "$NEFIA" exec --target busy -- "touch $T/silent.begun; exec sleep 300"
start alone "$NEFIA" exec --target quiet -- "touch $T/alone.begun; exec sleep 300"
start talker "$NEFIA" exec --target busy -- "touch $T/talker.begun; while sleep 0.05; do echo x; done"
wait_until 10 test -e "$T/silent.begun" -a -e "$T/talker.begun" -a -e "$T/alone.begun" || fail "they do not start"
head -c 300000000 /dev/zero >"$T/zeros"
start mover "$NEFIA" fs get "busy:$T/zeros" "$T/copy"
hold_when "$BUSY_PID" 10 sh -c "ls '$T' | grep -q '^copy.*part$'" || fail "the transfer does not start"
stop_pid "$QUIET_PID" KILL
start_agent quiet
stop_pid "$BUSY_PID" KILL
killed=$(calm_ms)
start_agent busy
expect 0 "a new command" nefia exec --target busy -- echo back
check "its output" equal "$OUT" back
check "after $(($(calm_ms) - killed)) ms" test $(($(calm_ms) - killed)) -le 3000
for c in talker mover silent alone; do
	wait_until 20 gone "${!c}" || fail "$c hangs"
	wait "${!c}"
	status=$?
	check "$c fails, with $status" test $status -ne 0
	check "$c says why: $(cat "$T/$c.err")" contains "$(cat "$T/$c.err")" "Error: [E1036]"
	echo "$c ended $(($(calm_ms) - killed)) ms after its agent was killed"
done
check "no half file stays" test ! -e "$T/copy"
check "nor a part" equal "$(ls "$T" | grep -c 'part$')" 0
expect 0 "the other host was not touched" nefia exec --target web -- true

# the hub restarts while a command of the old one ran: the agent has its place back before long
stop_pid "$HUB_PID" KILL
killed=$(calm_ms)
start_hub
expect 0 "with the new hub" nefia exec --target web -- true
check "after $(($(calm_ms) - killed)) ms" test $(($(calm_ms) - killed)) -le 3000
done_all
