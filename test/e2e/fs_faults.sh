#!/bin/bash
# nefia fs when things break: transfers killed, resumed (compared, not assumed), a server that ends, a tunnel that stands still,
# limits of size at either end, no permission; the old file or the new one, never half
. "$(dirname "$0")/lib.sh"
setup
start_hub
D=$T/d
mkdir "$D"
head -c 120000000 /dev/urandom >"$D/src"
nefia exec --target web -- true >/dev/null 2>&1 || fail "no exec"

part() { ls "$D"/*.part 2>/dev/null | head -1; }
part_has() { # few programs: hold_when asks often
	set -- "$1" "$D"/*.part
	[ -e "$2" ] && [ "$(stat -c %s "$2")" -ge "$1" ]
}
no_part() { test -z "$(part)"; }
# What was on its way when the command was killed has arrived, or never will.
size_of_part() { stat -c %s "$(part)"; }
is_settled() { before=$(size_of_part); sleep 0.05; [ "$(size_of_part)" = "$before" ]; }
settled() { wait_until 5 is_settled || fail "the partial file still grows"; }
poke() { printf '\377\000\377\000' | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null; }
# interrupted KILL-SIGNAL VICTIM COMMAND... : end it when some of the file is there
interrupted() {
	sig=$1 victim=$2
	shift 2
	"$@" >"$T/out" 2>"$T/err" &
	pid=$!
	hold_when "$AGENT_PID" 10 part_has 45000000 || fail "$*: no partial file: $(cat "$T/err")"
	case $victim in
	self) kill "-$sig" "$pid" ;;
	worker) kill "-$sig" "$(pgrep -P "$HUB_PID" | head -1)" ;;
	hub) kill "-$sig" "$HUB_PID" ;;
	sshd) for p in $(pgrep -P "$SSHD_PID"); do pkill -KILL -P "$p"; kill -KILL "$p"; done 2>/dev/null ;;
	esac
	kill -CONT "$AGENT_PID"
	wait "$pid"
	status=$?
}

# Killed, and gone on from: a byte that was changed in what arrived shows that it was not copied again.
for way in get put; do
	if [ $way = get ]; then from=web:$D/src to=$D/dst; else from=$D/src to=web:$D/dst; fi
	printf old >"$D/dst"
	interrupted KILL self "$NEFIA" fs $way --resume "$from" "$to"
	check "$way: the old file is there" equal "$(cat "$D/dst")" old
	wait_until 5 part_has 1 || fail "$way: no partial file is kept"
	settled
	check "$way: one partial file is there" equal "$(ls "$D"/*.part | wc -l)" 1
	poke "$(part)" 1000
	expect 0 "$way: the next goes on" nefia fs $way --resume "$from" "$to"
	check "$way: from what was there" equal "$(cmp -l "$D/src" "$D/dst" | awk '$1 < 1001 || $1 > 1004' | wc -l)" 0
	check "$way: not from the beginning" test -n "$(cmp "$D/src" "$D/dst")"
	check "$way: nothing is left" no_part

	# What is at its end is compared: another file's bytes are noticed.
	printf old >"$D/dst"
	interrupted KILL self "$NEFIA" fs $way --resume "$from" "$to"
	settled
	at=$(($(stat -c %s "$(part)") - 33 * 1024 * 1024))
	dd if=/dev/urandom of="$(part)" bs=1M count=33 seek="$at" oflag=seek_bytes conv=notrunc 2>/dev/null
	expect 0 "$way: the next begins anew" nefia fs $way --resume "$from" "$to"
	check "$way: whole" cmp "$D/src" "$D/dst"

	# The file became another: its partial copy is of no use.
	interrupted KILL self "$NEFIA" fs $way --resume "$from" "$to"
	settled
	poke "$D/src" 5000
	touch -d '2020-01-01' "$D/src"
	expect 0 "$way: another file" nefia fs $way --resume "$from" "$to"
	check "$way: whole" cmp "$D/src" "$D/dst"
	rm -f "$D"/*.part

	# Ctrl-C: the old file, and no partial one unless it is to be resumed.
	printf old >"$D/dst"
	interrupted TERM self "$NEFIA" fs $way "$from" "$to"
	check "$way: ended by the signal" equal "$status" 143
	check "$way: the old file" equal "$(cat "$D/dst")" old
	check "$way: no partial file" wait_until 5 no_part

	# The server's process dies: an error; with --resume, the copy goes on by itself.
	interrupted KILL sshd "$NEFIA" fs $way "$from" "$to"
	check "$way: a server that ends is an error" equal "$status" 1
	check "$way: and said" contains "$(cat "$T/err")" "Error: [E10"
	check "$way: the old file" equal "$(cat "$D/dst")" old
	rm -f "$D"/*.part # a put's: nobody was left there to take it away
	interrupted KILL sshd "$NEFIA" fs $way --resume "$from" "$to"
	check "$way: goes on by itself: $(cat "$T/err")" equal "$status" 0
	check "$way: whole" cmp "$D/src" "$D/dst"
	printf old >"$D/dst"
	interrupted KILL worker "$NEFIA" fs $way --resume "$from" "$to"
	check "$way: goes on with another worker: $(cat "$T/err")" equal "$status" 0
	check "$way: whole" cmp "$D/src" "$D/dst"
done

# The far machine stands still for a while.
nefia fs get "web:$D/src" "$D/still" >"$T/out" 2>"$T/err" &
pid=$!
hold_when "$AGENT_PID" 10 part_has 20000000 || fail "a get does not begin: $(cat "$T/err")"
sleep 1
kill -CONT "$AGENT_PID"
wait "$pid" || fail "a get across a pause: $(cat "$T/err")"
check "whole" cmp "$D/src" "$D/still"

# A limit here, as of a disk that is full: said, and nothing is left.
( trap '' XFSZ; ulimit -f 20000; "$NEFIA" fs get "web:$D/src" "$D/limit" >"$T/out" 2>"$T/err" ) && fail "a get beyond the limit succeeded"
check "a local error" contains "$(cat "$T/err")" "Error: [E1041]"
check "nothing is left here" test ! -e "$D/limit" -a -z "$(part)"
# And there.
stop_sshd
for p in $(pgrep -f "sshd: .*" -P "$SSHD_PID"); do kill "$p"; done 2>/dev/null
( trap '' XFSZ; ulimit -f 20000; exec "$SSHD" -D -e -f "$T/sshd/config" >>"$T/sshd.log" 2>&1 ) &
SSHD_PID=$!
PIDS="$PIDS $SSHD_PID"
wait_until 5 port_answers "$SSH_PORT" || fail "sshd does not listen"
nefia hub stop >/dev/null 2>&1
wait "$HUB_PID" 2>/dev/null
start_hub
expect 1 "a put beyond the limit there" nefia fs put "$D/src" "web:$D/limit"
check "a remote error" contains "$ERR" "Error: [E1042]"
check "it names the file" contains "$ERR" "$D/limit"
check "nothing is left there" wait_until 5 no_part
if [ "$(id -u)" != 0 ]; then
	printf x >"$D/mine"
	chmod 000 "$D/mine"
	expect 1 "get without permission" nefia fs get "web:$D/mine" "$D/x"
	check "it says why" contains "$ERR" "permission denied"
	expect 1 "put without permission" nefia fs put "$T/id.pub" web:/etc/nefia-test
	check "it says why" contains "$ERR" "permission denied"
fi

# Whatever dies at whatever moment: the old file or the new one.
head -c 12000000 "$D/src" >"$D/new"
head -c 3000000 /dev/urandom >"$D/older"
for i in $(seq 10); do
	cp "$D/older" "$D/target"
	way=$([ $((i % 2)) = 0 ] && echo put || echo get)
	[ "$way" = put ] && { from=$D/new to=web:$D/target; } || { from=web:$D/new to=$D/target; }
	"$NEFIA" fs $way "$from" "$to" >/dev/null 2>&1 &
	pid=$!
	sleep "0.0$((RANDOM % 10))$((RANDOM % 10))"
	case $((RANDOM % 3)) in
	0) kill -9 "$pid" ;;
	1) kill -9 "$(pgrep -P "$HUB_PID" | head -1)" 2>/dev/null ;;
	2) kill -9 "$HUB_PID"; wait "$HUB_PID" 2>/dev/null ;;
	esac
	wait "$pid" 2>/dev/null
	cmp -s "$D/target" "$D/older" || check "$way $i: old or new, never half" cmp "$D/target" "$D/new"
	kill -0 "$HUB_PID" 2>/dev/null || { nefia hub stop >/dev/null 2>&1; start_hub; }
done
done_all
