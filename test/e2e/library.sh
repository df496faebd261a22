#!/bin/bash
# libnefia with a real agent and sshd: commands, dials, listening, with a hub and without, from C, from Python.
. "$(dirname "$0")/lib.sh"
LIB=$BUILD/libnefia.so.0
[ -f "$LIB" ] || fail "the library is not built: $LIB"
EX=$BUILD/examples
setup
export NEFIA_WORKER=$NEFIA

# ---- what it shows, what it needs ----
shown=$(nm -D --defined-only "$LIB" | awk '$2 != "A" && $3 !~ /^nefia_/ { print $3 }')
check "only nefia_* is seen" equal "$shown" ""
n=$(nm -g --defined-only "$BUILD/libnefia.a" 2>/dev/null | awk 'NF == 3 && $3 !~ /^nefia_/ { print $3 }')
check "the static one keeps its names to itself" equal "$n" ""

# ---- commands, no hub ----
expect 7 "exit status" "$EX/run" web 'echo out; echo err >&2; exit 7'
check "standard output" equal "$OUT" out
check "standard error, and nothing of the library's own" equal "$ERR" err
expect 255 "an unknown host" "$EX/run" nobody true
check "which one" contains "$ERR" "unknown host: nobody"
expect 255 "a killed command" "$EX/run" web 'kill -9 $$'
check "which signal" contains "$ERR" SIGKILL
head -c 67108864 /dev/urandom >"$T/blob"
"$EX/run" web 'cat' <"$T/blob" >"$T/back" || fail "64 MiB through a command"
check "64 MiB there and back" cmp "$T/blob" "$T/back"
rm -f "$T/back"
# What is on its way when the input ends is more than any socket holds, and nothing comes back before all of it is there.
head -c 3000000 "$T/blob" | timeout 20 "$EX/run" web 'sleep 1; wc -c' >"$T/count" || fail "who polls for output does not send its input: $?"
check "all of the input arrives" equal "$(tr -d ' ' <"$T/count")" 3000000
check "no hub and no worker stays" wait_until 3 sh -c "! pgrep -f '$NEFIA (ssh-worker|hub)'"
mkdir -p "$T/path/nefia" "$T/alone"
cp "$LIB" "$T/alone/"
expect 255 "a folder is no worker" env -u NEFIA_WORKER PATH="$T/path" LD_LIBRARY_PATH="$T/alone" "$EX/run" web true
check "says so" contains "$ERR" "no nefia program"
NEFIA_WORKER=/nonexistent/nefia expect 255 "no worker" "$EX/run" web true
check "says so" contains "$ERR" "/nonexistent/nefia"
mv "$T/id" "$T/id.away"
expect 255 "no identity" "$EX/run" web true
check "says which" contains "$ERR" "$T/id"
mv "$T/id.away" "$T/id"

# ---- with a hub ----
start_hub
stop_sshd
for i in 1 2 3 4 5 6; do "$EX/run" web true >/dev/null 2>&1; done
expect 255 "a host that rests after failures" "$EX/run" web true
check "says so" contains "$ERR" "circuit breaker open"
start_sshd
nefia hub retry >/dev/null
expect 3 "through a hub that runs" "$EX/run" web 'exit 3'
check "it is still that hub" kill -0 "$HUB_PID"

# ---- listening inside, from another operator's folder ----
export NEFIA_HOME=$T/op2
nefia init >"$T/init2.out" || fail "second operator"
PORT2=$(free_port)
set_yaml "$NEFIA_HOME/nefia.yaml" listen_port "$PORT2"
set_yaml "$NEFIA_HOME/nefia.yaml" address 10.99.0.77/24
key_in() { sed -n 's/.*[Pp]ublic key: *//p' "$1"; }
nefia host add first --public-key "$(key_in "$T/init.out")" --vpn-addr 10.99.0.1 --endpoint "127.0.0.1:$HUB_PORT" >"$T/add.out" 2>&1 ||
	fail "host add first: $(cat "$T/add.out")"
NEFIA_HOME=$T/op "$NEFIA" host add second --public-key "$(key_in "$T/init2.out")" --vpn-addr 10.99.0.77 \
	--endpoint "127.0.0.1:$PORT2" >"$T/add.out" 2>&1 || fail "host add second: $(cat "$T/add.out")"
"$EX/echo" listen 7000 >"$T/listen.log" 2>&1 &
LISTENER=$!
PIDS="$PIDS $LISTENER"
check "it listens" wait_until 5 grep -q "port 7000" "$T/listen.log"
export NEFIA_HOME=$T/op
expect 0 "a dial through the running hub" "$EX/echo" send second 7000 "there and back"
check "echo" equal "$OUT" "there and back"
expect 1 "a port that nobody listens on" "$EX/echo" send second 7001 x
check "refused" contains "$ERR" refused
stop_pid "$HUB_PID"
expect 0 "without a hub" "$EX/echo" send second 7000 "once more"
check "echo without a hub" equal "$OUT" "once more"
stop_pid "$LISTENER"
expect 0 "commands attach to nobody's leftovers" nefia exec --target web -- true

# ---- from another language ----
if command -v python3 >/dev/null; then
	PY=$E2E_DIR/nefia_ctypes.py
	[ -f "$PY" ] || PY=$E2E_DIR/../lib/nefia_ctypes.py
	# The sanitizers' runtime must come first in a program that is not built with it.
	preload=$(ldd "$LIB" | sed -n 's/.*=> \(.*lib[at]san[^ ]*\).*/\1/p')
	ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$preload expect 0 "ctypes" python3 "$PY" "$LIB" web
	check "ctypes ran a command" contains "$OUT" "status 5, out b'from python\\n'"
fi

# ---- many at once, tunnel lost and back ----
check "nobody's hub is left, so that it has its own" wait_until 5 test ! -S "$NEFIA_HOME/run/hub.sock"
expect 0 "the stress program" "$EX/many" web 8 4
check "all ran, nothing is left" equal "$OUT" "failed 0, descriptors kept 0"
"$EX/run" web 'sleep 1; echo still here' >"$T/still" 2>&1 &
STILL=$!
PIDS="$PIDS $STILL"
sleep 0.5
kill -STOP "$AGENT_PID"
sleep 1.5
kill -CONT "$AGENT_PID"
wait "$STILL" || fail "the tunnel was lost for a while: $(cat "$T/still")"
check "a command outlives a lost tunnel" equal "$(cat "$T/still")" "still here"
stop_pid "$AGENT_PID" KILL
start_agent web
expect 0 "the agent is back" "$EX/run" web true
done_all
