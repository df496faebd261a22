#!/bin/bash
# Nothing more can be written: a home that is read-only, and a quota that is used up. What was there stays, what needs no disk works,
# and the error names the file.
. "$(dirname "$0")/lib.sh"
need_python
[ "$(id -u)" != 0 ] || skip "root may write everywhere: start it by drop.sh"
REFUSE=$(dirname "$TRAFFIC")/refuse.py
more_cleanup() { chmod -R u+w "$T"; }
start_sshd
operator_init
add_agent web
start_agent web
nefia exec --target web -- true || fail "a first contact"
"$NEFIA" hub stop >/dev/null

# ---- a home that is read-only: before there is anything in it
export HOME=$T/home NEFIA_HOME=$T/home/.nefia
unset XDG_STATE_HOME
mkdir "$HOME"
chmod 555 "$HOME"
expect 1 "init" nefia init
check "its code" contains "$ERR" "Error: [E1006]"
check "which folder: $ERR" contains "$ERR" "$HOME/.nefia: permission denied"
expect 1 "hub" nefia hub
check "its code" contains "$ERR" "Error: [E1011]"
check "which file: $ERR" contains "$ERR" "$HOME/.nefia/hub.log: permission denied"
expect 1 "enroll" "$AGENT" enroll --token x
check "which folder: $ERR" contains "$ERR" "$HOME/.nefia: permission denied"

# ---- and after: what only reads works
chmod 755 "$HOME"
cp -r "$T/op" "$HOME/.nefia"
rm -rf "$HOME/.nefia/run"
cp "$HOME/.nefia/nefia.yaml" "$T/before.yaml"
chmod 555 "$HOME" "$HOME/.nefia"
expect 0 "host list" nefia host list
expect 0 "vpn status" nefia vpn status
expect 255 "exec: one key is never used twice, and there is no place for the lock" nefia exec --target web -- true
check "its code" contains "$ERR" "Error: [E1011]"
check "which file: $ERR" contains "$ERR" "$HOME/.nefia"
expect 1 "host add" nefia host add more
check "its code" contains "$ERR" "Error: [E1006]"
check "which file: $ERR" contains "$ERR" "$HOME/.nefia/nefia.yaml: permission denied"
check "the file is as it was" cmp "$HOME/.nefia/nefia.yaml" "$T/before.yaml"
# an agent writes little, and nothing that it cannot do without
stop_pid "$AGENT_PID"
chmod 555 "$T/web"
start_agent web
NEFIA_HOME=$T/op expect 0 "exec on an agent whose folder is read-only" nefia exec --target web -- echo through
check "its output" equal "$OUT" through
check "the agent says what it could not write" grep -q "$T/web/agent-health.json error=permission denied" "$T/agent-web.log"
chmod 755 "$T/web"

# ---- a quota that is used up. The kernel says so when space is asked for or, on NFS, when the file is to reach the disk.
export NEFIA_HOME=$T/op
python3 "$REFUSE" EDQUOT pwrite64 -- true 2>/dev/null || { echo "no seccomp filter of our own here: no quota"; done_all; }
full() { python3 "$REFUSE" EDQUOT "$@"; }
rubbish() { find "$T/op" "$T/new" "$T/files" -name '*.tmp.*' -o -name '*.part'; }
mkdir -m 700 "$T/new" "$T/files"
cp "$NEFIA_HOME/nefia.yaml" "$T/before.yaml"
NEFIA_HOME=$T/new expect 1 "init" full fsync fdatasync -- "$NEFIA" init
check "its code" contains "$ERR" "Error: [E1006]"
check "the reason: $ERR" contains "$ERR" "no space left"
check "no half configuration" test ! -e "$T/new/nefia.yaml"
expect 1 "host add" full fsync fdatasync -- "$NEFIA" host add more --agent-config "$T/files/more.yaml"
check "its code" contains "$ERR" "Error: [E1041]"
check "which file: $ERR" contains "$ERR" "$T/files/more.yaml: no space left"
check "the file is as it was" cmp "$NEFIA_HOME/nefia.yaml" "$T/before.yaml"
check "no key for a host that is not there" test ! -e "$T/files/more.yaml"
head -c 300000 /dev/urandom >"$T/big"
echo old >"$T/files/target"
expect 1 "fs get" full pwrite64 -- "$NEFIA" fs get "web:$T/big" "$T/files/target"
check "the reason: $ERR" contains "$ERR" "Disk quota exceeded"
check "the old file is there" grep -qx old "$T/files/target"
check "no rubbish: $(rubbish)" equal "$(rubbish)" ""
"$NEFIA" hub stop >/dev/null
full fsync fdatasync pwrite64 -- "$NEFIA" hub >>"$T/hub.log" 2>&1 &
PIDS="$PIDS $!"
wait_until 5 test -S "$NEFIA_HOME/run/hub.sock" || fail "the hub does not start"
expect 0 "exec" nefia exec --target web -- echo still here
check "its output" equal "$OUT" "still here"
check "the hub says that it cannot keep things" wait_until 5 grep -q "no space left" "$T/hub.log"
"$NEFIA" hub stop >/dev/null || fail "hub stop"
expect 0 "exec, with room again" nefia exec --target web -- true
done_all
