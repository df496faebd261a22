#!/bin/bash
# test/interop/wireguard-go-hub.sh - our hub dials through wireguard-go: pings, bulk both ways, a rekey and restarts under
# traffic.
. "$(dirname "$0")/../lib/wgns.sh"
command -v nft >/dev/null || skip "nft is not installed"
namespaces
keys
export NEFIA_HOME=$T/op
mkdir "$T/op"
config() { # config ADDRESS...: where wireguard-go is inside; the first is dialled
	cat >"$T/op/nefia.yaml" <<-Y
		version: 1
		vpn:
		  private_key: $(cat "$T/our.key")
		  address: ["10.77.0.2/24", "fd77::2/64"]
		  listen_port: $PORT
		hosts:
		  - id: go
		    vpn:
		      public_key: $GO_PUB
		      preshared_key: $(cat "$T/psk")
		      endpoint: 192.0.2.2:$THEIR_PORT
		      addr: [$1, $2]
	Y
}
nefia() { timeout 20 ip netns exec $OURS "$BUILD/nefia" "$@"; }
start_hub() {
	rm -f "$T/op/run/hub.sock"
	ip netns exec $OURS "$BUILD/nefia" hub --uapi-dir "$T/uapi" >>"$T/hub.log" 2>&1 &
	HUB=$!
	PIDS="$PIDS $HUB"
	until_true 5 test -S "$T/op/run/hub.sock" || fail "the hub does not start"
}
through() { # through get|put|both BYTES RATE: over a connection of ours to the server beside wireguard-go
	timeout 25 ip netns exec $OURS python3 "$LIB/traffic.py" via "$1" "$2" "$3" "$BUILD/nefia" nc go 22
}
# reconnect SINCE WHAT: a connection of ours carries bytes within 3 s, beside what starting the programs takes anyway
reconnect() {
	local out ms
	out=$(through get 1000 0) || fail "$2: $out"
	ms=$(($(calm_ms) - $1 - usual))
	[ "$ms" -le 3000 ] || fail "$2: back after $ms ms"
	say "$2: back after $ms ms"
}

config 10.77.0.1 '"fd77::1"'
start_go
start_server $THEIRS 10.77.0.1 22
start_server $THEIRS fd77::1 22
start_hub
for a in "10.77.0.1, \"fd77::1\"" "\"fd77::1\", 10.77.0.1"; do
	config ${a/,/}
	out=$(nefia vpn status --ping) || fail "vpn status --ping"
	case $out in *"ping: reachable"*) ;; *) fail "our ping to $a: $out" ;; esac
	say "our ping to ${a%%,*}: $(sed -n 's/.*\(ping: .*\)/\1/p' <<<"$out")"
	for what in get put both; do
		out=$(through $what 20971520 0) || fail "$what over $a: $out"
		say "20 MiB $what over ${a%%,*}: $out"
	done
done

# A SYN that nobody answers makes us rekey a young session; the bytes beside it notice nothing.
config 10.77.0.1 '"fd77::1"'
theirs nft 'add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in tcp dport 9 drop' ||
	fail "nft"
handshake() { theirs wg show $WG latest-handshakes | cut -f2; }
rekeyed() { [ "$(handshake)" -gt "$before" ]; }
# Handshakes are asked for at most each 5 s; a fast machine is here before the first has that age.
is_old_enough() { [ $(($(date +%s) - $(handshake))) -ge 6 ]; }
until_true 10 is_old_enough || fail "the session does not age"
before=$(handshake)
: >"$T/flow"
through both 24000000 4000000 >"$T/flow" 2>&1 &
flow=$!
begun "$T/flow"
for round in 1 2; do
	nefia vpn status >/dev/null # the hub reads the file that changed
	out=$(ours python3 "$LIB/traffic.py" dial "$T/op/run/hub.sock" go 9 1700)
	[ "$out" = ERR_TIMEOUT ] || fail "the dial to nowhere: $out"
	if [ $round = 1 ]; then
		until_true 3 rekeyed || fail "no new handshake under traffic"
		before=$(handshake)
	fi
done
finish $flow "$T/flow" "new keys under traffic"
[ "$(value gap_ms "$(cat "$T/flow")")" -le 1000 ] || fail "the transfer paused"

usual=$(calm_ms)
out=$(through get 1000 0) || fail "a connection: $out"
usual=$(($(calm_ms) - usual))

# restarts while bytes flow
: >"$T/flow"
through both 12000000 4000000 >"$T/flow" 2>&1 &
flow=$!
begun "$T/flow"
stop_go KILL
killed=$(calm_ms)
start_go
reconnect "$killed" "wireguard-go killed and restarted"
finish $flow "$T/flow" "the transfer across it"
[ "$(value gap_ms "$(cat "$T/flow")")" -le 3000 ] || fail "the transfer paused for more than 3 s"

# It comes back and says nothing: our next connection has to find out, by the SYN that is not answered.
# It may only initiate 5 s after it last did.
sleep 2
stop_go KILL
start_go
sleep 0.5
reconnect "$(calm_ms)" "wireguard-go restarted, and silent"

: >"$T/flow"
through both 100000000 4000000 >"$T/flow" 2>&1 &
flow=$!
begun "$T/flow"
stop "$HUB" KILL
killed=$(calm_ms)
start_hub
reconnect "$killed" "the hub killed and restarted"
wait $flow && fail "a connection survived its hub"
say "the connection of the hub that was killed: $(cat "$T/flow")"
nefia hub stop >/dev/null || fail "hub stop"
done_all
