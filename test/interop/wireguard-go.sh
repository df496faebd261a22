#!/bin/bash
# test/interop/wireguard-go.sh - our agent against wireguard-go: echo, bulk both ways, preshared key, restart of either.
. "$(dirname "$0")/../lib/wgns.sh"
agent_and_go
ip netns exec $OURS python3 "$LIB/traffic.py" sniff $ONE >"$T/sniff" 2>&1 &
SNIFF=$!
PIDS="$PIDS $SNIFF"

# whole packets as well as small ones; the first starts the handshake
for to in "10.77.0.2 1392" "fd77::2 1372"; do
	set -- $to
	out=$(traffic $THEIRS ping "$1" 5) || fail "echo: $out"
	say "echo of $1: $out"
	out=$(traffic $THEIRS ping "$1" 3 "$2") || fail "echo of whole packets: $out"
	say "echo of $1, whole packets: $out"
done
for a in 10.77.0.2 fd77::2; do
	for what in get put both; do
		out=$(traffic $THEIRS $what $a 22 20971520) || fail "$what over $a: $out"
		say "20 MiB $what over $a: $out"
	done
done

# another preshared key: no handshake, so nothing arrives; with ours it does again
wg genpsk >"$T/other-psk"
theirs wg set $WG peer "$OUR_PUB" remove
theirs wg set $WG peer "$OUR_PUB" preshared-key "$T/other-psk" endpoint $ENDPOINT allowed-ips 10.77.0.2/32,fd77::2/128
out=$(LIMIT=70 traffic $THEIRS connect 10.77.0.2 22 2) && fail "a connection stood under another preshared key"
theirs wg set $WG peer "$OUR_PUB" remove
theirs wg set $WG peer "$OUR_PUB" preshared-key "$T/psk" endpoint $ENDPOINT allowed-ips 10.77.0.2/32,fd77::2/128
out=$(traffic $THEIRS connect 10.77.0.2 22 15) || fail "no connection after the right preshared key: $out"
say "a wrong preshared key keeps everything out"

# restart of either side while bytes flow: a new connection stands within 3 s
: >"$T/cut"
traffic $THEIRS both 10.77.0.2 22 100000000 4000000 >"$T/cut" 2>&1 &
cut=$!
begun "$T/cut"
stop "$AGENT" KILL
killed=$(calm_ms)
start_agent
out=$(traffic $THEIRS connect 10.77.0.2 22 10) || fail "after the agent's restart: $out"
ms=$(($(calm_ms) - killed))
[ "$ms" -le 3000 ] || fail "the agent was restarted and it took $ms ms"
say "agent killed and restarted: back after $ms ms"
# what it knew of the old connection is gone: the other side is told so, and does not wait for ever
began=$(calm_ms)
wait $cut && fail "a connection survived the agent's restart"
[ $(($(calm_ms) - began)) -le 3000 ] || fail "the cut connection took $(($(calm_ms) - began)) ms to end"
say "the connection that was cut ended $(($(calm_ms) - began)) ms later: $(cat "$T/cut")"

# The kernel's connections outlive wireguard-go: those that stand go on where they were.
for what in put both; do
	: >"$T/flow"
	traffic $THEIRS $what 10.77.0.2 22 10000000 4000000 >"$T/flow" 2>&1 &
	flow=$!
	begun "$T/flow"
	stop_go KILL
	killed=$(calm_ms)
	start_go
	out=$(traffic $THEIRS connect 10.77.0.2 22 10) || fail "after wireguard-go's restart: $out"
	ms=$(($(calm_ms) - killed))
	[ "$ms" -le 3000 ] || fail "wireguard-go was restarted and it took $ms ms"
	say "wireguard-go killed and restarted: back after $ms ms"
	finish $flow "$T/flow" "the transfer ($what) across it"
	[ "$(value gap_ms "$(cat "$T/flow")")" -le 3000 ] || fail "the transfer paused for more than 3 s"
done

kill $SNIFF
wait $SNIFF
grep -q "^4 192.0.2.1 " "$T/sniff" && grep -q "^1 192.0.2.1 " "$T/sniff" && grep -q "^1 192.0.2.2 " "$T/sniff" ||
	fail "what was on the wire: $(cat "$T/sniff")"
grep -q '^3 ' "$T/sniff" && fail "a cookie was sent without load"
say "both sides have initiated, nobody was under load"
done_all
