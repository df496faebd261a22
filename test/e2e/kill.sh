#!/bin/bash
# SIGKILL at any moment while configuration, state and known_hosts are written: the old file or the new one, never less
. "$(dirname "$0")/lib.sh"
setup
CONF=$NEFIA_HOME/nefia.yaml
RANDOM=${SEED:-$(($(date +%s) % 32768))}
echo "SEED=$RANDOM"
nap() { local ms=$((RANDOM % $1)); sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"; } # up to so many ms

# A command that writes is killed on its way, from before its start to after its end.
killed_at() { # killed_at MS COMMAND...
	local p
	"${@:2}" >/dev/null 2>&1 </dev/null &
	p=$!
	nap "$1"
	kill -9 $p 2>/dev/null
	wait $p 2>/dev/null
}
began=$(now_ms)
nefia host add h0 --agent-config "$T/h0.yaml" >/dev/null || fail "host add"
span=$((($(now_ms) - began) * 3 / 2 + 3)) # some end before, some after
before=2
for i in $(seq 40); do
	killed_at $span "$NEFIA" host add "h$i" --agent-config "$T/h$i.yaml"
	nefia host list >"$T/list" 2>"$T/err" || fail "round $i: the configuration is broken: $(cat "$T/err")"
	hosts=$(grep -c '^ *- id:' "$CONF")
	[ "$hosts" = "$before" ] || [ "$hosts" = $((before + 1)) ] || fail "round $i: $before hosts became $hosts"
	# As many shall be killed before the end as after it, whether the machine has become slower or faster.
	if [ "$hosts" = "$before" ]; then
		span=$((span * 11 / 10 + 1))
	else
		span=$((span * 10 / 11 + 1))
		# a host in the list has its agent's configuration, whole: the peer's address is its last line
		tail -1 "$T/h$i.yaml" | grep -q 'vpn_addr: "10.99.0.1"' || fail "round $i: h$i.yaml is not whole"
	fi
	before=$hosts
done
echo "$((before - 2)) of 40 came through, killed within $span ms"
check "some came through" test "$before" -gt 2
check "and some did not" test "$before" -lt 42
for i in $(seq 20); do
	killed_at $span "$NEFIA" host rename web web2
	killed_at $span "$NEFIA" host rename web2 web
	nefia host list >"$T/list" 2>"$T/err" || fail "rename $i: the configuration is broken: $(cat "$T/err")"
	[ "$(grep -c '^ *- id: *web2\?$' "$CONF")" = 1 ] || fail "rename $i: $(cat "$CONF")"
	[ "$(grep -c '^ *- id:' "$CONF")" = "$before" ] || fail "rename $i: a host was lost"
done
! grep -q '^ *- id: *web2$' "$CONF" || nefia host rename web2 web || fail "rename"
# What was left behind holds keys: the next one that writes takes it away.
expect 0 "one more" nefia host add last --agent-config "$T/last.yaml"
check "no copies lie about: $(ls "$NEFIA_HOME")" equal "$(ls "$NEFIA_HOME" | grep -c '\.tmp\.')" 0

# init, killed: afterwards there is a whole configuration or none
for i in $(seq 12); do
	rm -rf "$T/fresh"
	killed_at $span env NEFIA_HOME="$T/fresh" "$NEFIA" init
	if [ -e "$T/fresh/nefia.yaml" ]; then
		NEFIA_HOME=$T/fresh nefia host list >/dev/null 2>"$T/err" || fail "init $i: $(cat "$T/err")"
	else
		NEFIA_HOME=$T/fresh nefia init >/dev/null 2>"$T/err" || fail "init $i, again: $(cat "$T/err")"
	fi
done

# Hub and agent, killed as they start, shake hands and accept a host key.
STATE=$NEFIA_HOME/hub-state.json
whole() { # whole FILE: a state file of its form, or none yet
	[ ! -e "$1" ] || { head -1 "$1" | grep -qx 'version 1' && tail -c 1 "$1" | od -An -c | grep -q '\\n'; }
}
for i in $(seq 6); do
	[ $((i % 3)) != 0 ] || rm -f "$NEFIA_HOME/known_hosts"
	"$NEFIA" hub >>"$T/hub.log" 2>&1 &
	HUB_PID=$!
	PIDS="$PIDS $HUB_PID"
	"$NEFIA" exec --target web --timeout 1s -- true >/dev/null 2>&1 </dev/null &
	c=$!
	nap 120
	stop_pid "$AGENT_PID" KILL
	nap 50
	stop_pid "$HUB_PID" KILL
	wait $c
	for f in "$STATE" "$T/web/agent-state"; do whole "$f" || fail "round $i: $f: $(cat "$f")"; done
	[ ! -s "$NEFIA_HOME/known_hosts" ] || ! awk 'NF != 3 { print }' "$NEFIA_HOME/known_hosts" | grep . ||
		fail "round $i: known_hosts"
	start_agent web
done
wait_until 8 test ! -S "$NEFIA_HOME/run/hub.sock" # a transient one that the command may have started
began=$(calm_ms)
expect 0 "after all that" nefia exec --target web -- true
check "it took $(($(calm_ms) - began)) ms" test $(($(calm_ms) - began)) -le 3000
check "the health report is whole" "$AGENT" status --config "$T/web/agent.yaml"
done_all
