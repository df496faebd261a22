#!/bin/bash
# nefia exec on several hosts: selectors, prefixes, order, files, JSON, summary, exit status, Ctrl-C
. "$(dirname "$0")/lib.sh"
start_sshd
operator_init
for h in web1 web2 db1; do add_agent $h; start_agent $h; done
sed -i 's/^\( *\)- id: web\([12]\)$/&\n\1  group: web/; s/^\( *\)- id: db1$/&\n\1  group: db\n\1  tags: [prod, slow]/' "$NEFIA_HOME/nefia.yaml"
start_hub
hosts_of() { nefia exec --target "$1" --json -- true | sed 's/.*"host":"\([^"]*\)".*/\1/' | sort | paste -sd' '; }
check "a host" equal "$(hosts_of web2)" web2
check "a group" equal "$(hosts_of web)" "web1 web2"
check "a tag" equal "$(hosts_of prod)" db1
check "all" equal "$(hosts_of all)" "db1 web1 web2"
check "a list; each once" equal "$(hosts_of web2,web,tag:slow)" "db1 web1 web2"
check "a group by its kind" equal "$(hosts_of group:db)" db1
expect 255 "one unknown part" nefia exec --target web,nobody -- true
check "is named, and nothing ran" contains "$ERR" "'nobody'"

expect 0 "all well" nefia exec --target all -- 'echo out; echo err >&2; printf "no end"'
check "stdout has the names" equal "$(printf '%s\n' "$OUT" | sort | paste -sd'|')" \
	"db1: no end|db1: out|web1: no end|web1: out|web2: no end|web2: out"
check "stderr too" contains "$ERR" "web1: err"
check "the summary" contains "$ERR" "nefia: 3 hosts, 3 succeeded"
expect 1 "one failed" nefia exec --target all -- 'test "$(cat)" = "" && exit $(( $$ % 2 + 3 ))'
check "each exit status" contains "$ERR" "exit status"

# the order of the hosts, whichever is first; and much output from one that waits
nefia exec --target all --ordered -- "mkdir $T/first"' 2>/dev/null && sleep 1; echo a; head -c 9000000 /dev/zero | tr "\0" x | fold -w 1000; echo; echo b' \
	>"$T/ordered" 2>/dev/null || fail "--ordered"
rmdir "$T/first"
check "in order" equal "$(grep -v ': x*$' "$T/ordered" | paste -sd' ')" "web1: a web1: b web2: a web2: b db1: a db1: b"
check "whole" equal "$(grep -c ': x*$' "$T/ordered")" 27000

# into files
expect 0 "--output-dir" nefia exec --target web --output-dir "$T/o/deep" -- 'printf "\000\001"; echo e >&2'
check "nothing on stdout" equal "$OUT" ""
check "stdout of each" equal "$(od -An -tx1 "$T/o/deep/web1.stdout" "$T/o/deep/web2.stdout" | tr -d ' \n')" 00010001
check "stderr of each" equal "$(cat "$T/o/deep/web1.stderr" "$T/o/deep/web2.stderr" | paste -sd' ')" "e e"
: >"$T/no-folder"
expect 255 "a folder that cannot be made" nefia exec --target web --output-dir "$T/no-folder" -- touch "$T/must-not-be"
check "says so" contains "$ERR" "[E1041]"
check "nothing ran" test ! -e "$T/must-not-be"

# the same input and script for all
echo same >"$T/in"
expect 0 "--stdin" nefia exec --target all --stdin "$T/in" -- cat
check "to each" equal "$(printf '%s\n' "$OUT" | grep -c ': same$')" 3
printf '#!/bin/sh\necho "$1 $(cat)"' >"$T/script"
expect 0 "--script" nefia exec --target all --script "$T/script" --stdin "$T/in" -- word
check "on each" equal "$(printf '%s\n' "$OUT" | grep -c ': word same$')" 3
expect 0 "without input" nefia exec --target all -- cat

# one at a time
begin=$(now_ms)
expect 0 "--parallel 1" nefia exec --target all --parallel 1 -- sleep 0.4
check "one after the other" test $(($(now_ms) - begin)) -ge 1200

# time limits are each host's own
expect 1 "--timeout" nefia exec --target all --parallel 1 --timeout 1s -- "sleep 0.7; mkdir $T/late"' 2>/dev/null || sleep 9'
rmdir "$T/late"
check "one was in time" contains "$ERR" "1 succeeded"
check "the others are named" contains "$ERR" "reached the time limit: web2, db1"

# one cannot be reached
stop_pid "$AGENT_PID" KILL
"$NEFIA" hub stop >/dev/null
start_hub
begin=$(calm_ms)
expect 1 "one is down" nefia exec --target all -- echo here
check "within 15 s" test $(($(calm_ms) - begin)) -le 15000
check "the others answered" equal "$(printf '%s\n' "$OUT" | grep -c here)" 2
check "the summary says so" contains "$ERR" "2 succeeded; could not be reached: db1"
check "with its code" contains "$ERR" "Why: db1: "

# Ctrl-C reaches all
there() { [ "$(pgrep -u "$(id -u)" -fc '^sleep 63.25$')" = "$1" ]; }
"$NEFIA" exec --target web -- sleep 63.25 >"$T/int" 2>&1 &
pid=$!
check "both run" wait_until 5 there 2
kill -INT $pid
wait $pid
check "Ctrl-C" equal $? 130
check "both are gone" wait_until 3 there 0
done_all
