#!/bin/bash
# test/interop/wireguard-go.sh - our agent against wireguard-go with a TUN device, in a network namespace of its own.
#
# wireguard-go initiates; a TCP connection from the kernel's stack crosses both WireGuards and both TCPs to a server
# behind the agent; 20 MiB come back with their checksum; then either side is started anew.
set -u
umask 077
name=wg-go
skip() { echo "SKIP $name: $*"; exit 77; }
fail() { echo "FAIL $name: $*"; ip netns exec $NS wg show; ip -n $NS addr; tail -n 15 "$T"/*.log; exit 1; }
[ "$(id -u)" = 0 ] || skip "needs root for a network namespace"
for tool in wireguard-go wg ip; do command -v $tool >/dev/null || skip "$tool is not installed"; done
[ -c /dev/net/tun ] || skip "there is no /dev/net/tun"
BUILD=${BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build}
T=$(mktemp -d /tmp/nefia-wg.XXXXXX)
NS=nefia-$$
OURS=nefia-a$$ # the machine's own namespace may be firewalled
PIDS=
cleanup() {
	for p in $PIDS; do kill "$p" 2>/dev/null; done
	wait 2>/dev/null
	ip netns del $NS 2>/dev/null
	ip netns del $OURS 2>/dev/null
	rm -rf "$T"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

ip netns add $NS && ip netns add $OURS || skip "no network namespaces here"
ip link add nfv$$ netns $OURS type veth peer name nfp$$ netns $NS || skip "no veth here"
ip -n $OURS addr add 192.0.2.1/24 dev nfv$$ && ip -n $OURS link set nfv$$ up && ip -n $OURS link set lo up
ip -n $NS addr add 192.0.2.2/24 dev nfp$$ && ip -n $NS link set nfp$$ up && ip -n $NS link set lo up

port=$((20000 + $$ % 20000))
head -c 20971520 /dev/urandom >"$T/big"
# A server that sends the file to each that connects: sshd is not what is tested here.
cat >"$T/server.py" <<'PY'
import socket, sys, threading
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
data = open(sys.argv[2], "rb").read()
def serve(c):
    with c: c.sendall(data)
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
PY
command -v python3 >/dev/null || skip "python3 is not installed"
ip netns exec $OURS python3 "$T/server.py" $port "$T/big" >"$T/server.log" 2>&1 &
PIDS="$PIDS $!"

wg genkey >"$T/go.key"
wg genpsk >"$T/psk"
agent_priv=$(wg genkey)
agent_pub=$(wg pubkey <<<"$agent_priv")
mkdir "$T/agent"
cat >"$T/agent/agent.yaml" <<Y
private_key: $agent_priv
listen_port: $port
address: ["10.77.0.2/24", "fd77::2/64"]
ssh_addr: 127.0.0.1:$port
peers:
  - public_key: $(wg pubkey <"$T/go.key")
    vpn_addr: ["10.77.0.1", "fd77::1"]
    preshared_key: $(cat "$T/psk")
Y
chmod 600 "$T/agent/agent.yaml"
start_agent() {
	ip netns exec $OURS "$BUILD/nefia-agent" run --config "$T/agent/agent.yaml" >>"$T/agent.log" 2>&1 &
	AGENT=$!
	PIDS="$PIDS $AGENT"
}
start_go() {
	ip netns exec $NS wireguard-go -f nfg$$ >>"$T/go.log" 2>&1 &
	GO=$!
	PIDS="$PIDS $GO"
	for _ in $(seq 50); do ip -n $NS link show nfg$$ >/dev/null 2>&1 && break; sleep 0.1; done
	ip netns exec $NS wg set nfg$$ private-key "$T/go.key" peer "$agent_pub" preshared-key "$T/psk" \
		endpoint 192.0.2.1:$port allowed-ips 10.77.0.2/32,fd77::2/128 || fail "wg set"
	ip -n $NS addr add 10.77.0.1/24 dev nfg$$
	ip -n $NS -6 addr add fd77::1/64 dev nfg$$ nodad
	ip -n $NS link set nfg$$ mtu 1420 up
}
# fetch ADDRESS: the whole file through the tunnel, by the kernel's TCP
fetch() {
	timeout "${2:-20}" ip netns exec $NS python3 -c '
import hashlib, socket, sys
s = socket.create_connection((sys.argv[1], 22), 15)
h = hashlib.sha256()
while True:
    b = s.recv(65536)
    if not b: break
    h.update(b)
print(h.hexdigest())' "$1"
}

start_agent
start_go
want=$(sha256sum <"$T/big" | cut -d" " -f1)
for a in 10.77.0.2 fd77::2; do
	[ "$(fetch $a)" = "$want" ] || fail "20 MiB over $a did not arrive whole"
	echo "20 MiB over $a: equal"
done
kill $AGENT; wait $AGENT 2>/dev/null
start_agent
[ "$(fetch 10.77.0.2 25)" = "$want" ] || fail "the agent was restarted and the tunnel did not come back"
echo "agent restarted: back"
kill $GO; wait $GO 2>/dev/null
ip -n $NS link del nfg$$ 2>/dev/null
sleep 0.3
start_go
[ "$(fetch 10.77.0.2 25)" = "$want" ] || fail "wireguard-go was restarted and the tunnel did not come back"
echo "wireguard-go restarted: back"
exit 0
