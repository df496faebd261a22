#!/bin/bash
# test/interop/wireguard-go-move.sh - rekeying and roaming of either side while bytes flow both ways; none is lost.
#
# wireguard-go's timers are real, so a new handshake is forced on our side: an agent that takes another UDP port tells its
# peer so by a keepalive and a handshake. The 120 s of the protocol are test/long/rekey.sh's.
. "$(dirname "$0")/../lib/wgns.sh"
agent_and_go

handshake() { theirs wg show $WG latest-handshakes | cut -f2; }
endpoint() { theirs wg show $WG endpoints | cut -f2; }
our_endpoint() { "$BUILD/nefia" wg showconf --uapi-dir "$T/uapi" nefia-agent | sed -n 's/^Endpoint = //p'; }
our_set() { "$BUILD/nefia" wg set --uapi-dir "$T/uapi" nefia-agent "$@" || fail "nefia wg set $*"; }
endpoint_is() { [ "$(endpoint)" = "$1" ]; }
our_endpoint_is() { [ "$(our_endpoint)" = "$1" ]; }
rekeyed_since() { [ "$(handshake)" -gt "$1" ]; }
# under_traffic WHAT SECONDS COMMAND...: 4 MB/s both ways while COMMAND runs; whole at the end, and no pause of 3 s
under_traffic() {
	local what=$1 bytes=$(($2 * 4000000)) out gap
	shift 2
	: >"$T/flow"
	traffic $THEIRS both 10.77.0.2 22 $bytes 4000000 >"$T/flow" 2>&1 &
	local flow=$!
	begun "$T/flow"
	"$@"
	finish $flow "$T/flow" "$what"
	gap=$(value gap_ms "$(cat "$T/flow")")
	[ "$gap" -le 3000 ] || fail "$what: nothing arrived for $gap ms"
}
traffic $THEIRS ping 10.77.0.2 1 >/dev/null || fail "no echo"

# we move to another port: a keepalive at once and a new handshake under traffic
our_port_moves() {
	local before
	before=$(handshake)
	sleep 0.7 # handshakes are shown in whole seconds
	our_set listen-port 51900
	until_true 3 endpoint_is 192.0.2.1:51900 || fail "wireguard-go did not follow to $(endpoint)"
	until_true 6 rekeyed_since "$before" || fail "no new handshake"
}
under_traffic "our port moves, new keys" 3 our_port_moves

# they move to another port, then to another address
their_port_moves() {
	theirs wg set $WG listen-port 51999
	until_true 3 our_endpoint_is 192.0.2.2:51999 || fail "we did not follow to $(our_endpoint)"
}
under_traffic "their port moves" 1 their_port_moves
their_address_moves() {
	ip -n $THEIRS addr add 192.0.2.22/24 dev p$ONE
	ip -n $THEIRS addr del 192.0.2.2/24 dev p$ONE
	ip -n $THEIRS addr add 192.0.2.22/24 dev p$ONE 2>/dev/null # a secondary address leaves with its primary
	# wireguard-go keeps the source that it stuck to, until it is told an endpoint
	theirs wg set $WG peer "$OUR_PUB" endpoint 192.0.2.1:51900
	until_true 3 our_endpoint_is 192.0.2.22:51999 || fail "we did not follow to $(our_endpoint)"
}
under_traffic "their address moves" 2 their_address_moves

# our address moves: the source that we stuck to is gone, the next packet takes another
our_address_moves() {
	ip -n $OURS addr add 192.0.2.11/24 dev $ONE
	ip -n $OURS addr del 192.0.2.1/24 dev $ONE
	ip -n $OURS addr add 192.0.2.11/24 dev $ONE 2>/dev/null
	until_true 3 endpoint_is 192.0.2.11:51900 || fail "wireguard-go did not follow to $(endpoint)"
}
under_traffic "our address moves" 2 our_address_moves

# Another network, then IPv6 outside; the old way is closed each time, else packets still under way would lead both
# sides back to it.
their_network_moves() {
	ip -n $THEIRS link set p$ONE down
	theirs wg set $WG peer "$OUR_PUB" endpoint 198.51.100.1:51900
	until_true 3 our_endpoint_is 198.51.100.2:51999 || fail "we did not follow to $(our_endpoint)"
}
under_traffic "another network" 1 their_network_moves
to_ipv6() {
	ip -n $THEIRS addr del 198.51.100.2/24 dev p$TWO
	theirs wg set $WG peer "$OUR_PUB" endpoint '[2001:db8:3::1]:51900'
	until_true 3 our_endpoint_is '[2001:db8:3::2]:51999' || fail "we did not follow to $(our_endpoint)"
}
under_traffic "from IPv4 to IPv6 outside" 1 to_ipv6
ip -n $THEIRS link set p$ONE up
# which of the two families they meet on is left to whose packet is faster
both_move() {
	our_set listen-port 51901 &
	theirs wg set $WG listen-port 51998
	theirs wg set $WG peer "$OUR_PUB" endpoint 192.0.2.11:51901
	wait $!
	until_true 3 met || fail "they did not meet: we have $(our_endpoint), they $(endpoint)"
}
met() { [[ "$(our_endpoint)" == *:51998 && "$(endpoint)" == *:51901 ]]; }
under_traffic "both move at once" 1 both_move
done_all
