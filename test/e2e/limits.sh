#!/bin/bash
# connection 101 to an agent, 64 commands at one hub and one more, commands and hubs that all start at once
. "$(dirname "$0")/lib.sh"
setup
sed -i 's/^MaxStartups.*/MaxStartups 300/' "$T/sshd/config"
stop_sshd
start_sshd
start_hub

# 100 connections stand, number 101 is refused at once, and a place that is free again is given away again
port=$(free_port)
"$NEFIA" forward web "$port" --raw >"$T/forward.out" 2>&1 &
FORWARD=$!
PIDS="$PIDS $FORWARD"
wait_until 10 grep -q "^Forwarding" "$T/forward.out" || fail "the forward does not listen: $(cat "$T/forward.out")"
declare -a fds
for i in $(seq 100); do
	exec {fd}<>"/dev/tcp/127.0.0.1/$port" || fail "connection $i"
	fds[i]=$fd
done
for i in $(seq 100); do
	read -r -t 30 -u "${fds[i]}" banner || fail "connection $i says nothing"
	case $banner in SSH-2.0-*) ;; *) fail "connection $i: $banner" ;; esac
done
begin=$(calm_ms)
expect 1 "connection 101" nefia nc web 22
check "refused after $(($(calm_ms) - begin)) ms" test $(($(calm_ms) - begin)) -lt 1000
check "in words" contains "$ERR" "refused"
fd=${fds[7]}
exec {fd}>&-
admitted() { nefia nc web 22 </dev/null 2>/dev/null | grep -q SSH-; }
check "a place that is free again" wait_until 5 admitted
echo SSH-2.0-e2e >&"${fds[8]}" || fail "the others do not stand"
for i in $(seq 100); do
	fd=${fds[i]}
	[ "$i" = 7 ] || exec {fd}>&-
done
check "all places are free again" wait_until 5 admitted
kill -INT "$FORWARD"
wait "$FORWARD"

# 64 commands at one hub, at the same time; the 65th is told why it is not served
go=$T/go
for i in $(seq 64); do
	"$NEFIA" exec --target web -- "n=0; while [ ! -e '$go' ] && [ \$n -lt 300 ]; do sleep 0.2; n=\$((n+1)); done; echo $i" >"$T/par.$i" 2>"$T/par.$i.err" </dev/null &
	eval "p$i=$!"
done
sessions() { [ "$(pgrep -u "$(id -u)" -f "$go" -c)" -ge "$1" ]; }
wait_until 40 sessions 128 || fail "not all commands run: $(pgrep -u "$(id -u)" -f "$go" -c)"
expect 255 "one more command" nefia exec --target web -- true
check "in words: $ERR" contains "$ERR" "64"
touch "$go"
for i in $(seq 64); do
	eval "wait \$p$i" || fail "command $i: $(cat "$T/par.$i.err")"
	[ "$(cat "$T/par.$i")" = "$i" ] || fail "command $i said $(cat "$T/par.$i")"
done
check "then there is room again" nefia exec --target web -- true

# An agent without descriptors refuses, and neither spins nor forgets itself.
stop_pid "$AGENT_PID" KILL # it would wait 30 s for the connection that the hub keeps
(ulimit -n 24 && exec "$AGENT" run --config "$T/web/agent.yaml") >>"$T/agent-web.log" 2>&1 &
AGENT_PID=$!
PIDS="$PIDS $AGENT_PID"
wait_until 5 udp_bound "$AGENT_PORT_web" || fail "an agent with 24 descriptors does not start"
"$NEFIA" forward web "$port" --raw >"$T/forward2.out" 2>&1 &
FORWARD=$!
PIDS="$PIDS $FORWARD"
wait_until 10 grep -q "^Forwarding" "$T/forward2.out" || fail "the forward does not listen: $(cat "$T/forward2.out")"
n_served=0 n_refused=0
for i in $(seq 30); do
	exec {fd}<>"/dev/tcp/127.0.0.1/$port" || fail "connection $i"
	fds[i]=$fd
done
for i in $(seq 30); do
	if read -r -t 30 -u "${fds[i]}" banner 2>/dev/null; then
		n_served=$((n_served + 1))
	else
		n_refused=$((n_refused + 1))
	fi
done
check "some are served: $n_served" test $n_served -ge 3
check "the others are refused: $n_refused" test $n_refused -ge 5
ticks() { awk '{ print $14 + $15 }' "/proc/$AGENT_PID/stat"; }
before=$(ticks)
sleep 1
check "it does not spin" test $(($(ticks) - before)) -le 30
for i in $(seq 30); do
	fd=${fds[i]}
	exec {fd}>&-
done
check "all is well again" wait_until 5 admitted
kill -INT "$FORWARD"
wait "$FORWARD"
nefia hub stop >/dev/null || fail "hub stop"
rm -f "$NEFIA_HOME/hub.log"

# No hub: commands that all come at once, over and over, and hubs among them. One key, one process at a time.
for round in 1 2 3; do
	ps=""
	for i in 1 2 3 4 5 6 7 8; do
		"$NEFIA" exec --target web -- "echo $i" >"$T/all.$i" 2>"$T/all.$i.err" </dev/null &
		ps="$ps $!"
	done
	"$NEFIA" vpn status --ping >"$T/all.ping" 2>"$T/all.ping.err" </dev/null &
	ps="$ps $!"
	for p in $ps; do wait "$p" || fail "a command of round $round failed: $(cat "$T"/all.*.err)"; done
	for i in 1 2 3 4 5 6 7 8; do [ "$(cat "$T/all.$i")" = "$i" ] || fail "round $round: $i said $(cat "$T/all.$i")"; done
	[ $round = 2 ] || wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock"
done
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock" || fail "a hub stayed"
order=$(sed -n 's/.*info hub \(started\|ended\).*/\1/p' "$NEFIA_HOME/hub.log" | uniq -c | awk '$1 != 1 { print }')
check "no two hubs at the same time" equal "$order" ""
check "and few of them" test "$(grep -c 'hub started' "$NEFIA_HOME/hub.log")" -le 4
done_all
