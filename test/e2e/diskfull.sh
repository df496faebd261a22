#!/bin/bash
# a disk that is full: commands say so and leave what was there; hub and agent go on; when there is room, all is kept again
. "$(dirname "$0")/lib.sh"
SMALL=${NEFIA_SMALL_DISK:-}
[ -n "$SMALL" ] || skip "no small disk: start it by drop.sh, as root"
fill() { head -c 2000000 /dev/zero >"$SMALL/fill" 2>/dev/null; df --output=avail "$SMALL" | grep -qx ' *0' || fail "the disk is not full"; }
room() { rm -f "$SMALL/fill"; }
temps() { find "$SMALL" -name '*.tmp.*' -o -name '*.part'; }
start_sshd
export NEFIA_HOME=$SMALL/op

# init
mkdir -m 700 "$SMALL/op"
fill
expect 1 "init on a full disk" nefia init
check "its code" contains "$ERR" "Error: [E1006]"
check "the reason: $ERR" contains "$ERR" "space"
check "no half configuration" test ! -e "$SMALL/op/nefia.yaml"
check "no rubbish: $(find "$SMALL")" equal "$(temps)" ""
room
operator_init
add_agent web
mkdir -m 700 "$SMALL/web"
cp "$T/web/agent.yaml" "$SMALL/web/agent.yaml"
cp "$NEFIA_HOME/nefia.yaml" "$T/before.yaml"

# host add, rename, remove
fill
expect 1 "host add" nefia host add more --agent-config "$T/more.yaml"
check "its code" contains "$ERR" "Error: [E1006]"
check "the file is as it was" cmp "$NEFIA_HOME/nefia.yaml" "$T/before.yaml"
check "no key for a host that is not there" test ! -e "$T/more.yaml"
expect 1 "host add, the agent's file" env NEFIA_HOME="$T/elsewhere" sh -c "'$NEFIA' init >/dev/null && exec '$NEFIA' host add more --agent-config '$SMALL/more.yaml'"
check "its code: $ERR" contains "$ERR" "Error: [E10"
check "no half file" test ! -e "$SMALL/more.yaml"
NEFIA_HOME=$T/elsewhere nefia host list >"$T/list"
check "and no host" equal "$(grep -c more "$T/list")" 0
expect 1 "host rename" nefia host rename web else
expect 1 "host remove" nefia host remove web
check "the file is as it was" cmp "$NEFIA_HOME/nefia.yaml" "$T/before.yaml"
check "no rubbish: $(find "$SMALL")" equal "$(temps)" ""

# agent and hub on a full disk, from their start
"$AGENT" run --config "$SMALL/web/agent.yaml" >>"$T/agent-web.log" 2>&1 &
AGENT_PID=$!
PIDS="$PIDS $AGENT_PID"
wait_until 5 udp_bound "$AGENT_PORT_web" || fail "the agent does not start"
start_hub
expect 255 "a first contact" nefia exec --target web -- touch "$T/must-not-be"
check "a host key that cannot be kept is not accepted: $ERR" contains "$ERR" "known_hosts: the host key could not be stored"
check "its code" contains "$ERR" "Error: [E1041]"
check "nothing ran" test ! -e "$T/must-not-be"
room
expect 0 "a first contact with room" nefia exec --target web -- true
fill
expect 0 "exec" nefia exec --target web -- echo still here
check "its output" equal "$OUT" "still here"
check "the hub says that it cannot keep things" grep -q "no space" "$T/hub.log"
check "the agent too" grep -q "no space" "$T/agent-web.log"
expect 0 "vpn status" nefia vpn status --ping
kill -HUP "$AGENT_PID" "$HUB_PID"
expect 0 "exec after a reload" nefia exec --target web -- true

# fs get
head -c 3000000 /dev/urandom >"$T/big"
echo old >"$T/old"
room
cp "$T/old" "$SMALL/target"
expect 1 "fs get of more than there is room for" nefia fs get "web:$T/big" "$SMALL/target"
check "its code" contains "$ERR" "Error: [E1041]"
check "the reason: $ERR" contains "$ERR" "space"
check "the old file is there" cmp "$SMALL/target" "$T/old"
check "no rubbish: $(find "$SMALL")" equal "$(temps)" ""
# fs put: the other end's disk
expect 1 "fs put of more than there is room for" nefia fs put "$T/big" "web:$SMALL/target"
check "its code: $ERR" contains "$ERR" "Error: [E1042]"
check "the old file is there" cmp "$SMALL/target" "$T/old"
check "no rubbish: $(find "$SMALL")" wait_until 3 sh -c "[ -z \"\$(find "$SMALL" -name "*.part")\" ]"

# there is room: what must be kept is kept
expect 0 "exec" nefia exec --target web -- true
"$NEFIA" hub stop >/dev/null || fail "hub stop"
wait "$HUB_PID"
stop_pid "$AGENT_PID"
check "the hub's state: $(cat "$SMALL/op/hub-state.json")" grep -q "^watermark [1-9]" "$SMALL/op/hub-state.json"
check "the agent's state" grep -q '^peer .*:'"$HUB_PORT"' ' "$SMALL/web/agent-state"
check "the host key" test -s "$SMALL/op/known_hosts"
check "no rubbish: $(find "$SMALL")" equal "$(temps)" ""
done_all
