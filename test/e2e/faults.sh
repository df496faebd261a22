#!/bin/bash
# what goes wrong: each a clear error in bounded time, or a recovery
. "$(dirname "$0")/lib.sh"
setup
start_hub
expect 0 "all is well at first" nefia exec --target web -- true

# a second hub
expect 1 "a second hub is refused" "$NEFIA" hub
check "it names the first" contains "$ERR" "a hub is already running (pid $HUB_PID)"

# the port is in use
mkdir "$T/second"
cp "$NEFIA_HOME/nefia.yaml" "$T/second/nefia.yaml"
expect 1 "port in use" env NEFIA_HOME="$T/second" "$NEFIA" hub
check "E1004" contains "$ERR" "Error: [E1004] VPN setup failed"
check "its hint" contains "$ERR" "Try: Check that no other VPN or WireGuard instance is using the same listen port (default: 51820)."

# sshd is missing
stop_sshd
restart_hub
begin=$(calm_ms)
expect 255 "no sshd" nefia exec --target web -- true
check "refused at once" test $(($(calm_ms) - begin)) -lt 1500
check "in words" contains "$ERR" "Error: [E1032]"
start_sshd
expect 0 "sshd is back" nefia exec --target web -- true

# kill -9 of the worker and of the process that workers come from, while a command is on its way to the hub: whichever death the hub
# hears of first, the command finds another worker, and is run once. The hub stands still meanwhile, so that all of it is there at once.
children() { ps -o pid= --ppid "$HUB_PID"; }
command_waits() { [ "$(ss -xlH src "$NEFIA_HOME/run/hub.sock" | awk '{ print $3 }')" -gt 0 ]; }
for order in "" -r; do
	: >"$T/ran"
	kill -STOP "$HUB_PID"
	nefia exec --target web -- "echo once >>$T/ran" >"$T/out" 2>"$T/err" </dev/null &
	EXEC_PID=$!
	check "the command is on its way" wait_until 5 command_waits
	check "there are two to kill" equal "$(children | wc -l)" 2
	for p in $(children | sort -n $order); do kill -9 "$p"; done
	kill -CONT "$HUB_PID"
	wait "$EXEC_PID"
	rc=$? # before anything else is run
	check "it finds another worker: $(cat "$T/err")" equal $rc 0
	check "and was run once" equal "$(cat "$T/ran")" once
done

# the same with the worker dead for good, and the other while the next is to be born
for w in $(children | sort -n | tail -1); do kill -9 "$w"; done
check "the death is noticed" wait_until 5 grep -q "ssh worker ended host=web reason=killed by signal 9" "$T/hub.log"
NURSERY=$(children)
kill -STOP "$NURSERY"
nefia exec --target web -- true >"$T/out" 2>"$T/err" </dev/null &
EXEC_PID=$!
sleep 0.2
kill -9 "$NURSERY"
wait "$EXEC_PID"
rc=$? # before anything else is run
check "a birth that failed is tried again: $(cat "$T/err")" equal $rc 0

# kill -9 of the worker during its login, which stands still before sshd's first word: the host was asked for nothing yet
youngest() { children | sort -n | tail -1; }
reached_sshd() { [ -n "$(ss -tnH state established dport = ":$SSH_PORT")" ]; }
restart_hub
: >"$T/ran"
kill -STOP "$SSHD_PID"
nefia exec --target web -- "echo once >>$T/ran" >"$T/out" 2>"$T/err" </dev/null &
EXEC_PID=$!
check "it logs in" wait_until 5 reached_sshd
kill -9 "$(youngest)"
kill -CONT "$SSHD_PID"
wait "$EXEC_PID"
rc=$? # before anything else is run
check "the next worker does it: $(cat "$T/err")" equal $rc 0
check "once" equal "$(cat "$T/ran")" once

# the same at any moment, up to a command that runs: done once, or told that it may have been
n_given_again=0
times="0 20 40 60 80 100 120 140 160 200"
for ms in $times; do
	nefia exec --target web -- "echo once >>$T/ran.$ms" >"$T/out" 2>"$T/err" </dev/null &
	EXEC_PID=$!
	sleep "$(printf '0.%03d' $ms)"
	kill -9 "$(youngest)"
	wait "$EXEC_PID"
	status=$?
	if [ $status = 0 ]; then
		check "after $ms ms: done" equal "$(cat "$T/ran.$ms")" once
		n_given_again=$((n_given_again + 1))
	else
		check "after $ms ms: $(cat "$T/err")" contains "$(cat "$T/err")" "what was begun may have been done"
	fi
