#!/bin/bash
# SIGTERM of the agent: what runs may end, nothing new begins, a second signal ends it at once; with DRAIN_LONG the full
# 30 s, and a host that is gone for good
. "$(dirname "$0")/lib.sh"
setup
start_hub
gone() { ! kill -0 "$1" 2>/dev/null; }
log_says() { grep -q "$1" "$T/agent-web.log"; }
stuck() { # a command that never ends
	rm -f "$T/begun"
	"$NEFIA" exec --target web -- "touch $T/begun; exec sleep 300" >"$T/out" 2>"$T/err" </dev/null &
	CMD=$!
	PIDS="$PIDS $CMD"
	wait_until 10 test -e "$T/begun" || fail "the command does not start: $(cat "$T/err")"
}
cut() { # cut SECONDS: it is told of its end
	wait_until "$1" gone "$CMD" || fail "the command hangs"
	wait "$CMD"
	check "its status" equal $? 255
	check "in words: $(cat "$T/err")" contains "$(cat "$T/err")" "Error: [E1036]"
}

# Connections that the hub keeps for the next command do not count, however many; neither does a command's length.
expect 0 "a kept connection" nefia exec --target web -- true
begin=$(calm_ms)
stop_pid "$AGENT_PID"
took=$(($(calm_ms) - begin))
check "a kept connection keeps nobody waiting ($took ms)" test $took -lt 1500
start_agent web
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do "$NEFIA" exec --target web -- sleep 1 & E="${E:-} $!"; done
wait $E
check "more than one connection is kept" test "$(grep -c 'Accepted publickey' "$T/sshd.log")" -ge 3
"$NEFIA" exec --target web -- "touch $T/begun; until [ -e $T/go ]; do sleep 0.05; done; echo whole" >"$T/out" 2>"$T/err" </dev/null &
CMD=$!
wait_until 10 test -e "$T/begun" || fail "the command does not start"
kill "$AGENT_PID"
check "it waits" wait_until 2 log_says "waiting up to 30 s"
sleep 1
check "and goes on waiting" kill -0 "$AGENT_PID"
begin=$(calm_ms)
touch "$T/go"
wait "$AGENT_PID"
took=$(($(calm_ms) - begin))
wait "$CMD"
check "what runs may end" equal "$? $(cat "$T/out")" "0 whole"
check "and the agent with it ($took ms)" test $took -lt 2500
rm -f "$T/begun"
: >"$T/agent-web.log"
start_agent web

stuck
kill -TERM "$AGENT_PID"
check "it waits" wait_until 2 log_says "waiting up to 30 s"
begin=$(now_ms) calm=$(calm_ms)
expect 1 "nothing new begins" nefia nc web 22
check "refused at once" test $(($(calm_ms) - calm)) -lt 1000
if [ -n "${DRAIN_LONG:-}" ]; then
	wait_until 35 gone "$AGENT_PID" || fail "the agent does not end"
	took=$(($(now_ms) - begin)) calm=$(($(calm_ms) - calm))
	check "after $took ms" test $took -ge 29000 -a $calm -le 31500
else
	kill -TERM "$AGENT_PID"
	check "a second signal" wait_until 2 gone "$AGENT_PID"
fi
wait "$AGENT_PID"
check "the agent ends in order" equal $? 0
cut 3

start_agent web
expect 0 "the next one" nefia exec --target web -- true
[ -n "${DRAIN_LONG:-}" ] || done_all
stuck
begin=$(now_ms)
stop_pid "$AGENT_PID" KILL
cut 50
echo "a silent command ended $(($(now_ms) - begin)) ms after its host was gone for good"
done_all
