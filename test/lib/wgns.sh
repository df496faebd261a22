# test/lib/wgns.sh - ours and wireguard-go, each in a network namespace of its own. Sourced by test/interop and test/long.
#
#  $OURS  nefia-agent or the hub, and $ATTACK's other end     $THEIRS  wireguard-go with a TUN device $WG, port 51820
#         192.0.2.1/24                     ---- veth one ----  192.0.2.2/24
#         198.51.100.1/24 2001:db8:3::1/64 ---- veth two ----  198.51.100.2/24 2001:db8:3::2/64
# Inside: 10.77.0.1 and fd77::1 are wireguard-go's, 10.77.0.2 and fd77::2 ours. The machine's own namespace is left
# alone (it may be firewalled), and everything ends with the script.
set -u
umask 077
LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BUILD=${BUILD:-$(cd "$LIB/../.." && pwd)/build}
TEST_NAME=$(basename "$0" .sh)
T=
PIDS=
N_CHECKS=0
OURS=nefia-o$$ THEIRS=nefia-t$$ ATTACK=nefia-x$$ WG=nfw$$ ONE=nfv$$ TWO=nfu$$
PORT=51821 THEIR_PORT=51820 SERVER_PORT=7000

skip() { echo "SKIP $TEST_NAME: $*"; exit 77; }
fail() {
	echo "FAIL $TEST_NAME: $*"
	ip netns exec $THEIRS wg show $WG | sed 's/\(key: \).*/\1(hidden)/'
	trap - TERM
	show_ends "$T"/*.log "$T/flow" "$T/cut" "$T/sniff"
	exit 1
}
say() { echo "$*"; N_CHECKS=$((N_CHECKS + 1)); }
. "$LIB/clock.sh"
. "$LIB/failure.sh"
STARTED=$(now_ms)
done_all() { echo "PASS $TEST_NAME ($N_CHECKS checks, $(($(now_ms) - STARTED)) ms)"; exit 0; }

cleanup() {
	status=$?
	trap - EXIT
	for p in $PIDS; do kill "$p" 2>/dev/null; done
	sleep 0.1
	for p in $PIDS; do kill -9 "$p" 2>/dev/null; done
	wait 2>/dev/null
	for ns in $OURS $THEIRS $ATTACK; do ip netns del $ns 2>/dev/null; done
	[ -z "$T" ] || rm -rf "$T"
	exit $status
}
ours() { ip netns exec $OURS "$@"; }
theirs() { ip netns exec $THEIRS "$@"; }
traffic() { timeout "${LIMIT:-60}" ip netns exec "$1" python3 "$LIB/traffic.py" "${@:2}"; }
until_true() { wait_until "$@"; }
# In the background call "ip netns exec" itself: a function would run in a subshell, whose id is not the program's.
# value KEY LINE: 12 out of "... KEY=12 ..."
value() { sed -n "s/.*\b$1=\([0-9]*\).*/\1/p" <<<"$2"; }

namespaces() {
	[ "$(id -u)" = 0 ] || skip "needs root for a network namespace"
	for tool in wireguard-go wg ip python3; do command -v $tool >/dev/null || skip "$tool is not installed"; done
	[ -c /dev/net/tun ] || skip "there is no /dev/net/tun"
	T=$(mktemp -d /tmp/nefia-wg.XXXXXX)
	trap cleanup EXIT
	trap 'exit 130' INT HUP
	{ ip netns add $OURS && ip netns add $THEIRS; } || skip "no network namespaces here"
	veth $ONE $OURS $THEIRS 192.0.2 && veth $TWO $OURS $THEIRS 198.51.100 || skip "no veth here"
	ip -n $OURS addr add 2001:db8:3::1/64 dev $TWO nodad
	ip -n $THEIRS addr add 2001:db8:3::2/64 dev p$TWO nodad
	ip -n $OURS link set lo up
	ip -n $THEIRS link set lo up
}
# veth NAME NS1 NS2 A.B.C: NAME has .1 in NS1, pNAME .2 in NS2
veth() {
	ip link add "$1" netns "$2" type veth peer name "p$1" netns "$3" || return 1
	ip -n "$2" addr add "$4.1/24" dev "$1" && ip -n "$3" addr add "$4.2/24" dev "p$1" &&
		ip -n "$2" link set "$1" up && ip -n "$3" link set "p$1" up
}

keys() {
	wg genkey >"$T/go.key"
	wg genkey >"$T/our.key"
	wg genpsk >"$T/psk"
	GO_PUB=$(wg pubkey <"$T/go.key")
	OUR_PUB=$(wg pubkey <"$T/our.key")
}

# agent_config [ENDPOINT]: agent.yaml whose peer is wireguard-go; what comes to port 22 goes to a traffic server
agent_config() {
	mkdir -p "$T/agent"
	cat >"$T/agent/agent.yaml" <<-Y
		private_key: $(cat "$T/our.key")
		listen_port: $PORT
		address: ["10.77.0.2/24", "fd77::2/64"]
		ssh_addr: 127.0.0.1:$SERVER_PORT
		peers:
		  - public_key: $GO_PUB
		    vpn_addr: ["10.77.0.1", "fd77::1"]
		    preshared_key: $(cat "$T/psk")
		    endpoint: "${1:-}"
	Y
}
start_agent() {
	rm -f "$T/uapi/nefia-agent.sock"
	ip netns exec $OURS "$BUILD/nefia-agent" run --config "$T/agent/agent.yaml" --uapi-dir "$T/uapi" >>"$T/agent.log" 2>&1 &
	AGENT=$!
	PIDS="$PIDS $AGENT"
	until_true 5 test -S "$T/uapi/nefia-agent.sock" || fail "the agent does not start"
}
stop() { # stop PID [SIGNAL]
	kill "-${2:-TERM}" "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	return 0
}
start_server() { # start_server NAMESPACE ADDRESS PORT
	ip netns exec "$1" python3 "$LIB/traffic.py" serve "$2" "$3" >>"$T/server.log" 2>&1 &
	PIDS="$PIDS $!"
	until_true 5 ip netns exec "$1" python3 -c "import socket; socket.create_connection(('$2', $3), 1)" ||
		fail "the traffic server does not start"
}

# start_go [wg set arguments]: wireguard-go up, its peer set; ENDPOINT says where we are
ENDPOINT=192.0.2.1:$PORT
start_go() {
	ip netns exec $THEIRS wireguard-go -f $WG >>"$T/go.log" 2>&1 &
	GO=$!
	PIDS="$PIDS $GO"
	until_true 5 ip -n $THEIRS link show $WG || fail "wireguard-go does not start"
	until_true 5 theirs wg set $WG private-key "$T/go.key" listen-port $THEIR_PORT || fail "wg set"
	ip -n $THEIRS addr add 10.77.0.1/24 dev $WG
	ip -n $THEIRS -6 addr add fd77::1/64 dev $WG nodad
	ip -n $THEIRS link set $WG mtu 1420 up
	theirs wg set $WG peer "$OUR_PUB" preshared-key "$T/psk" endpoint $ENDPOINT \
		allowed-ips 10.77.0.2/32,fd77::2/128 "$@" || fail "wg set peer"
}
stop_go() {
	stop "$GO" "${1:-TERM}"
	ip -n $THEIRS link del $WG 2>/dev/null
	rm -f /var/run/wireguard/$WG.sock
}
# A transfer in the background, whose output is in FILE: begun FILE waits until bytes flow, finish PID FILE WHAT for its end
begun() {
	until_true 10 grep -q '^begun' "$1" || fail "a transfer does not begin: $(cat "$1")"
	sleep 0.3
}
finish() {
	wait "$1" || fail "$3: $(cat "$2")"
	say "$3: $(tail -n 1 "$2")"
}

# Both ends, with an echo server behind the agent.
agent_and_go() {
	namespaces
	keys
	agent_config
	start_server $OURS 127.0.0.1 $SERVER_PORT
	start_agent
	start_go
}