done
check "most are not noticed" test $n_given_again -ge 5

# a command that began is not run again
: >"$T/ran"
nefia exec --target web -- "echo once >>$T/ran; sleep 5" >"$T/out" 2>"$T/err" </dev/null &
EXEC_PID=$!
check "it began" wait_until 5 test -s "$T/ran"
for p in $(children); do kill -9 "$p"; done
wait "$EXEC_PID"
check "its worker is missed" equal $? 255
check "in words" contains "$(cat "$T/err")" "Error: [E1037]"
check "nor is it said that it was not" contains "$(cat "$T/err")" "what was begun may have been done"
check "and it was run once" equal "$(cat "$T/ran")" once

# Nor was any of those above: what was begun when its worker died has had its time by now.
for ms in $times; do
	check "after $ms ms: no more than once" test "$(cat "$T/ran.$ms" 2>/dev/null | wc -l)" -le 1
done

# kill -9 of the hub
kill -9 "$HUB_PID"
wait "$HUB_PID" 2>/dev/null
expect 0 "a killed hub leaves nothing in the way" nefia exec --target web -- true
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock"
start_hub
expect 0 "with a new hub" nefia exec --target web -- true

# the agent is killed and comes back
stop_pid "$AGENT_PID" KILL
start_agent web
begin=$(calm_ms)
expect 0 "a restarted agent" nefia exec --target web -- true
check "is back in 3 s" test $(($(calm_ms) - begin)) -le 3000

# the hub restarts
restart_hub
begin=$(calm_ms)
expect 0 "a restarted hub" nefia exec --target web -- true
check "is back in 3 s" test $(($(calm_ms) - begin)) -le 3000

# SIGHUP, and a host added while the hub runs
kill -HUP "$HUB_PID"
expect 0 "after SIGHUP" nefia exec --target web -- true
add_agent late
start_agent late
LATE_PID=$AGENT_PID
expect 0 "a host added while the hub runs" nefia exec --target late -- true

# an unreachable peer
stop_pid "$LATE_PID" KILL
restart_hub
begin=$(calm_ms)
expect 255 "an unreachable peer" nefia exec --target late -- true
check "within 15 s" test $(($(calm_ms) - begin)) -le 15000
check "in words" contains "$ERR" "Error: [E1031]"

# another host key
"$NEFIA" hub stop >/dev/null || fail "hub stop"
stop_sshd
rm "$T/sshd/host_key" "$T/sshd/host_key.pub"
start_sshd
start_hub
expect 255 "a changed host key is refused" nefia exec --target web -- touch "$T/must-not-be"
check "nothing ran" test ! -e "$T/must-not-be"
check "in words" contains "$ERR" "Error: [E1033]"
check "the line to remove: $ERR" grep -Eq 'known_hosts:[0-9]+' "$T/err"
expect 1 "for files as well" nefia fs get "web:$T/id.pub" "$T/must-not-be"
check "nothing came" test ! -e "$T/must-not-be"
expect 1 "and for other ports" nefia nc web "$SSH_PORT"
check "in words" contains "$ERR" "Error: [E1033]"

# configurations that are wrong
cp "$NEFIA_HOME/nefia.yaml" "$T/good"
expect 1 "hub stop" sh -c "'$NEFIA' hub stop >/dev/null && exit 1"
chmod 644 "$NEFIA_HOME/nefia.yaml"
expect 1 "a configuration open to others" "$NEFIA" hub
check "says so" contains "$ERR" "Error: [E100"
chmod 600 "$NEFIA_HOME/nefia.yaml"
printf 'vpn:\n  private_key: [\n' >"$NEFIA_HOME/nefia.yaml"
expect 1 "malformed YAML" "$NEFIA" hub
case $ERR in *nefia.yaml:[0-9]*:[0-9]*) ;; *) fail "no line and column: $ERR" ;; esac
cat "$T/good" >"$NEFIA_HOME/nefia.yaml"

# SIGTERM
start_hub
kill -TERM "$HUB_PID"
wait "$HUB_PID"
check "SIGTERM ends the hub cleanly" equal $? 0
check "the socket is gone" test ! -e "$NEFIA_HOME/run/hub.sock"
done_all
