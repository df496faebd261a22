#!/bin/bash
# half-close both ways with a lot of bytes after it, on the raw stream and through sshd; an end that is no end is said
. "$(dirname "$0")/lib.sh"
need_python
start_sshd
operator_init
add_agent web
raw=$(free_port)
python3 "$TRAFFIC" serve 127.0.0.1 "$raw" >"$T/server.log" 2>&1 &
PIDS="$PIDS $!"
wait_until 5 port_answers "$raw" || fail "the server does not listen"
# one agent leads to the server itself, the other to sshd, which leads to the server
add_agent raw
set_yaml "$T/raw/agent.yaml" ssh_addr "127.0.0.1:$raw"
start_agent web
start_agent raw
RAW_PID=$AGENT_PID
start_hub

through() { timeout 20 python3 "$TRAFFIC" via "$1" "$2" 0 "$NEFIA" nc "$3" "$4"; }
for way in "raw 22" "web $raw"; do
	for mode in half-up half-down echo both; do
		out=$(through $mode 8000000 $way) || fail "$mode through $way: $out"
		check "$mode through $way" contains "$out" "ok "
		[ $mode != half-down ] || check "and the server got all of it" wait_until 5 \
			grep -q "^half-down $(sed 's/.*seed=\([0-9]*\).*/\1/' <<<"$out"): whole" "$T/server.log"
	done
done

# the other end vanishes: not an end of the stream, but an error, and at once (and not before the agent has the stream: the next one
# would take it)
there() { awk -v p="$(printf ':%04X' "$raw")" '$3 ~ p && $4 == "01" { n++ } END { exit !n }' /proc/net/tcp; }
timeout 20 python3 "$TRAFFIC" via both 100000000 1000000 "$NEFIA" nc raw 22 >"$T/cut" 2>"$T/cut.err" &
cut=$!
wait_until 10 grep -q '^begun' "$T/cut.err" && wait_until 10 there || fail "a stream does not begin: $(cat "$T/cut.err")"
stop_pid "$RAW_PID" KILL
start_agent raw
began=$(calm_ms)
wait $cut && fail "a stream survived its agent"
check "in time" test $(($(calm_ms) - began)) -lt 5000
nefia nc raw 22 </dev/zero >/dev/null 2>"$T/nc.err" &
cut=$!
wait_until 10 there || fail "nc does not connect: $(cat "$T/nc.err")"
stop_pid "$AGENT_PID" KILL
start_agent raw
wait $cut
check "nc says so by its status" equal $? 1
check "and in words" contains "$(cat "$T/nc.err")" "[E1036]"
done_all
