#!/bin/bash
# files that are wrong, unreadable, open to others or not there: each a clear error that names file, line and column
. "$(dirname "$0")/lib.sh"
start_sshd
operator_init
add_agent web
CONF=$NEFIA_HOME/nefia.yaml
ACONF=$T/web/agent.yaml
cp "$CONF" "$T/good.yaml"
cp "$ACONF" "$T/agood.yaml"
key=$(sed -n 's/.*private_key: *//p' "$CONF" | tr -d '"')

# wrong FILE GOOD "SED EXPRESSION" "WHAT IS SAID" COMMAND...: refused with status 1, FILE:LINE:COL of the line that was changed
wrong() {
	local file=$1 good=$2 edit=$3 said=$4 line
	shift 4
	sed "$edit" "$good" >"$file"
	line=$(cmp -l "$good" "$file" 2>/dev/null | head -1 | awk '{ print $1 }')
	[ -n "$line" ] || fail "the edit changes nothing: $edit"
	line=$(head -c "$((line - 1))" "$good" | wc -l)
	expect 1 "$edit" timeout 5 "$@"
	# what opens a bracket is noticed a little later
	lines="($(seq -s "|" $((line + 1)) $((line + 4))))"
	check "$edit: $ERR" grep -Eq "$(basename "$file"):$lines:[0-9]+: " "$T/err"
	check "$edit: the reason" contains "$ERR" "$said"
}
hub_wrong() {
	wrong "$CONF" "$T/good.yaml" "$1" "$2" "$NEFIA" host list
	check "$1: its code" contains "$ERR" "Error: [E1002]"
	check "$1: the next step" contains "$ERR" "Try: "
}
agent_wrong() { wrong "$ACONF" "$T/agood.yaml" "$1" "$2" "$AGENT" run --config "$ACONF"; }

hub_wrong 's/^vpn:/vpn: [/' ''
hub_wrong 's/^\( *\)address:.*/\1address: 10.99.0.1\/99/' 'address'
hub_wrong 's/^\( *\)address:.*/\1address: [10.99.0.1\/24, nonsense]/' 'address'
hub_wrong 's/^\( *\)listen_port:.*/\1listen_port: 70000/' ''
hub_wrong 's/^\( *\)listen_port:.*/\1listen_port: many/' ''
hub_wrong 's/^\( *\)private_key:.*/\1private_key: AAAA/' 'key'
hub_wrong "s|^\( *\)private_key:.*|\1private_key: ${key%=}!|" 'key'
hub_wrong 's/^\( *\)public_key:.*/\1public_key: not-a-key/' 'key'
hub_wrong 's/^\( *\)endpoint:.*/\1endpoint: 127.0.0.1/' ''
hub_wrong 's/^\( *\)endpoint:.*/\1endpoint: 127.0.0.1:99999/' ''
hub_wrong 's/^\( *\)addr:.*/\1addr: 10.99.0.300/' 'address'
hub_wrong 's/^\( *\)- id:.*/\1- id: "-x y"/' 'id'
hub_wrong 's/^\( *\)version:.*/\1version: 99/' 'newer'
hub_wrong 's/^\( *\)address:/\1adress:/' ''

agent_wrong 's/^peers:/peers: {/' ''
agent_wrong 's/^address:.*/address: 10.99.0.2/' 'address'
agent_wrong 's/^listen_port:.*/listen_port: -1/' ''
agent_wrong 's/^private_key:.*/private_key: AAAA/' 'key'
agent_wrong 's/^private_key:.*/private_key: ""/' 'private_key'
agent_wrong 's/^\( *-* *\)public_key:.*/\1public_key: AAAA/' 'key'
agent_wrong 's/^\( *-* *\)vpn_addr:.*/\1vpn_addr: nowhere/' 'vpn_addr'
agent_wrong 's/^ssh_addr:.*/derp_probe_interval: 3s/' '30s'
agent_wrong 's/^ssh_addr:.*/derp_probe_interval: soon/' 'duration'

