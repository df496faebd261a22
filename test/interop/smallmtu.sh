#!/bin/bash
# test/interop/smallmtu.sh - operator and agent with a link of MTU 1300 between two routers, which say so, or say nothing and drop.
#
#  $A operator      $R1                 $R2                  $B agent
#  10.1.0.2 ------- 10.1.0.1, .2.1 ==== 10.2.0.2, 10.3.0.1 - 10.3.0.2
#  fd01::2          fd01::1, fd02::1    fd02::2, fd03::1     fd03::2
. "$(dirname "$0")/../e2e/lib.sh"
[ "$(id -u)" = 0 ] || skip "needs root for network namespaces"
for tool in ip nft python3; do command -v $tool >/dev/null || skip "$tool is not installed"; done
A=nsa$$ R1=nsq$$ R2=nsr$$ B=nsb$$
more_cleanup() { for ns in $A $R1 $R2 $B; do ip netns pids $ns 2>/dev/null | xargs -r kill 2>/dev/null; ip netns del $ns 2>/dev/null; done; }
for ns in $A $R1 $R2 $B; do ip netns add $ns 2>/dev/null || skip "no network namespaces here"; done
TRAFFIC=$E2E_DIR/../lib/traffic.py

inside() { ns=$1; shift; ip netns exec "$ns" "$@"; }
# link NS NAME NS NAME MTU NUMBER: NUMBER names the network, the first end is .FROM, the second .TO
link() {
	ip link add "$2" netns "$1" type veth peer name "$4" netns "$3" || skip "no veth here"
	ip -n "$1" addr add "10.$6.0.$7/24" dev "$2" && ip -n "$3" addr add "10.$6.0.$8/24" dev "$4"
	ip -n "$1" addr add "fd0$6::$7/64" dev "$2" nodad && ip -n "$3" addr add "fd0$6::$8/64" dev "$4" nodad
	ip -n "$1" link set "$2" mtu "$5" up && ip -n "$3" link set "$4" mtu "$5" up
}
link $A near $R1 left 1500 1 2 1
link $R1 thin $R2 thin 1300 2 1 2
link $R2 right $B near 1500 3 1 2
for ns in $A $R1 $R2 $B; do
	ip -n $ns link set lo up
	inside $ns sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
done
ip -n $A route add default via 10.1.0.1 && ip -n $A route add default via fd01::1
ip -n $B route add default via 10.3.0.1 && ip -n $B route add default via fd03::1
ip -n $R1 route add 10.3.0.0/24 via 10.2.0.2 && ip -n $R1 route add fd03::/64 via fd02::2
ip -n $R2 route add 10.1.0.0/24 via 10.2.0.1 && ip -n $R2 route add fd01::/64 via fd02::1

# Both routers: nothing of the sort leaves them.
silent() { # silent RULE
	for ns in $R1 $R2; do
		inside $ns nft -f - <<-N
			table inet quiet {
				chain out { type filter hook output priority 0; $1 drop; }
				chain through { type filter hook forward priority -450; $2; }
			}
		N
	done
}
talkative() { for ns in $R1 $R2; do inside $ns nft delete table inet quiet 2>/dev/null; done; }

mkdir -p "$T/agent"
nefia init >/dev/null || fail "init"
nefia host add far --endpoint 10.3.0.2:4000 --agent-config "$T/agent/agent.yaml" >/dev/null || fail "host add"
sed -i -e 's/^listen_port:.*/listen_port: 4000/' "$T/agent/agent.yaml"
grep -q '^listen_port' "$T/agent/agent.yaml" || echo 'listen_port: 4000' >>"$T/agent/agent.yaml"
sed -i '/^ssh_addr/d' "$T/agent/agent.yaml"
echo 'ssh_addr: 127.0.0.1:7000' >>"$T/agent/agent.yaml"
ip netns exec $B python3 "$TRAFFIC" serve 127.0.0.1 7000 >"$T/server.log" 2>&1 &
PIDS="$PIDS $!"

# Fresh processes each time: nothing is remembered of the path before.
transfers() { # transfers WHAT ENDPOINT SECONDS
	sed -i "s|^\( *\)endpoint:.*|\1endpoint: \"$2\"|" "$NEFIA_HOME/nefia.yaml"
	for ns in $A $B; do ip -n $ns route flush cache; ip -n $ns -6 route flush cache; done
	ip netns exec $B "$AGENT" run --config "$T/agent/agent.yaml" >"$T/agent.log" 2>&1 &
	agent=$!
	PIDS="$PIDS $agent"
	# A first handshake that nobody hears is repeated after five seconds.
	wait_until 5 grep -q "agent started" "$T/agent.log" || fail "$1: the agent does not start"
	ip netns exec $A "$NEFIA" forward far 5000 --raw >"$T/forward.log" 2>&1 &
	forward=$!
	PIDS="$PIDS $forward"
	wait_until 5 ip netns exec $A sh -c "grep -q ':1388 00000000:0000 0A' /proc/net/tcp" || fail "$1: no forward"
	for way in get put both; do
		out=$(inside $A timeout 20 python3 "$TRAFFIC" $way 127.0.0.1 5000 3000000 2>&1) || fail "$1: $way: $out"
		ms=$(sed -n 's/.*\bms=\([0-9]*\).*/\1/p' <<<"$out")
		echo "$1: $way: $ms ms"
		check "$1: $way in time: $ms ms" [ "$ms" -lt "$3" ]
	done
	kill $forward $agent
	wait $forward $agent 2>/dev/null
}

transfers "IPv4, routers cut" 10.3.0.2:4000 2000
silent "meta l4proto icmp icmp type destination-unreachable" "ct state invalid accept"
transfers "IPv4, routers are silent" 10.3.0.2:4000 2000
talkative
silent "meta l4proto icmp icmp type destination-unreachable" "ip frag-off & 0x3fff != 0 drop"
transfers "IPv4, pieces are dropped too" 10.3.0.2:4000 6000
talkative
# The silent one first: what is told is remembered by the kernel.
silent "meta l4proto ipv6-icmp icmpv6 type packet-too-big" "ct state invalid accept"
transfers "IPv6, routers are silent" "[fd03::2]:4000" 6000
talkative
transfers "IPv6, packet too big is told" "[fd03::2]:4000" 4000
echo "PASS $TEST_NAME ($N_CHECKS checks)"
