#!/bin/bash
# One operator's folder, copied by hand to a second machine, with a hub on each: they notice each other by way of the agent, the one
# that began last keeps the key, the other names it and stands back; and a person can take the key back. Three machines:
#
#   agent 10.1.0.2 --+-- hub a 10.1.0.3
#                    +-- hub b 10.1.0.4
# LONG=1: the older one is left idle until it notices by itself, up to two minutes.
# alone: who is first counts in seconds
set -u
umask 022
HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "${BUILD:-$HERE/../../build}" && pwd)
TEST_NAME=two_hubs
SW=nefia-hs$$ AG=nefia-hg$$ A=nefia-ha$$ B=nefia-hb$$
NAMESPACES="$SW $AG $A $B"
LOGS="*.out a/hub.log b/hub.log"
NEEDS="ssh-keygen ssh-keyscan sshd"
. "$HERE/../lib/netns.sh"
ip -n $SW link add br0 type bridge || skip "no bridge here"
ip -n $SW link set br0 up
i=2
for ns in $AG $A $B; do
	ip link add e0 netns $ns type veth peer name p$i netns $SW || fail "veth"
	ip -n $ns addr add 10.1.0.$i/24 dev e0 && ip -n $ns link set e0 up
	ip -n $SW link set p$i master br0 && ip -n $SW link set p$i up
	i=$((i + 1))
done
as() { # as a|b COMMAND...
	local who=$1 ns=$A
	shift
	[ "$who" = a ] || ns=$B
	ip netns exec $ns env -u XDG_RUNTIME_DIR NEFIA_HOME="$T/$who" HOME="$T" "$@"
}
mkdir -m 700 "$T/a" "$T/agent"
ssh-keygen -q -t ed25519 -N '' -f "$T/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$T/id"
cp "$T/id.pub" "$T/authorized_keys"
mkdir -p -m 755 /run/sshd
printf '%s\n' "Port 22" "ListenAddress 127.0.0.1" "HostKey $T/host_key" "AuthorizedKeysFile $T/authorized_keys" "StrictModes no" \
	"UsePAM no" "PidFile none" "PermitRootLogin yes" "SetEnv HOME=/nonexistent" >"$T/sshd_config" # not what this machine's root has in .bashrc
ip netns exec $AG "$(command -v sshd)" -D -e -f "$T/sshd_config" 2>"$T/sshd.log" &

as a "$BUILD/nefia" init >"$T/init.out" 2>&1 || fail "init"
sed -i "s|identities: .*|identities: [\"$T/id\"]|; s/^ssh:/&\n  user: root/" "$T/a/nefia.yaml"
as a "$BUILD/nefia" hub >"$T/hub-a.out" 2>&1 &
until_true 5 test -S "$T/a/run/hub.sock" || fail "hub a does not start"
as a "$BUILD/nefia" vpn invite --name web --os linux --endpoint 10.1.0.3:51820 --listen=false --token-out "$T/token" >"$T/invite.out" 2>&1 ||
	fail "invite"
ip netns exec $AG "$BUILD/nefia-agent" enroll --token-file "$T/token" --out-dir "$T/agent" >"$T/enroll.out" 2>&1 || fail "enroll"
ip netns exec $AG "$BUILD/nefia-agent" run --config "$T/agent/agent.yaml" --log-file - >"$T/agent.out" 2>&1 &
works() { as "$1" timeout 20 "$BUILD/nefia" exec --target web -- true >"$T/exec-$1.out" 2>&1; }
until_true 10 works a || fail "exec at a"

# ---- a second hub in the same folder, in an environment with another runtime folder: none; commands find the first
mkdir -m 700 "$T/runtime"
as a env XDG_RUNTIME_DIR="$T/runtime" HOME="$T" "$BUILD/nefia" hub >"$T/second.out" 2>&1 && fail "a second hub in one folder"
grep -q 'E1012' "$T/second.out" || fail "what the second hub says"
ok "a second hub in one folder is refused"