# bytes that no person writes: an error, in bounded time, never a crash
for good in "$T/good.yaml" "$T/agood.yaml"; do
	{ head -c 200 "$good"; head -c 300 /dev/urandom; } >"$T/noise"
	head -c $(($(grep -bo "private_key" "$good" | head -1 | cut -d: -f1) + 30)) "$good" >"$T/short" # in the middle of the key
	: >"$T/empty"
	head -c 2000000 /dev/zero | tr '\0' a >"$T/long"
	{ printf 'a: &a [x, x]\n'; for c in b c d e f g h i; do printf '%s: &%s [*%s, *%s]\n' $c $c "$(echo $c | tr b-i a-h)" "$(echo $c | tr b-i a-h)"; done; } >"$T/bomb"
	head -c 100000 /dev/zero | tr '\0' '[' >"$T/deep"
	for f in noise short empty long bomb deep; do
		chmod 600 "$T/$f"
		if [ "$good" = "$T/good.yaml" ]; then
			cp "$T/$f" "$CONF"
			expect 1 "operator: $f" timeout 5 "$NEFIA" host list
			check "operator: $f: $ERR" contains "$ERR" "Error: [E100"
		else
			cp "$T/$f" "$ACONF"
			expect 1 "agent: $f" timeout 5 "$AGENT" run --config "$ACONF"
			check "agent: $f: $ERR" contains "$ERR" "agent.yaml"
		fi
	done
done
cp "$T/good.yaml" "$CONF"
cp "$T/agood.yaml" "$ACONF"
chmod 600 "$CONF" "$ACONF"

# open to others, unreadable, a folder, not there
for mode in 640 604 622 660; do
	chmod $mode "$CONF" "$ACONF"
	expect 1 "operator: mode $mode" nefia host list
	check "its code" contains "$ERR" "Error: [E1003]"
	expect 1 "agent: mode $mode" timeout 5 "$AGENT" run --config "$ACONF"
	check "how to mend it" contains "$ERR" "chmod 600"
done
chmod 600 "$CONF" "$ACONF"
if [ "$(id -u)" != 0 ]; then
	chmod 000 "$CONF" "$ACONF"
	expect 1 "operator: unreadable" nefia host list
	check "named" contains "$ERR" "$CONF"
	expect 1 "agent: unreadable" timeout 5 "$AGENT" run --config "$ACONF"
	check "named" contains "$ERR" "$ACONF"
	chmod 600 "$CONF" "$ACONF"
fi
expect 1 "agent: a folder" timeout 5 "$AGENT" run --config "$T"
expect 1 "agent: not there" timeout 5 "$AGENT" run --config "$T/nowhere/agent.yaml"
check "named" contains "$ERR" "$T/nowhere/agent.yaml"
expect 1 "operator: not there" env NEFIA_HOME="$T/nowhere" "$NEFIA" host list
check "its code" contains "$ERR" "Error: [E1001]"

# keys for ssh: open to others, unreadable, nonsense, one with a passphrase
start_agent web
try_identity() { # try_identity "what" "what is said"
	expect 255 "identity: $1" nefia exec --target web -- true
	check "identity: $1: its code: $ERR" contains "$ERR" "Error: [E1034]"
	check "identity: $1: the file" contains "$ERR" "$T/id"
	check "identity: $1: the reason" contains "$ERR" "$2"
	wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock" || fail "the hub stayed"
}
cp "$T/id" "$T/id.good"
chmod 644 "$T/id"
try_identity "open to others" "others"
chmod 600 "$T/id"
echo nonsense >"$T/id"
try_identity "nonsense" "key"
rm "$T/id"
cp "$T/id.good" "$T/id"
ssh-keygen -q -p -P "" -N secret -f "$T/id" </dev/null
try_identity "with a passphrase" "passphrase"
rm -f "$T/id"
try_identity "not there" "not found"
if [ "$(id -u)" != 0 ]; then
	cp "$T/id.good" "$T/id"
	chmod 000 "$T/id"
	try_identity "unreadable" "permission"
	chmod 600 "$T/id"
fi
rm -f "$T/id"
cp "$T/id.good" "$T/id"
chmod 600 "$T/id"
expect 0 "with the right one all is well" nefia exec --target web -- true

# ports in use
expect 1 "a second agent with the same key" timeout 5 "$AGENT" run --config "$ACONF"
check "named" contains "$ERR" "another nefia-agent runs with $ACONF"
mkdir "$T/twin"
cp "$ACONF" "$T/twin/agent.yaml"
expect 1 "another agent on the port" timeout 5 "$AGENT" run --config "$T/twin/agent.yaml"
check "the port" contains "$ERR" "$AGENT_PORT_web"
check "the reason" contains "$ERR" "in use"

# folders that cannot be used
if [ "$(id -u)" != 0 ]; then
	mkdir "$T/locked"
	chmod 500 "$T/locked"
	expect 1 "init where nothing may be written" env NEFIA_HOME="$T/locked/op" "$NEFIA" init
	check "its code" contains "$ERR" "[E1006]"
	mkdir "$T/closed"
	cp "$CONF" "$T/closed/nefia.yaml"
	chmod 500 "$T/closed"
	expect 255 "a hub without a place for its socket" env NEFIA_HOME="$T/closed" "$NEFIA" exec --target web -- true
	check "its code: $ERR" contains "$ERR" "[E1011]"
	expect 1 "host add where nothing may be written" env NEFIA_HOME="$T/closed" "$NEFIA" host add x --agent-config "$T/x.yaml"
	check "no file for it" test ! -e "$T/x.yaml"
	chmod 700 "$T/closed" "$T/locked"
