#!/bin/bash
# the SSH worker in a whole installation: several transfers at once, the limit of the file size, a revoked key, a server that
# ends, a hub that is killed in the middle
. "$(dirname "$0")/lib.sh"
setup
# Keys are exchanged anew again and again under what follows.
echo 'RekeyLimit 1M' >>"$T/sshd/config"
hup_sshd
start_hub

head -c 3000000 /dev/urandom >"$T/src"
for i in 1 2 3 4; do "$NEFIA" fs put "$T/src" "web:$T/dst$i" >/dev/null 2>&1 & pids[i]=$!; done
for i in 1 2 3 4; do wait "${pids[i]}" || fail "put $i of four at once"; done
for i in 1 2 3 4; do "$NEFIA" fs get "web:$T/dst$i" "$T/back$i" >/dev/null 2>&1 & pids[i]=$!; done
for i in 1 2 3 4; do wait "${pids[i]}" || fail "get $i of four at once"; done
for i in 1 2 3 4; do check "file $i of four at once is whole" cmp "$T/src" "$T/back$i"; done

check "keys were exchanged anew" contains "$("$NEFIA" exec --target web -- 'head -c 5000000 /dev/zero | cksum')" " 5000000"

# What the pool has is shown, and sessions with files are counted from their begin to their end.
pool() { "$NEFIA" vpn status --live --json | tr -d ' \n' | grep -o '"ssh":{[^}]*}'; }
pool_is() { equal "$(pool)" "\"ssh\":{\"connections\":$1,\"sessions\":$2,\"file_sessions\":$3,\"file_sessions_ended\":$4}"; }
at_rest() { contains "$(pool)" '"sessions":0,"file_sessions":0'; }
check "all have ended" wait_until 3 at_rest
ended=$(pool | sed 's/.*ended"://; s/}//')
check "files were carried: $(pool)" test "$ended" -ge 8
n_conns=$(pool | sed 's/.*connections"://; s/,.*//')
"$NEFIA" exec --target web -- "until [ -e $T/seen ]; do sleep 0.05; done" &
sleeper=$!
check "a session is seen" wait_until 2 pool_is "$n_conns" 1 0 "$ended"
touch "$T/seen"
wait $sleeper
nefia fs cat "web:$T/src" >"$T/cat"
check "and that files went" wait_until 2 pool_is "$n_conns" 0 0 $((ended + 1))

# An idle connection whose server ends costs nothing, and the next command has a new one.
worker=$(pgrep -P "$HUB_PID" -x nefia-ssh | head -1)
ticks() { awk '{print $14 + $15}' "/proc/$worker/stat"; }
for p in $(pgrep -P "$SSHD_PID"); do pkill -P "$p"; kill "$p" 2>/dev/null; done
sleep 0.3
before=$(ticks)
sleep 1
check "an idle worker does not spin" test $(($(ticks) - before)) -lt 20
expect 0 "a command after the server's end" nefia exec --target web -- true

# A server that lets a connection have one session: more connections.
sed -i 's/^MaxSessions.*/MaxSessions 1/' "$T/sshd/config"
hup_sshd
for p in $(pgrep -P "$SSHD_PID"); do pkill -P "$p"; kill "$p" 2>/dev/null; done
for i in 1 2 3; do "$NEFIA" exec --target web -- 'sleep 0.5; echo here' >"$T/exec$i" 2>&1 & pids[i]=$!; done
sleep 0.1
expect 0 "a put beside three commands and MaxSessions 1" nefia fs put "$T/src" "web:$T/dst1"
for i in 1 2 3; do wait "${pids[i]}" || fail "command $i with MaxSessions 1: $(cat "$T/exec$i")"; done
sed -i 's/^MaxSessions.*/MaxSessions 100/' "$T/sshd/config"
hup_sshd

# A command that the server drops without a status is no success.
expect 255 "a killed session" nefia exec --target web -- 'kill -9 $PPID; sleep 5'

