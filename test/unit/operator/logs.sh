#!/bin/bash
# nefia hub logs: all, the last lines, and what comes, also across a rotation.
cd "$(dirname "$0")/../../.." || exit 1
B=$(cd "${BUILD:-build}" && pwd)
T=$(mktemp -d)
trap 'kill $P 2>/dev/null; rm -rf "$T"' EXIT
export NEFIA_HOME=$T
L=$T/hub.log
bad=0
same() { [ "$1" = "$2" ] || { echo "line ${BASH_LINENO[0]}: '$1', expected '$2'"; bad=1; }; }
same "$("$B/nefia" hub logs 2>&1)" "No log yet: $L"
seq 3000 >"$L"
same "$("$B/nefia" hub logs | cksum)" "$(seq 3000 | cksum)"
same "$("$B/nefia" hub logs -n 2 | paste -sd' ')" "2999 3000"
same "$("$B/nefia" hub logs --lines=2500 | head -n 1)" 501
same "$("$B/nefia" hub logs -n 9999 | cksum)" "$(seq 3000 | cksum)"
same "$("$B/nefia" hub logs -n 0)" ""
printf 'no end' >>"$L"
same "$("$B/nefia" hub logs -n 1)" "no end"
"$B/nefia" hub logs -f -n 0 >"$T/out" &
P=$!
sleep 0.4
echo " now" >>"$L"
sleep 0.4
mv "$L" "$L.1"
echo last >>"$L.1"
echo new >"$L"
for i in $(seq 40); do grep -q new "$T/out" && break; sleep 0.1; done
same "$(paste -sd'|' "$T/out")" " now|last|new"
exit $bad