fi
long=$T/$(printf 'x%.0s' $(seq 110))
mkdir "$long"
cp "$CONF" "$long/nefia.yaml"
expect 255 "a folder too long for a socket" env NEFIA_HOME="$long" "$NEFIA" exec --target web -- true
check "its code" contains "$ERR" "[E1011]"
check "the next step: $ERR" contains "$ERR" "NEFIA_HOME"

# arguments
wg_key=$(sed -n 's/.*public_key: *//p' "$CONF")
expect 1 "host add: a bad key" nefia host add x --public-key AAAA --vpn-addr 10.99.0.9
check "its code" contains "$ERR" "[E1023]"
expect 1 "host add: an address in use" nefia host add x --public-key "$wg_key" --vpn-addr 10.99.0.2
expect 1 "host add: an address of no kind" nefia host add x --vpn-addr 300.1.1.1 --agent-config "$T/x.yaml"
check "its code" contains "$ERR" "[E1024]"
expect 1 "host add: a name in use" nefia host add web --agent-config "$T/x.yaml"
check "its code" contains "$ERR" "[E1022]"
check "nothing was written" test ! -e "$T/x.yaml"
check "the file is as it was" cmp "$CONF" "$T/good.yaml"
expect 1 "init again" nefia init
check "its code" contains "$ERR" "[E1005]"
check "the file is as it was" cmp "$CONF" "$T/good.yaml"

expect 2 "hub: a level that is none" timeout 5 "$NEFIA" hub --log-level loud
check "which are: $ERR" contains "$ERR" "--log-level must be debug, info, warn or error"

# a hub that runs: what it is told to read, and which host is meant
start_hub
sed 's/^vpn:/vpn: [/' "$T/good.yaml" >"$CONF"
expect 1 "hub reload of a file that is wrong" nefia hub reload
check "its code: $ERR" contains "$ERR" "[E1002]"
cp "$T/good.yaml" "$CONF"
expect 0 "hub reload" nefia hub reload
expect 1 "hub retry of a host that is none" nefia hub retry nobody
check "its code: $ERR" contains "$ERR" "[E1021]"
expect 1 "hub retry of what is no word" nefia hub retry $'w\xffb'
check "its code: $ERR" contains "$ERR" "[E1021]"
expect 2 "a forward that no file can keep" timeout 5 "$NEFIA" forward web --background $'0:w\xffb:22'
check "why: $ERR" contains "$ERR" "not UTF-8"
expect 0 "an invite" nefia vpn invite --name late --os linux --endpoint "127.0.0.1:$HUB_PORT" --listen=false --no-print-token --token-out "$T/late.token"
expect 255 "exec at a host that is not enrolled" nefia exec --target late -- true
check "its code: $ERR" contains "$ERR" "[E1053]"
check "why: $ERR" contains "$ERR" "late is not enrolled yet"
kill -STOP "$HUB_PID"
expect 1 "hub retry with a hub that does not answer" timeout 15 "$NEFIA" hub retry
check "its code: $ERR" contains "$ERR" "[E1015]"
check "which process: $ERR" contains "$ERR" "the hub (pid $HUB_PID) does not answer"
expect 0 "hub stop ends it" timeout 15 "$NEFIA" hub stop
check "says so: $OUT" contains "$OUT" "Hub ended (pid $HUB_PID): it did not answer"
check "it is gone" wait_until 3 sh -c "! kill -0 $HUB_PID 2>/dev/null"
expect 0 "exec has a hub of its own again" timeout 30 "$NEFIA" exec --target web -- true

# files of the wrong kind, and targets that are not there
expect 255 "a folder as a script" nefia exec --target web --script "$T"
check "says so: $ERR" contains "$ERR" "$T: is a folder"
expect 1 "a port that nobody has" nefia nc web 1
check "its code: $ERR" contains "$ERR" "[E1018]"
check "which: $ERR" contains "$ERR" "the host could not connect to"
echo dear >"$T/dear"
expect 1 "a forward at a file" nefia forward web "$T/dear:localhost:22"
check "its code: $ERR" contains "$ERR" "[E1016]"
check "the file is as it was" equal "$(cat "$T/dear")" dear
done_all
