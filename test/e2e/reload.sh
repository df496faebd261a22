#!/bin/bash
# test/e2e/reload.sh - SIGHUP and SIGTERM of the agent: nothing that runs is cut, and the file is what counts.
. "$(dirname "$0")/lib.sh"
setup
CONF=$T/web/agent.yaml
UAPI=$T/uapi
stop_pid "$AGENT_PID"
set_yaml "$CONF" endpoint "127.0.0.1:$HUB_PORT"
start_agent_uapi() {
	"$AGENT" run --config "$CONF" --uapi-dir "$UAPI" >>"$T/agent-web.log" 2>&1 &
	AGENT_PID=$!
	PIDS="$PIDS $AGENT_PID"
	wait_until 5 test -S "$UAPI/nefia-agent.sock" || fail "the agent does not serve"
}
endpoint() { nefia wg showconf --uapi-dir "$UAPI" nefia-agent | sed -n 's/^Endpoint = //p'; }
config_error() { "$AGENT" status --config "$CONF" | grep "^Config Error: "; }
log_says() { [ "$(grep -c "$1" "$T/agent-web.log")" -ge "$2" ]; }
mkdir -m 700 "$UAPI"
start_agent_uapi
start_hub
expect 0 "exec" nefia exec --target web -- true

# begin_long: a command that runs, as $long, until end_long
begin_long() {
	rm -f "$T/long.begun" "$T/long.end"
	nefia exec --target web -- "touch $T/long.begun; until [ -e $T/long.end ]; do sleep 0.05; done; echo done" >"$T/long.out" 2>&1 &
	long=$!
	check "a command runs" wait_until 10 test -e "$T/long.begun"
}
end_long() { touch "$T/long.end"; wait "$long"; }

# a running command does not notice a reload
begin_long
kill -HUP "$AGENT_PID"
check "reloaded" wait_until 2 log_says "configuration reloaded" 1
end_long
check "the command's status" equal "$?" 0
check "the command's output" equal "$(cat "$T/long.out")" done
check "one handshake is enough" equal "$(grep -c 'session up' "$T/agent-web.log")" 1

# a file that does not parse changes nothing, and is said until the next good one
cp "$CONF" "$T/good.yaml"
set_yaml "$CONF" listen_port 77777
kill -HUP "$AGENT_PID"
check "the health report says it" wait_until 2 config_error
check "the file and line" contains "$(config_error)" "agent.yaml:"
expect 0 "exec with the old configuration" nefia exec --target web -- true
cp "$T/good.yaml" "$CONF"
kill -HUP "$AGENT_PID"
no_error() { ! config_error; }
check "and forgets it" wait_until 2 no_error

# what the userspace API has set lasts until the file is read again
hub=$(nefia wg showconf --uapi-dir "$UAPI" nefia-agent | sed -n 's/^PublicKey = //p')
other=$(echo "$hub" | tr 'a-yA-Y' 'b-zB-Z' | sed 's/.=$/A=/')
check "set an endpoint" nefia wg set --uapi-dir "$UAPI" nefia-agent peer "$hub" endpoint 192.0.2.1:9
check "add a peer" nefia wg set --uapi-dir "$UAPI" nefia-agent peer "$other" allowed-ips 10.99.0.99/32
check "it is set" equal "$(endpoint)" 192.0.2.1:9
n=$(grep -c "configuration reloaded" "$T/agent-web.log")
kill -HUP "$AGENT_PID"
check "reloaded" wait_until 2 log_says "configuration reloaded" $((n + 1))
check "the file's endpoint" equal "$(endpoint)" "127.0.0.1:$HUB_PORT"
check "the file's peers" equal "$(nefia wg showconf --uapi-dir "$UAPI" nefia-agent | grep -c '^\[Peer\]')" 1

# an endpoint and a port changed in the file
old_port=$AGENT_PORT_web
new_port=$(free_port)
set_yaml "$CONF" listen_port "$new_port"
set_yaml "$CONF" endpoint 192.0.2.2:9
kill -STOP "$HUB_PID" # what it says would show where it is
kill -HUP "$AGENT_PID"
check "the new port" wait_until 2 udp_bound "$new_port"
is_new() { [ "$(endpoint)" = 192.0.2.2:9 ]; }
check "the new endpoint" wait_until 2 is_new
kill -CONT "$HUB_PID"
set_yaml "$CONF" endpoint "127.0.0.1:$HUB_PORT"
kill -HUP "$AGENT_PID"
began=$(calm_ms)
expect 0 "exec to the new port" nefia exec --target web -- true
check "without a pause" test $(($(calm_ms) - began)) -lt 3000
set_yaml "$CONF" listen_port "$old_port"
kill -HUP "$AGENT_PID"
check "the old port again" wait_until 2 udp_bound "$old_port"

# the hub's port and address: at its next reload, with what runs undisturbed
begin_long
hub_port=$(free_port)
set_yaml "$NEFIA_HOME/nefia.yaml" listen_port "$hub_port"
kill -HUP "$HUB_PID"
check "the hub's new port" wait_until 2 udp_bound "$hub_port"
end_long
check "the command's output" equal "$(cat "$T/long.out")" done
taken=$AGENT_PORT_web
set_yaml "$NEFIA_HOME/nefia.yaml" listen_port "$taken"
kill -HUP "$HUB_PID"
hub_says() { grep -q "UDP port not changed, the old one stays port=$taken" "$T/hub.log"; }
check "a port that somebody has is refused" wait_until 2 hub_says
check "and the old one stays" udp_bound "$hub_port"
set_yaml "$NEFIA_HOME/nefia.yaml" listen_port "$HUB_PORT"
expect 0 "exec over the first port again" nefia exec --target web -- true
check "it is the first" udp_bound "$HUB_PORT"
nefia hub stop >/dev/null

# SIGTERM: what runs may end, nothing new begins
begin_long
kill -TERM "$AGENT_PID"
check "it waits" wait_until 1 log_says "waiting up to 30 s" 1
check "still there" kill -0 "$AGENT_PID"
end_long
check "the command's status" equal "$?" 0
check "the command's output" equal "$(cat "$T/long.out")" done
began=$(calm_ms)
wait "$AGENT_PID"
check "its exit status" equal "$?" 0
check "and ends at once" test $(($(calm_ms) - began)) -lt 2000
done_all
