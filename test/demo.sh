#!/bin/bash
# test/demo.sh - the product in half a minute: one command on another "machine" through our own WireGuard and TCP/IP.
#
# `make demo` runs it, through test/e2e/drop.sh, as an ordinary user without any capability.
if [ -z "${NEFIA_TEST_USER:-}" ]; then
	BUILD=${BUILD:-${B:-build}} exec "$(dirname "$0")/e2e/drop.sh" "$0"
fi
. "${NEFIA_LIB:-$(dirname "$0")/e2e/lib.sh}"
TEST_NAME=demo
bold='' plain=''
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
run() { printf '$ %s\n' "$*"; "$@" || fail "this command failed: $*"; }
nefia() { "$NEFIA" "$@"; }

capabilities_of() { awk '/^CapEff/ { print $2 }' "/proc/$1/status"; }
if [ "$(id -u)" != 0 ]; then
	say "Who we are: $(id -un), capabilities $(capabilities_of self)"
	[ "$(capabilities_of self)" = 0000000000000000 ] || fail "this user has capabilities"
else
	say "Who we are: root in a container that cannot make an ordinary user for this; nefia and nefia-agent run without capabilities"
fi

say "A real sshd on a loopback port, with throw-away keys"
start_sshd
echo "sshd listens on 127.0.0.1:$SSH_PORT"

say "The operator's key and configuration"
operator_init
cat "$T/init.out"

say "A host \"web\": an invite here, one line there"
ENROLL_PORT=$(free_port)
AGENT_PORT_web=$(free_port)
sed -i "s|identities: .*|identities: [\"$T/id\"]|; s/^ssh:/&\n  user: $TEST_USER/" "$NEFIA_HOME/nefia.yaml"
begin=$(now_ms)
echo "\$ nefia vpn invite --name web --os linux --endpoint 127.0.0.1:$HUB_PORT"
nefia vpn invite --name web --os linux --endpoint "127.0.0.1:$HUB_PORT" --enroll-port "$ENROLL_PORT" \
	--token-out "$T/token" --no-print-token >"$T/invite.out" 2>&1 &
INVITE=$!
wait_until 10 test -s "$T/token" || fail "nefia vpn invite: $(cat "$T/invite.out")"
run "$AGENT" enroll --token-file "$T/token" --out-dir "$T/web" --ssh-addr "127.0.0.1:$SSH_PORT" --listen-port "$AGENT_PORT_web"
wait $INVITE || fail "nefia vpn invite: $(cat "$T/invite.out")"
cat "$T/invite.out"
start_agent web
echo "nefia-agent runs, its own process, TCP/IP stack and UDP socket, port $AGENT_PORT_web ($(($(now_ms) - begin)) ms since the invite)"
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock" # invite's own hub

say "The hub"
start_hub
echo "nefia hub runs, UDP port $HUB_PORT, pid $HUB_PID"

say "A command through the tunnel"
begin=$(now_ms)
run nefia exec --target web -- 'echo "hello from $(id -un), kernel $(uname -r)"'
echo "($(($(now_ms) - begin)) ms with host key, login and handshake)"
begin=$(now_ms)
run nefia exec --target web -- true
echo "(and $(($(now_ms) - begin)) ms for the next one)"

say "64 MiB each way, checksums compared"
head -c 67108864 /dev/urandom >"$T/big"
sum=$(sha256sum <"$T/big")
begin=$(now_ms)
run nefia fs put "$T/big" "web:$T/there"
put=$(($(now_ms) - begin))
begin=$(now_ms)
run nefia fs get "web:$T/there" "$T/back"
get=$(($(now_ms) - begin))
[ "$(sha256sum <"$T/there")" = "$sum" ] || fail "the file that was put differs"
[ "$(sha256sum <"$T/back")" = "$sum" ] || fail "the file that was got differs"
echo "sha256 ${sum%% *}: equal on both sides"
echo "put $((67108 / (put + 1))) MB/s, get $((67108 / (get + 1))) MB/s"

say "The tunnel"
run nefia vpn status --live

say "No device, no route, no privilege"
ip -o link show type wireguard 2>/dev/null | grep . && echo "(those are not ours)"
grep -h '^Cap\(Eff\|Prm\|Bnd\)' "/proc/$HUB_PID/status"
for pid in $HUB_PID $AGENT_PID; do [ "$(capabilities_of "$pid")" = 0000000000000000 ] || fail "process $pid has capabilities"; done
say "Done in $(($(now_ms) - STARTED)) ms"
