#!/bin/bash
# Enrollment across networks: the operator behind a router that forwards TCP 19820 and UDP 51820 alone, the agent in a network
# behind a router of its own, each side another unprivileged user. Three namespaces and a wire:
#
#   operator 10.1.0.2 -- 10.1.0.1 router 203.0.113.1 -- 203.0.113.2 agent's router 10.2.0.1 -- 10.2.0.2 agent
set -u
umask 022
HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "${BUILD:-$HERE/../../build}" && pwd)
TEST_NAME=enroll_nat
OP=nefia-eo$$ R1=nefia-er$$ R2=nefia-es$$ AG=nefia-ea$$
OP_UID=64911 AG_UID=64912
NAMESPACES="$OP $R1 $R2 $AG"
LOGS="*.out op/hub.log sshd.log"
NEEDS="nft setpriv ssh-keygen ssh-keyscan sshd"
. "$HERE/../lib/netns.sh"
chmod 755 "$T"
mkdir "$T/bin"
cp "$BUILD/nefia" "$BUILD/nefia-agent" "$T/bin"

# wire NS1 DEV1 ADDR1 NS2 DEV2 ADDR2
wire() {
	ip link add "$2" netns "$1" type veth peer name "$5" netns "$4" || fail "veth"
	ip -n "$1" addr add "$3" dev "$2" && ip -n "$1" link set "$2" up
	ip -n "$4" addr add "$6" dev "$5" && ip -n "$4" link set "$5" up
}
wire $OP e0 10.1.0.2/24 $R1 in 10.1.0.1/24
wire $R1 out 203.0.113.1/24 $R2 out 203.0.113.2/24
wire $R2 in 10.2.0.1/24 $AG e0 10.2.0.2/24
ip -n $OP route add default via 10.1.0.1
ip -n $AG route add default via 10.2.0.1
for ns in $R1 $R2; do
	ip netns exec $ns sysctl -qw net.ipv4.ip_forward=1
	ip netns exec $ns nft -f - <<'X' || skip "nftables does not work here"
table ip nat {
	chain post { type nat hook postrouting priority 100; oifname "out" masquerade; }
}
table ip filter {
	chain forward { type filter hook forward priority 0; policy drop;
		ct state established,related accept
		iifname "in" accept
		ct status dnat accept
	}
}
X
done
ip netns exec $R1 nft -f - <<'X' || fail "forwarding rules"
table ip nat {
	chain pre { type nat hook prerouting priority -100;
		iifname "out" tcp dport 19820 dnat to 10.1.0.2
		iifname "out" udp dport 51820 dnat to 10.1.0.2
	}
}
X

as_operator() { ip netns exec $OP setpriv --reuid $OP_UID --regid $OP_UID --clear-groups --no-new-privs env HOME="$T/op-home" NEFIA_HOME="$T/op" XDG_RUNTIME_DIR= "$@"; }
as_agent() { ip netns exec $AG setpriv --reuid $AG_UID --regid $AG_UID --clear-groups --no-new-privs env HOME="$T/ag" XDG_RUNTIME_DIR= "$@"; }
mkdir -m 700 "$T/op" "$T/op-home" "$T/ag"
ssh-keygen -q -t ed25519 -N '' -f "$T/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$T/op/id"
cp "$T/op/id.pub" "$T/authorized_keys"
chown -R $OP_UID:$OP_UID "$T/op" "$T/op-home"
chown -R $AG_UID:$AG_UID "$T/ag"
mkdir -p -m 755 /run/sshd
printf '%s\n' "Port 22" "ListenAddress 127.0.0.1" "HostKey $T/host_key" "AuthorizedKeysFile $T/authorized_keys" "StrictModes no" \
	"UsePAM no" "PidFile none" "PermitRootLogin yes" "SetEnv HOME=/nonexistent" >"$T/sshd_config" # not what this machine's root has in .bashrc
ip netns exec $AG "$(command -v sshd)" -D -e -f "$T/sshd_config" 2>"$T/sshd.log" &

as_operator "$T/bin/nefia" init >"$T/init.out" 2>&1 || fail "init"
sed -i "s|identities: .*|identities: [\"$T/op/id\"]|; s/^ssh:/&\n  user: root/" "$T/op/nefia.yaml"
as_operator "$T/bin/nefia" hub >"$T/hub.out" 2>&1 &
until_true 5 test -S "$T/op/run/hub.sock" || fail "the hub does not start"
as_operator "$T/bin/nefia" vpn invite --name far --os linux --endpoint 203.0.113.1:51820 --listen=false --token-out "$T/op/token" \
	>"$T/invite.out" 2>&1 || fail "invite"
begin=$(now_ms)
as_agent "$T/bin/nefia-agent" enroll --token-file - <"$T/op/token" >"$T/enroll.out" 2>&1 || fail "enroll"
grep -q '^VPN tunnel established 10.99.0.2' "$T/enroll.out" || fail "no tunnel through both routers"
grep -q '^SSH host key registered SHA256:' "$T/enroll.out" || fail "no host key"
ok "enrolled through two routers in $(($(now_ms) - begin)) ms"
[ "$(stat -c %u:%a "$T/ag/.nefia/agent.yaml")" = $AG_UID:600 ] || fail "owner and mode of agent.yaml"
as_agent "$T/bin/nefia-agent" run >"$T/agent.out" 2>&1 &
out=$(as_operator timeout 15 "$T/bin/nefia" exec --target far -- 'hostname -I; echo there' 2>"$T/exec.out") || fail "exec"
case $out in *10.2.0.2*there) ok "exec on the far side: $(($(now_ms) - begin)) ms from the paste" ;; *) fail "exec said: $out" ;; esac
# Only the two ports lead in: nothing of the agent's side is reachable.
ip netns exec $R1 bash -c '(exec 3<>/dev/tcp/203.0.113.2/22) 2>/dev/null' && fail "the agent's sshd is exposed"
ok "nothing of the target is exposed"
as_operator "$T/bin/nefia" vpn revoke --name far >"$T/revoke.out" 2>&1 || fail "revoke"
as_operator timeout 15 "$T/bin/nefia" exec --target far -- true >"$T/exec.out" 2>&1 && fail "a revoked host still obeys"
ok "revoked at once"
echo "PASS $TEST_NAME ($N_CHECKS checks)"
