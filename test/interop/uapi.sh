#!/bin/bash
# test/interop/uapi.sh - the real wg tool on our hub and agent, and `nefia wg` beside it, in a private mount namespace.
set -u
name=uapi
skip() { echo "SKIP $name: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "needs root for a mount namespace"
command -v wg >/dev/null || skip "wg is not installed"
HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=${BUILD:-$HERE/../../build}
if [ -z "${UAPI_INSIDE:-}" ]; then
	# /var/run/wireguard is the wg tool's only place: ours shall be seen by nobody else.
	unshare -m true 2>/dev/null || skip "no private mounts here"
	UAPI_INSIDE=1 exec unshare -m bash "$0"
fi
mount --make-rprivate / && mkdir -p /var/run/wireguard && mount -t tmpfs none /var/run/wireguard || skip "no private mounts here"
. "$HERE/../e2e/lib.sh"
setup
start_hub
wait_until 5 test -S /var/run/wireguard/nefia.sock || fail "the hub does not serve"
wait_until 5 test -S /var/run/wireguard/nefia-agent.sock || fail "the agent does not serve"
check "mode 0600" equal "$(stat -c %a /var/run/wireguard/nefia.sock)" 600
nefia exec --target web -- true || fail "exec"

for i in nefia nefia-agent; do
	check "$i: showconf is wg's" equal "$(nefia wg showconf $i)" "$(wg showconf $i)"
	# The age of the handshake may tick between the two.
	ours=$(nefia wg show $i | grep -v 'latest handshake\|transfer')
	check "$i: show is wg's" equal "$ours" "$(wg show $i | grep -v 'latest handshake\|transfer')"
	check "$i: a handshake is shown" contains "$(nefia wg show $i)" "latest handshake: "
done
check "the port" equal "$(wg show nefia listen-port)" "$HUB_PORT"
agent=$(wg show nefia peers)
hub=$(wg show nefia-agent peers)
check "they are each other's peers" equal "$(wg show nefia-agent public-key)" "$agent"
check "both ways" equal "$(wg show nefia public-key)" "$hub"

# set by the real tool, seen by ours, and the reverse
other=$(wg genkey | wg pubkey)
wg genpsk >"$T/psk"
check "wg set" wg set nefia peer "$other" preshared-key "$T/psk" endpoint 192.0.2.9:1234 persistent-keepalive 25 \
	allowed-ips 10.99.0.77/32,fd00::77/128
conf=$(nefia wg showconf nefia)
check "the peer" contains "$conf" "PublicKey = $other"
check "its key" contains "$conf" "PresharedKey = $(cat "$T/psk")"
check "its endpoint" contains "$conf" "Endpoint = 192.0.2.9:1234"
check "its addresses" contains "$conf" "10.99.0.77/32, fd00::77/128"
check "its keepalive" contains "$conf" "PersistentKeepalive = 25"
check "nefia wg set" "$NEFIA" wg set nefia peer "$other" persistent-keepalive off allowed-ips 10.99.0.78/32 \
	endpoint '[2001:db8::1]:99' preshared-key /dev/null
check "seen by wg: addresses" equal "$(wg show nefia allowed-ips | grep "$other")" "$other	10.99.0.78/32"
check "seen by wg: keepalive" equal "$(wg show nefia persistent-keepalive | grep "$other")" "$other	off"
check "seen by wg: endpoint" equal "$(wg show nefia endpoints | grep "$other")" "$other	[2001:db8::1]:99"
check "seen by wg: no preshared key" equal "$(wg show nefia preshared-keys | grep "$other")" "$other	(none)"
check "syncconf" wg syncconf nefia <(printf '%s\n' "$conf" | sed 's/:1234/:4321/')
check "syncconf is seen" contains "$(nefia wg showconf nefia)" "Endpoint = 192.0.2.9:4321"
# setconf of a file without ListenPort asks for port 0: the port stays, as do the peers that the file names
check "setconf" wg setconf nefia <(printf '%s\n' "$conf" | grep -v ListenPort)
check "the port stays" equal "$(wg show nefia listen-port)" "$HUB_PORT"
check "setconf is seen" equal "$(nefia wg showconf nefia | grep -c "^\[Peer\]")" 2
check "addconf" wg addconf nefia <(printf '[Peer]\nPublicKey = %s\nAllowedIPs = 10.99.0.79/32\n' "$other")
check "addconf is seen" equal "$(wg show nefia allowed-ips | grep "$other")" "$other	10.99.0.79/32"
expect 1 "a mark takes a capability" wg set nefia fwmark 7
contains "$ERR" "Operation not supported" || fail "its errno: $ERR"
check "removed" "$NEFIA" wg set nefia peer "$other" remove
check "it is gone" equal "$(wg show nefia peers)" "$agent"
expect 2 "an unknown setting" nefia wg set nefia peer "$other" colour blue
expect 2 "a bad key" nefia wg set nefia peer nonsense
expect 2 "a value that is none" nefia wg set nefia listen-port 99999
check "it is named" contains "$ERR" "'99999' is not a port"
expect 1 "a port that somebody has" nefia wg set nefia listen-port "$AGENT_PORT_web"
check "its code" contains "$ERR" "[E1043]"
check "and why" contains "$ERR" "Address already in use"
expect 1 "nobody there" nefia wg show nobody
check "its code" contains "$ERR" "[E1013]"
nefia exec --target web -- true || fail "exec after all this"
nefia hub stop >/dev/null
check "the socket is gone" test ! -e /var/run/wireguard/nefia.sock
done_all
