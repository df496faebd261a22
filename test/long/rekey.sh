#!/bin/bash
# test/long/rekey.sh - 130 s of traffic against wireguard-go, across the protocol's own rekeying after 120 s. None is lost.
#
# Twice at once, because the initiator renews: a session that wireguard-go began, and one that our agent began.
. "$(dirname "$0")/../lib/wgns.sh"
LIMIT=150
namespaces
keys
agent_config "${1:-}"
start_server $OURS 127.0.0.1 $SERVER_PORT
if [ $# = 0 ]; then
	NAME="we began" bash "$0" 192.0.2.2:$THEIR_PORT >"$T/other" 2>&1 &
	other=$!
	start_agent
	start_go
else
	# wireguard-go is there first and does not know where we are
	start_go
	theirs wg set $WG peer "$OUR_PUB" remove
	theirs wg set $WG peer "$OUR_PUB" preshared-key "$T/psk" allowed-ips 10.77.0.2/32,fd77::2/128
	start_agent
	until_true 3 traffic $THEIRS ping 10.77.0.2 1 || fail "no echo"
fi
traffic $THEIRS ping 10.77.0.2 1 >/dev/null || fail "no echo"
first=$(theirs wg show $WG latest-handshakes | cut -f2)
ip netns exec $OURS python3 "$LIB/traffic.py" sniff $ONE >"$T/sniff" 2>&1 &
SNIFF=$!
PIDS="$PIDS $SNIFF"
out=$(traffic $THEIRS both 10.77.0.2 22 260000000 2000000) || fail "130 s of traffic: $out"
kill $SNIFF
wait $SNIFF
last=$(theirs wg show $WG latest-handshakes | cut -f2)
say "${NAME:-wireguard-go began}: $out; new keys after $((last - first)) s"
[ $((last - first)) -ge 119 ] && [ $((last - first)) -le 127 ] || fail "new keys after $((last - first)) s"
[ "$(value gap_ms "$out")" -le 1000 ] || fail "the transfer paused"
who=192.0.2.2
[ $# = 0 ] || who=192.0.2.1
grep -q "^1 $who 1$" "$T/sniff" || fail "the initiator did not initiate just once: $(cat "$T/sniff")"
if [ $# = 0 ]; then
	wait $other || fail "$(cat "$T/other")"
	cat "$T/other"
fi
done_all
