#!/bin/bash
# An active attacker between real agents and a real hub drops, repeats, alters, cuts, delays and exchanges every message of the
# enrollment. No attack makes a host or a configuration that should not be; and with the attacker gone the same command, token
# and key succeed.
. "$(dirname "$0")/lib.sh"
TEST_NAME=enroll-mitm
command -v python3 >/dev/null || skip "python3 is not installed"
MITM=$E2E_DIR/mitm.py
[ -f "$MITM" ] || MITM=$E2E_DIR/../lib/mitm.py
operator_init
ENROLL_PORT=$(free_port)
sed -i "s/^  listen_port:.*/&\n  enroll_port: $ENROLL_PORT/" "$NEFIA_HOME/nefia.yaml"
start_hub
mkdir "$T/m"

# message, what is done to it, what the agent says: "fine" when it does no harm
cases='
0 alter:0 0 alter:9 0 alter:30 0 alter:80 0 alter:-1 0 drop 0 cut 0 twice 0 more 0 slow 0 reflect 0 other 0 before
1 alter:0 1 alter:8 1 alter:9 1 alter:10 1 alter:40 1 alter:-1 1 drop 1 cut 1 twice 1 more 1 slow 1 reflect 1 other 1 before
2 alter:0 2 alter:3 2 alter:4 2 alter:200 2 alter:-1 2 drop 2 cut 2 twice 2 more 2 slow 2 reflect 2 other
3 alter:0 3 alter:3 3 alter:4 3 alter:100 3 alter:-1 3 drop 3 cut 3 slow 3 other'
set -- $cases
n=0
port=$((33000 + $(od -An -N2 -tu2 /dev/urandom) % 20000))
while [ $# -gt 0 ]; do
	while grep -q "$(printf ':%04X ' $port)" /proc/net/tcp; do port=$((port + 1)); done
	echo "$port $1 $2" >>"$T/m/cases"
	nefia vpn invite --name "h$n" --os linux --endpoint "127.0.0.1:$HUB_PORT" --enroll-port $port --listen=false --no-print-token \
		--token-out "$T/$n.token" >"$T/inv.out" 2>&1 || fail "invite: $(cat "$T/inv.out")"
	shift 2
	n=$((n + 1))
	port=$((port + 1))
done
N=$n
python3 "$MITM" "$ENROLL_PORT" "$T/m/cases" >"$T/mitm.out" 2>&1 &
PIDS="$PIDS $!"
wait_until 5 grep -q ready "$T/mitm.out" || fail "the attacker does not start: $(cat "$T/mitm.out")"

attempt() { # attempt N OUTPUT
	"$AGENT" enroll --token-file "$T/$1.token" --out-dir "$T/a$1" --ssh-addr 127.0.0.1:1 --listen-port "$(free_port)" >"$2" 2>&1
	echo $? >>"$2"
}
key_of() { sed -n "/id: h$1$/,/invite:/s/^ *public_key: //p" "$NEFIA_HOME/nefia.yaml"; }
pids=
for n in $(seq 0 $((N - 1))); do
	attempt $n "$T/attack$n.log" &
	pids="$pids $!"
done
wait $pids
n=0
known='invalid token|validation failed|whoever answered is not the operator|connection ended before|common version|could not store|too many enrollment requests'
while read -r _ at action; do
	got=$(tail -n 1 "$T/attack$n.log")
	if [ "$action" = slow ]; then
		check "message $at $action does no harm" equal "$got" 0
	elif [ "$got" = 0 ]; then
		# More after the last that a side waits for is not read, or only after all is done.
		case "$at $action" in '2 more' | '2 twice') ;; *) fail "message $at $action: the agent enrolled" ;; esac
	else
		check "message $at $action: what the agent says" grep -qE "^Error: (the )?($known)" "$T/attack$n.log"
		check "message $at $action: no configuration" test ! -e "$T/a$n/agent.yaml"
		# Before the agent's record has come whole nothing is stored. (More after a whole answer: the record is on its way.)
		case "$at $action" in
		'1 twice' | '1 more' | '1 before') ;;
		0* | 1*) check "message $at $action: no host" equal "$(key_of $n)" '' ;;
		esac
	fi
	: >"$T/m/$(sed -n "$((n + 1))s/ .*//p" "$T/m/cases").clean"
	n=$((n + 1))
done <"$T/m/cases"

pids=
for n in $(seq 0 $((N - 1))); do
	[ ! -e "$T/a$n/agent.yaml" ] || continue
	attempt $n "$T/clean$n.log" &
	pids="$pids $!"
done
wait $pids
for n in $(seq 0 $((N - 1))); do
	what="case $n ($(sed -n "$((n + 1))p" "$T/m/cases"))"
	[ ! -e "$T/clean$n.log" ] || check "$what: the same command afterwards" equal "$(tail -n 1 "$T/clean$n.log")" 0
	private=$(sed -n 's/^private_key: //p' "$T/a$n/agent.yaml")
	check "$what: one key" equal "$(key_of $n | wc -l)" 1
	printf '%s' "$private" | grep -q . || fail "$what: no private key"
done
check "every host once" equal "$(grep -c '^ *- id: h' "$NEFIA_HOME/nefia.yaml")" "$N"
check "addresses differ" equal "$(sed -n 's/^ *addr: "\(.*\)"$/\1/p' "$NEFIA_HOME/nefia.yaml" | sort -u | wc -l)" "$N"
check "the attacker was at work" test "$(grep -c ' ' "$T/mitm.out")" -ge "$N"
echo "$N attacks on real connections, $(grep -c ' ' "$T/mitm.out") connections"
done_all
