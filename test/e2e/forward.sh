#!/bin/bash
# nefia forward --raw: a local port to the host's sshd; ends with its command, streams that stand go on
. "$(dirname "$0")/lib.sh"
setup
port=$(free_port)
"$NEFIA" forward web "$port" --raw >"$T/forward.out" 2>&1 &
F=$!
PIDS="$PIDS $F"
wait_until 10 port_answers "$port" || fail "the forward does not listen: $(cat "$T/forward.out")"
check "says what it does" contains "$(cat "$T/forward.out")" "Forwarding 127.0.0.1:$port to web"
banner=$(exec 3<>"/dev/tcp/127.0.0.1/$port" && head -c 4 <&3)
check "reaches sshd" equal "$banner" SSH-
expect 1 "a port that is taken" nefia forward web "$port" --raw
check "its code" contains "$ERR" "[E1016]"
expect 1 "an unknown host" nefia forward nobody 0 --raw
check "its code" contains "$ERR" "[E1021]"
expect 2 "without --raw" nefia forward web 0
expect 2 "a bad port" nefia forward web 70000 --raw
if command -v ssh >/dev/null; then
	head -c 3000000 /dev/urandom >"$T/blob"
	ssh -F none -i "$T/id" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile="$T/kh" -o BatchMode=yes \
		-o LogLevel=ERROR -p "$port" "$TEST_USER@127.0.0.1" cat <"$T/blob" >"$T/back" || fail "ssh through the forward"
	check "bytes through the forward" cmp "$T/blob" "$T/back"
fi
# A stream that stands survives the command; new connections do not come in.
exec 4<>"/dev/tcp/127.0.0.1/$port"
head -c 4 <&4 >/dev/null
kill -INT "$F"
wait "$F"
check "Ctrl-C ends it in order" equal "$?" 0
check "the port is closed" wait_until 3 sh -c "! (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null"
echo "SSH-2.0-e2e" >&4 || fail "the stream ended with the forward"
check "the stream still answers" test -n "$(timeout 5 head -c 20 <&4)"
exec 4>&-
stop_pid "$AGENT_PID" KILL
# A host that is gone: the connection is reset, not left hanging.
"$NEFIA" forward web 0 --raw >"$T/forward2.out" 2>&1 &
F=$!
PIDS="$PIDS $F"
wait_until 10 grep -q Forwarding "$T/forward2.out" || fail "the second forward does not listen"
port=$(sed 's/.*:\([0-9]*\) to.*/\1/' "$T/forward2.out")
started=$(calm_ms)
out=$(exec 3<>"/dev/tcp/127.0.0.1/$port" && timeout 15 head -c 4 <&3)
check "nothing comes" equal "$out" ""
check "within the dial's deadline" test $(($(calm_ms) - started)) -lt 14000
kill -INT "$F"
done_all
