#!/bin/bash
# commands without a hub: the first starts one, others attach, it ends after them
. "$(dirname "$0")/lib.sh"
setup
expect 0 "exec with nothing running" nefia exec --target web -- echo alone
check "its output" equal "$OUT" alone
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock" || fail "the hub did not end with its last user"
for i in 1 2 3 4; do
	nefia exec --target web -- "sleep 0.5; echo $i" >"$T/par.$i" 2>"$T/par.$i.err" &
	eval "p$i=$!"
done
for i in 1 2 3 4; do
	eval "wait \$p$i" || fail "parallel command $i: $(cat "$T/par.$i.err")"
	check "its own output" equal "$(cat "$T/par.$i")" "$i"
done
started=$(grep -c 'hub started' "$NEFIA_HOME/hub.log")
check "four commands used one hub" equal "$started" 2
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock" || fail "the hub did not end with its last users"
expect 0 "hub logs" nefia hub logs
check "they tell of it" contains "$OUT" "hub ended"
# the configured port is taken: a transient hub takes another
"$NEFIA" hub >>"$T/hub.log" 2>&1 &
PIDS="$PIDS $!"
wait_until 5 test -S "$NEFIA_HOME/run/hub.sock" || fail "hub"
mkdir "$T/second"
cp "$NEFIA_HOME/nefia.yaml" "$T/second/nefia.yaml"
NEFIA_HOME=$T/second "$NEFIA" vpn status --live >"$T/out" 2>"$T/err" || fail "port fallback: $(cat "$T/err")"
done_all
