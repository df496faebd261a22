#!/bin/bash
# Ctrl-C, closed and full outputs, lost agents and hubs: commands end in bounded time, and what ran at the host with them
. "$(dirname "$0")/lib.sh"
setup
WEB_PID=$AGENT_PID

# The remote command writes its process id, which is one of this machine.
run_remote() { # run_remote COMMAND: starts it in the background; $CMD is ours, $REMOTE the one at the host
	rm -f "$T/pid"
	"$NEFIA" exec --target web -- "echo \$\$ >$T/pid; $1" >"$T/out" 2>"$T/err" </dev/null &
	CMD=$!
	PIDS="$PIDS $CMD"
	wait_until 10 test -s "$T/pid" || fail "the command does not start: $(cat "$T/err")"
	REMOTE=$(cat "$T/pid")
}
gone() { ! kill -0 "$1" 2>/dev/null; }
# ends STATUS SECONDS "what": our command ended so, in time, counted from $BEGIN
ends() {
	wait_until "$2" gone "$CMD" || fail "$3: still there after $2 s"
	took=$(($(calm_ms) - BEGIN))
	wait "$CMD"
	got=$?
	check "$3: status $got, stderr $(cat "$T/err")" equal "$got" "$1"
	check "$3: after $took ms" test "$took" -le $(($2 * 1000))
}

for hub in "without a hub" "with a hub"; do
	if [ "$hub" = "with a hub" ]; then
		wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock" || fail "the transient hub did not end"
		start_hub
	fi
	run_remote "exec sleep 300"
	BEGIN=$(calm_ms)
	kill -INT "$CMD"
	ends 130 2 "Ctrl-C $hub"
	check "the remote process is gone" wait_until 2 gone "$REMOTE"
done

run_remote "sleep 300; sleep 300"
BEGIN=$(calm_ms)
kill -TERM "$CMD"
ends 143 2 "SIGTERM"
check "the remote processes are gone" wait_until 2 gone "$REMOTE"

run_remote "trap '' INT; while :; do sleep 0.2; done"
BEGIN=$(calm_ms)
kill -INT "$CMD"
ends 130 3 "Ctrl-C on what ignores it"
kill -9 "$REMOTE"

# nobody reads our output: it is full, and Ctrl-C still ends us
rm -f "$T/pid"
mkfifo "$T/full"
sleep 30 <"$T/full" &
READER=$!
PIDS="$PIDS $READER"
"$NEFIA" exec --target web -- "echo \$\$ >$T/pid; exec yes" >"$T/full" 2>"$T/err" &
CMD=$!
PIDS="$PIDS $CMD"
wait_until 10 test -s "$T/pid" || fail "yes does not start"
sleep 1
BEGIN=$(calm_ms)
kill -INT "$CMD"
ends 130 3 "Ctrl-C while the output is full"
check "yes is gone" wait_until 2 gone "$(cat "$T/pid")"
kill "$READER"

# the time limit ends what runs at the host as well
rm -f "$T/pid"
expect 124 "the time limit" nefia exec --target web --timeout 1s -- "echo \$\$ >$T/pid; exec sleep 300"
check "the remote process is gone" wait_until 2 gone "$(cat "$T/pid")"

# head -1: the reader leaves, quietly and at once
rm -f "$T/pid"
BEGIN=$(calm_ms)
out=$({ "$NEFIA" exec --target web -- "echo \$\$ >$T/pid; exec yes" 2>"$T/err"; echo $? >"$T/status"; } | head -1)
check "the line" equal "$out" y
check "quietly" equal "$(cat "$T/err")" ""
check "as ended by SIGPIPE" equal "$(cat "$T/status")" 141
check "at once" test $(($(calm_ms) - BEGIN)) -lt 3000
check "yes is gone" wait_until 2 gone "$(cat "$T/pid")"
add_agent db
start_agent db
out=$({ "$NEFIA" exec --target all -- yes 2>"$T/err"; echo $? >"$T/status"; } | head -1)
check "several hosts: quietly" equal "$(cat "$T/err")" ""
check "several hosts: the status" equal "$(cat "$T/status")" 141
nefia host list 2>"$T/err" | head -1 >/dev/null
check "host list" equal "$(cat "$T/err")" ""
# a full disk is no reader that left
nefia exec --target web -- echo x >/dev/full 2>"$T/err"
check "full: the status" equal $? 255
check "full: in words" contains "$(cat "$T/err")" "output"
nefia host list >/dev/full 2>"$T/err" && fail "host list into a full disk succeeded"

# Ctrl-C during a transfer: no half file stays, here or there
head -c 400000000 /dev/zero >"$T/zeros"
for way in "get web:$T/zeros $T/copy" "put $T/zeros web:$T/copy"; do
	"$NEFIA" fs $way >"$T/out" 2>"$T/err" </dev/null &
	CMD=$!
	PIDS="$PIDS $CMD"
	hold_when "$WEB_PID" 10 sh -c "find '$T' -name '*.part' | grep -q ." || fail "fs $way does not start: $(cat "$T/err")"
	kill -TERM "$CMD"
	kill -CONT "$WEB_PID"
	wait_until 2 gone "$CMD" || fail "fs $way is still there"
	wait "$CMD"
	check "fs ${way%% *}: its status" equal $? 143
	check "fs ${way%% *}: no half file" wait_until 3 sh -c "[ \$(find '$T' -name '*.part' | wc -l) = 0 ]"
	check "fs ${way%% *}: nor a whole one" test ! -e "$T/copy"
done
rm "$T/zeros"

# the SSH worker is killed under a command
run_remote "exec sleep 300"
BEGIN=$(calm_ms)
for w in $(ps -o pid= --ppid "$HUB_PID"); do kill -9 "$w"; done
ends 255 2 "the worker is killed"
check "in words" contains "$(cat "$T/err")" "Error: [E1037]"
kill -9 "$REMOTE"
expect 0 "the next one" nefia exec --target web -- true

# the hub is killed under a command
run_remote "exec sleep 300"
BEGIN=$(calm_ms)
stop_pid "$HUB_PID" KILL
ends 255 2 "the hub is killed"
check "in words" contains "$(cat "$T/err")" "Error: [E1037]"
kill -9 "$REMOTE" # sshd leaves it: it has no terminal that hung up
done_all
