#!/bin/bash
# test/interop/wireguard-go-load.sh - floods of initiations, at us and at wireguard-go: whoever proves its address gets in.
#
# What the flood sends has a valid MAC1 (everybody knows our public key) and nothing else. Cookies and proofs are counted
# on the wire.
# alone: floods
. "$(dirname "$0")/../lib/wgns.sh"
namespaces
ip netns add $ATTACK && veth a$$ $OURS $ATTACK 203.0.113 && veth b$$ $THEIRS $ATTACK 198.18.0 || fail "veth"
for i in $(seq 10 49); do
	ip -n $ATTACK addr add 203.0.113.$i/24 dev pa$$
	ip -n $ATTACK addr add 198.18.0.$i/24 dev pb$$
done
many() { seq -f "$1.%g" 10 49; }
keys
agent_config
start_server $OURS 127.0.0.1 $SERVER_PORT
start_agent

sniffer() { # counts what crosses between us and wireguard-go, in $T/sniff
	ip netns exec $OURS python3 "$LIB/traffic.py" sniff $ONE >"$T/sniff" 2>&1 &
	SNIFF=$!
	PIDS="$PIDS $SNIFF"
	until_true 3 grep -q ready "$T/sniff"
}
sniffed() { kill $SNIFF; wait $SNIFF; }
count() { awk -v k="$1" -v s="$2" '$1 == k && $2 == s { n = $3 } END { print n + 0 }' "$T/sniff"; }
flood() { # flood SECONDS RATE ADDRESS PORT KEY SOURCE...
	: >"$T/flood.log"
	ip netns exec $ATTACK python3 "$LIB/traffic.py" flood "$3" "$4" "$5" "$1" "$2" "${@:6}" >"$T/flood.log" 2>&1 &
	FLOOD=$!
	PIDS="$PIDS $FLOOD"
	until_true 5 grep -q "^flood begins" "$T/flood.log" || fail "the flood does not begin"
}
limited() { grep -c "limited: under load" "$T/agent.log"; }

# one greedy source is limited alone: nobody else is asked for a proof
sniffer
flood 2 5000 203.0.113.1 $PORT "$OUR_PUB" 203.0.113.10
start_go
out=$(traffic $THEIRS ping 10.77.0.2 1) || fail "one source shut the door: $out"
wait $FLOOD
sniffed
[ "$(limited)" = 0 ] || fail "one source put us under load"
[ "$(count 3 192.0.2.1)" = 0 ] || fail "a cookie although only one source is greedy: $(cat "$T/sniff")"
say "one greedy source: $out"

# many of them put us under load: a session that stands does not notice, a new one proves its address first
: >"$T/flow"
traffic $THEIRS both 10.77.0.2 22 8000000 4000000 >"$T/flow" 2>&1 &
flow=$!
flood 100 8000 203.0.113.1 $PORT "$OUR_PUB" $(many 203.0.113)
finish $flow "$T/flow" "a transfer while we are flooded"
[ "$(value gap_ms "$(cat "$T/flow")")" -le 500 ] || fail "the transfer paused"
[ "$(limited)" -ge 1 ] || fail "40 sources did not put us under load"
sniffer
stop_go
start_go
began=$(now_ms)
out=$(LIMIT=70 traffic $THEIRS connect 10.77.0.2 22 8) || fail "wireguard-go did not get in: $out"
kill -0 $FLOOD || fail "the flood was over before"
sniffed
kill $FLOOD
[ "$(count 3 192.0.2.1)" -ge 1 ] || fail "no cookie from us: $(cat "$T/sniff")"
[ "$(count 1+mac2 192.0.2.2)" -ge 1 ] || fail "no proof from wireguard-go: $(cat "$T/sniff")"
say "we are flooded: wireguard-go is in after $(($(now_ms) - began)) ms, its address proven"

# the other way round: wireguard-go is flooded and asks us for a proof
stop "$AGENT"
sleep 1.2 # what we caused has passed
agent_config "192.0.2.2:$THEIR_PORT"
rm -f "$T"/agent/agent-state*
theirs wg set $WG peer "$OUR_PUB" remove
theirs wg set $WG peer "$OUR_PUB" preshared-key "$T/psk" allowed-ips 10.77.0.2/32,fd77::2/128
flood 100 30000 198.18.0.1 $THEIR_PORT "$GO_PUB" $(many 198.18.0)
sniffer
began=$(now_ms)
start_agent
out=$(LIMIT=70 traffic $THEIRS connect 10.77.0.2 22 9) || fail "we did not get in: $out"
kill -0 $FLOOD || fail "the flood was over before"
sniffed
kill $FLOOD
[ "$(count 3 192.0.2.2)" -ge 1 ] || fail "wireguard-go sent no cookie: $(cat "$T/sniff")"
[ "$(count 1+mac2 192.0.2.1)" -ge 1 ] || fail "no proof from us: $(cat "$T/sniff")"
[ "$(count 1 192.0.2.2)" = 0 ] || fail "wireguard-go has initiated, although it did not know where we are"
say "wireguard-go is flooded: we are in after $(($(now_ms) - began)) ms, our address proven"
done_all