# ---- the folder is copied by hand
[ -z "${LONG:-}" ] || sleep 100 # what the commands left behind in a has come to rest
cp -a "$T/a" "$T/b" && rm -rf "$T/b/run"
sed -i 's/^watermark .*/watermark 1/' "$T/b/hub-state.json" # an old copy: else its handshakes are a minute in the future
as b "$BUILD/nefia" hub >"$T/hub-b.out" 2>&1 &
until_true 5 test -S "$T/b/run/hub.sock" || fail "hub b does not start"
until_true 15 works b || fail "exec at b, which began later"
if [ -n "${LONG:-}" ]; then
	# Nothing is asked of a meanwhile that would make it send.
	begin=$(now_ms) calm=$(calm_ms)
	stands_back() { sleep 1; as a "$BUILD/nefia" vpn status 2>&1 | grep -q "at 10.1.0.4:51820, seen by host web .*stands back"; }
	until_true 200 stands_back || fail "a does not notice while nobody uses it"
	[ $(($(calm_ms) - calm)) -le 150000 ] || fail "a notices after $(($(now_ms) - begin)) ms only"
	ok "with nobody using it, the older hub has noticed the other after $(($(now_ms) - begin)) ms, at its next handshake"
fi
says_so() { works "$1"; grep -q 'E1056' "$T/exec-$1.out"; }
begin=$(now_ms)
until_true 20 says_so a || fail "a does not notice"
grep -q '10.1.0.4:51820, seen by host web' "$T/exec-a.out" || fail "a does not name b: $(cat "$T/exec-a.out")"
ok "the older hub names the other after $(($(now_ms) - begin)) ms: $(head -n 1 "$T/exec-a.out")"
as a "$BUILD/nefia" vpn status >"$T/status.out" 2>&1
grep -q "at 10.1.0.4:51820, seen by host web .*stands back" "$T/status.out" || fail "vpn status at a"
until_true 20 works b || fail "b does not get the agent back"
# No fight: for four seconds a sends nothing, and b works all the time.
sent() { ip netns exec $A cat /sys/class/net/e0/statistics/tx_packets; }
sleep 1
before=$(sent)
for _ in 1 2 3 4; do
	works b || fail "b loses the agent again"
	sleep 1
done
[ $(($(sent) - before)) -le 4 ] || fail "a goes on sending: $(($(sent) - before)) packets"
ok "the older one sends nothing ($(($(sent) - before)) packets in 4 s), the newer one works all the time"

# ---- a host that only the older hub knows: nobody took it, so it is reached; an agent's word counts for its own host alone
mkdir -m 700 "$T/agent-db"
as a "$BUILD/nefia" vpn invite --name db --os linux --endpoint 10.1.0.3:51820 --listen=false --token-out "$T/token-db" >"$T/invite-db.out" 2>&1 ||
	fail "invite at a hub that stands back from another host"
ip netns exec $AG "$BUILD/nefia-agent" enroll --token-file "$T/token-db" --out-dir "$T/agent-db" --listen-port 51821 >"$T/enroll-db.out" 2>&1 || fail "enroll db"
ip netns exec $AG "$BUILD/nefia-agent" run --config "$T/agent-db/agent.yaml" --log-file - >"$T/agent-db.out" 2>&1 &
db_works() { as a timeout 20 "$BUILD/nefia" exec --target db -- true >"$T/exec-db.out" 2>&1; }
until_true 10 db_works || fail "a host that the newer hub does not have: $(cat "$T/exec-db.out")"
says_so a || fail "a does not stand back from web any more"
ok "the older hub serves a host that the newer one does not have"

# ---- a person takes it back
as a "$BUILD/nefia" hub reload >"$T/reload.out" 2>&1 || fail "hub reload"
until_true 10 works a || fail "a does not take the key back"
until_true 20 says_so b || fail "b does not notice"
grep -q '10.1.0.3:51820' "$T/exec-b.out" || fail "b does not name a"
until_true 20 works a || fail "exec at a after b stood back"
ok "taken back with 'nefia hub reload': now the other stands back"
as b "$BUILD/nefia" hub stop >"$T/stop.out" 2>&1 || fail "stop"
echo "PASS $TEST_NAME ($N_CHECKS checks)"