# What the CPU watch does is told.
worker=$(pgrep -P "$HUB_PID" -x nefia-ssh | head -1)
kill -PROF "$worker"
wait_until 5 grep -q 'compute without end' "$T/hub.log" || fail "the hub does not say why a worker was ended"
expect 0 "a command after it" nefia exec --target web -- true
worker=$(pgrep -P "$HUB_PID" -x nefia-ssh | head -1)

# Killed in the middle of a put: the old file or the new one, never a part.
echo old >"$T/target"
head -c 20000000 /dev/zero | tr '\0' 'x' >"$T/large"
nefia fs put "$T/large" "web:$T/target" >/dev/null 2>&1 &
p=$!
partial() { ls "$T"/target.nefia-*.part; }
hold_when "$AGENT_PID" 10 partial || fail "the put does not begin"
kill -9 "$worker" 2>/dev/null
kill -CONT "$AGENT_PID"
wait "$p" && fail "a put without its worker succeeded"
check "the old file is there" equal "$(cat "$T/target")" old
rm -f "$T"/target.nefia-*.part
expect 0 "put again" nefia fs put "$T/large" "web:$T/target"
check "the new file is whole" cmp "$T/large" "$T/target"
check "nothing is left" test -z "$(ls "$T"/*.part 2>/dev/null)"

# A full disk at the far end.
SMALL=${NEFIA_SMALL_DISK:-}
if [ -n "$SMALL" ]; then
	nefia fs put "$T/src" "web:$SMALL/x" >"$T/out" 2>"$T/err" && fail "put on a full disk succeeded"
	check "it says why" contains "$(cat "$T/err")" "no space left"
	is_empty() { test -z "$(ls "$SMALL")"; }
	check "nothing is left on the full disk" wait_until 5 is_empty
fi

# Bounded by ssh.max_file_size_bytes.
nefia hub stop >/dev/null 2>&1
wait "$HUB_PID" 2>/dev/null
printf 'ssh:\n  max_file_size_bytes: 1000000\n' >"$T/limit"
grep -q '^ssh:' "$NEFIA_HOME/nefia.yaml" && sed -i '/^ssh:/a\  max_file_size_bytes: 1000000' "$NEFIA_HOME/nefia.yaml" ||
	cat "$T/limit" >>"$NEFIA_HOME/nefia.yaml"
start_hub
nefia fs get "web:$T/src" "$T/over" >"$T/out" 2>"$T/err" && fail "a file above the limit was read"
check "it names the limit" contains "$(cat "$T/err")" max_file_size_bytes
check "its code" contains "$(cat "$T/err")" "Error: [E1042]"
check "nothing of it is there" test ! -e "$T/over"
head -c 999999 "$T/src" >"$T/under"
expect 0 "a file below the limit" nefia fs get "web:$T/under" "$T/got"
check "it is whole" cmp "$T/under" "$T/got"
nefia hub stop >/dev/null 2>&1
wait "$HUB_PID" 2>/dev/null

# Known with its RSA key only: that is asked for, though the server has others that we like better.
ssh-keygen -q -t rsa -b 3072 -N '' -f "$T/sshd/rsa_key" </dev/null
sed -i "/^HostKey/a HostKey $T/sshd/rsa_key" "$T/sshd/config"
hup_sshd
{ printf 'web.nefia '; cut -d' ' -f1,2 "$T/sshd/rsa_key.pub"; } >"$NEFIA_HOME/known_hosts"
start_hub
expect 0 "a host known by its RSA key" nefia exec --target web -- true
check "nothing else was learned" equal "$(wc -l <"$NEFIA_HOME/known_hosts")" 1
nefia hub stop >/dev/null 2>&1
wait "$HUB_PID" 2>/dev/null

# A revocation for a pattern of names.
{ printf '@revoked *.nefia '; cut -d' ' -f1,2 "$T/sshd/rsa_key.pub"; } >>"$NEFIA_HOME/known_hosts"
start_hub
expect 255 "a revoked key" nefia exec --target web -- true
check "it says revoked" contains "$ERR" revoked
done_all
