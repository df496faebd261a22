#!/bin/bash
# The agent's size: the static one within 3 MiB, alive in an empty root with 6 MiB resident; the dynamic one idle within 8 MiB.
# `make static` builds the static one first if it is missing or older than a source.
# alone: it runs make
cd "$(dirname "$0")/../../.." || exit 1
B=${BUILD:-build}
STATIC=build/static/nefia-agent
T=$(mktemp -d /tmp/footprint.XXXXXX)
PIDS=""
trap 'for p in $PIDS; do kill -9 "$p" 2>/dev/null; done; wait 2>/dev/null; rm -rf "$T"' EXIT
bad=0
at_most() { # at_most WHAT GOT LIMIT UNIT
	echo "$1: $2 $4 (limit $3)"
	[ -n "$2" ] && [ "$2" -le "$3" ] || { echo "FAIL $1"; bad=1; }
}
rss_of() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$1/status" 2>/dev/null; }
write_config() {
	key=$("$B/nefia-agent" keygen | sed -n 's/^Private key: //p')
	peer=$("$B/nefia-agent" keygen | sed -n 's/^Public key: //p')
	printf 'private_key: %s\naddress: 10.99.0.2/24\nlisten_port: 0\npeers:\n- public_key: %s\n  vpn_addr: 10.99.0.1\n  endpoint: 127.0.0.1:9\n' \
		"$key" "$peer" >"$1"
	chmod 600 "$1"
}
wait_for_report() { for _ in $(seq 100); do [ -s "$1" ] && return; sleep 0.05; done; echo "FAIL no health report: $(cat "$T"/*.log)"; exit 1; }

# dynamic
mkdir "$T/dynamic"
write_config "$T/dynamic/agent.yaml"
"$B/nefia-agent" run --config "$T/dynamic/agent.yaml" --log-file - --uapi-dir "$T/dynamic" >"$T/dynamic.log" 2>&1 &
PIDS=$!
wait_for_report "$T/dynamic/agent-health.json"
sleep 0.5
case $B in
*san*) echo "sanitizers: sizes are not looked at" ;;
*) at_most "idle, dynamic" "$(rss_of "$PIDS")" 8192 kB ;;
esac

# static
case $B in *san*) exit $bad ;; esac
if [ ! -x $STATIC ] || [ -n "$(find base os wg netstack tunnel agent -name '*.[ch]' -newer $STATIC -print -quit)" ]; then
	env -u B -u BUILD -u MAKEFLAGS make --no-print-directory static >"$T/make.log" 2>&1 || { tail -5 "$T/make.log"; exit 1; }
fi
at_most "size, static" "$(stat -c %s $STATIC)" $((3 << 20)) bytes
! file -L $STATIC | grep -q "dynamically linked" || { echo "FAIL it is dynamic"; bad=1; }
mkdir "$T/root"
cp $STATIC "$T/root/agent"
write_config "$T/root/agent.yaml"
rooted() { if [ "$(id -u)" = 0 ]; then exec chroot "$T/root" "$@"; else exec unshare -r chroot "$T/root" "$@"; fi; }
if ! (rooted /agent --version) >"$T/version" 2>&1; then
	echo "no chroot for this user here: $(cat "$T/version")"
	exit $bad
fi
[ "$(ls "$T/root")" = "agent
agent.yaml" ] || { echo "FAIL the root is not empty"; bad=1; }
(rooted /agent run --config /agent.yaml) >"$T/static.log" 2>&1 &
pid=$!
PIDS="$PIDS $pid"
wait_for_report "$T/root/agent-health.json"
sleep 0.5
at_most "idle, static, in an empty root" "$(rss_of "$pid")" 6144 kB
(rooted /agent status --config /agent.yaml) >"$T/status" 2>&1
[ $? = 4 ] && grep -q "^Health Status: unhealthy" "$T/status" || { echo "FAIL status there: $(cat "$T/status")"; bad=1; }
kill "$pid"
wait "$pid" || { echo "FAIL it did not end well: $(tail -3 "$T/static.log")"; bad=1; }
exit $bad
