#!/bin/bash
# plain ssh by nefia ssh-config: a long stream, and what ssh sees when the connection breaks off. LONG=1: 10 GB
. "$(dirname "$0")/lib.sh"
command -v ssh >/dev/null || skip "no ssh client on this machine"
setup
start_hub
C=$T/config
nefia ssh-config >"$C" || fail "ssh-config"
mkdir "$T/tcp"
printf 'Host tcp\n Hostname 127.0.0.1\n Port %s\n User %s\n IdentityFile %s\n UserKnownHostsFile %s\n StrictHostKeyChecking no\n' \
	"$SSH_PORT" "$TEST_USER" "$T/id" "$T/tcp/known" >>"$C"
s() { exec ssh -F "$C" -o BatchMode=yes "$@"; }
MB=100
[ -z "${LONG:-}" ] || MB=10000

# From there, to there, and both at once; counted and summed at both ends, with nothing of ours in between.
out=$(s web.nefia echo first 2>&1)
check "the host's key is learned" contains "$out" first
t0=$(now_ms)
(s web.nefia "head -c ${MB}000000 /dev/zero") 2>"$T/err" | cmp - <(head -c ${MB}000000 /dev/zero) || fail "a stream of $MB MB from the host"
t1=$(now_ms)
check "nothing is said" test ! -s "$T/err"
out=$(head -c ${MB}000000 /dev/zero | (s web.nefia 'cmp - /dev/zero 2>&1'))
check "a stream of $MB MB to the host" contains "$out" "EOF on - after byte ${MB}000000"
t2=$(now_ms)
echo "$MB MB from the host in $((t1 - t0)) ms, to it in $((t2 - t1)) ms"
head -c 40000000 /dev/urandom >"$T/text"
for i in 1 2 3; do (s web.nefia cat <"$T/text") >"$T/back$i" & p[i]=$!; done
for i in 1 2 3; do wait "${p[i]}"; check "stream $i of three both ways" equal $? 0; check "whole" cmp "$T/text" "$T/back$i"; done

# A reader that leaves, here and there.
(s web.nefia 'yes') | head -c 1000000 >/dev/null
check "ssh ends with its reader" equal "${PIPESTATUS[0]}" "$( (ssh -F "$C" -o BatchMode=yes tcp yes) 2>/dev/null | head -c 1000000 >/dev/null; echo "${PIPESTATUS[0]}")"

# broken COMMAND WHERE: ssh's status when the connection to WHERE breaks off; how long it took in $T/ms
broken() {
	(s "$2" 'echo up; exec sleep 30' >"$T/up" 2>"$T/err") &
	c=$!
	grep_up() { grep -q up "$T/up"; }
	wait_until 10 grep_up || fail "no session with $2: $(cat "$T/err")"
	from=$(calm_ms)
	eval "$1"
	for i in $(seq 300); do kill -0 "$c" 2>/dev/null || break; sleep 0.05; done
	kill -0 "$c" 2>/dev/null && { kill "$c"; fail "ssh to $2 still waits 15 s after: $1"; }
	wait "$c"
	echo $?
	echo $(($(calm_ms) - from)) >"$T/ms"
	: >"$T/up"
}
kill_children() { for q in $(pgrep -P "$SSHD_PID"); do kill -9 $(pgrep -P "$q") "$q" 2>/dev/null; done; }
want=$(broken kill_children tcp)
check "over TCP it is 255" equal "$want" 255
check "the server's process is killed: as over TCP" equal "$(broken kill_children web.nefia)" "$want"
check "at once" test "$(cat "$T/ms")" -lt 2000
# One signal gives connections 30 s; two do not wait.
two_signals() { kill_twice "$AGENT_PID"; }
check "the agent is stopped: as over TCP" equal "$(broken two_signals web.nefia)" "$want"
check "at once, too" test "$(cat "$T/ms")" -lt 2000
wait "$AGENT_PID" 2>/dev/null
start_agent web
out=$(s web.nefia echo back 2>"$T/err")
check "another agent, and it works again" equal "$out" back
# Nobody is told of a kill -9; the next agent does not know the connection.
echo "$AGENT_PID" >"$T/pid"
killed_agent() { kill -9 "$(cat "$T/pid")"; start_agent web; echo "$AGENT_PID" >"$T/pid"; }
check "the agent is killed and comes back: as over TCP" equal "$(broken killed_agent web.nefia)" "$want"
PIDS="$PIDS $(cat "$T/pid")"
echo "ssh ended $(cat "$T/ms") ms after its agent was killed and started"
out=$(s web.nefia echo again 2>"$T/err")
check "and it works again" equal "$out" again
check "the hub ends: as over TCP" equal "$(broken 'kill -9 $HUB_PID' web.nefia)" "$want"
check "at once, three" test "$(cat "$T/ms")" -lt 2000
out=$(s web.nefia echo alone 2>"$T/err")
check "with no hub it works too, and ends" equal "$out" alone
no_hub() { ! pgrep -f "^$NEFIA hub --transient" >/dev/null; }
wait_until 5 no_hub || fail "a transient hub stays"
start_hub
out=$(s web.nefia echo again 2>"$T/err")
check "another hub" equal "$out" again
pgrep -af "^$NEFIA .*nc " && fail "a nefia nc is left"
done_all
