#!/bin/bash
# nefia vpn status: stored, live, ping, JSON
. "$(dirname "$0")/lib.sh"
setup
expect 0 "status of a fresh installation" nefia vpn status
check "first line" equal "$(printf '%s\n' "$OUT" | head -1)" "VPN: enabled (not probed)"
check "never heard" contains "$OUT" "last handshake: never [STALE]"
check "trailer" contains "$OUT" "Troubleshooting: 1 stale peer detected. Run 'nefia vpn status --live --ping' to investigate."
check "names" contains "$OUT" "MagicDNS: active (.nefia, 2 records)"
check "no hub was started for it" test ! -e "$NEFIA_HOME/run/hub.sock"
expect 0 "live" nefia vpn status --live
check "endpoint" contains "$OUT" "endpoint: 127.0.0.1:$AGENT_PORT_web"
check "path" contains "$OUT" "path: direct"
check "heard a moment ago" contains "$OUT" "s ago"
expect 0 "live as JSON" nefia vpn status --live --json
check "the socket's gauges" contains "$OUT" '"rx_dropped": 0'
expect 0 "ping" nefia vpn status --ping
check "reachable" contains "$OUT" "ping: reachable"
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock" || fail "the transient hub did not end"
expect 0 "the stored time" nefia vpn status
check "first line again" equal "$(printf '%s\n' "$OUT" | head -1)" "VPN: enabled (not probed)"
check "stored" contains "$OUT" "s ago"
expect 0 "json" nefia vpn status --json
check "is JSON" contains "$OUT" '"magic_dns"'
sed -i 's/"last_handshake": *[0-9]*/"last_handshake": '$(($(date +%s) - 12 * 60 - 5))'/' "$NEFIA_HOME/vpn-status.json"
expect 0 "old" nefia vpn status
check "12 minutes" contains "$OUT" "last handshake: 12m ago [WARN]"
sed -i 's/"last_handshake": *[0-9]*/"last_handshake": '$(($(date +%s) - 45 * 60 - 5))'/' "$NEFIA_HOME/vpn-status.json"
expect 0 "older" nefia vpn status
check "45 minutes" contains "$OUT" "last handshake: 45m ago [STALE]"
advice=$(sed -n "s/^Troubleshooting: .* Run 'nefia \(.*\)' to investigate.$/\1/p" <<<"$OUT")
check "a next step" test -n "$advice"
expect 0 "as it is advised: nefia $advice" nefia $advice
check "which looks there" contains "$OUT" "ping: reachable"
expect 0 "and what is advised where that does not help" nefia hub logs
start_hub
stop_pid "$AGENT_PID" KILL
expect 0 "ping of a dead agent" nefia vpn status --ping
check "unreachable" contains "$OUT" "ping: unreachable"

# a socket in a folder whose name is no text
"$NEFIA" hub stop >/dev/null || fail "hub stop"
mkdir -m 700 "$T/"$'wg\xff'
"$NEFIA" hub --uapi-dir "$T/"$'wg\xff' >>"$T/hub.log" 2>&1 &
HUB_PID=$!
PIDS="$PIDS $HUB_PID"
check "the hub is there" wait_until 5 test -S "$NEFIA_HOME/run/hub.sock"
check "and its socket" wait_until 5 test -S "$T/"$'wg\xff/nefia.sock'
expect 0 "its status" nefia vpn status --live --json
check "is JSON" contains "$OUT" '"magic_dns"'
done_all
