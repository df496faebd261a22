#!/bin/bash
# nefia exec: exit status, binary data, separate streams, time limit, JSON, several hosts
. "$(dirname "$0")/lib.sh"
setup
start_hub

expect 0 "a command runs" nefia exec --target web -- echo hello
check "its output" equal "$OUT" hello
expect 3 "the remote exit status" nefia exec --target web -- exit 3
expect 0 "stderr is separate" nefia exec --target web -- 'echo out; echo err >&2'
check "stdout" equal "$OUT" out
check "stderr" contains "$ERR" err
expect 0 "words are joined as ssh does" nefia exec --target web -- echo 'a  b' c
check "joined" equal "$OUT" "a b c"

head -c 3000000 /dev/urandom >"$T/blob"
nefia exec --target web -- cat <"$T/blob" >"$T/back" || fail "cat of binary stdin"
check "binary stdin and stdout" cmp "$T/blob" "$T/back"
want=$(sha256sum <"$T/blob" | cut -d' ' -f1)
got=$(nefia exec --target web -- sha256sum <"$T/blob" | cut -d' ' -f1)
check "stdin arrives whole" equal "$got" "$want"

begin=$(now_ms)
expect 124 "the time limit" nefia exec --target web --timeout 1s -- sleep 30
check "in time" test $(($(now_ms) - begin)) -lt 4000
expect 255 "an unknown user cannot log in" sh -c "sed 's/user: .*/user: nobody-here/' '$NEFIA_HOME/nefia.yaml' >'$T/y' &&
	cp '$NEFIA_HOME/nefia.yaml' '$T/keep' && cat '$T/y' >'$NEFIA_HOME/nefia.yaml'; '$NEFIA' exec --target web -- true; r=\$?;
	cat '$T/keep' >'$NEFIA_HOME/nefia.yaml'; exit \$r"
expect 0 "--json" nefia exec --target web --json -- 'echo x; exit 0'
check "json has the host" contains "$OUT" '"host"'
check "json has the exit" contains "$OUT" '"exit"'

add_agent db
start_agent db
expect 0 "two hosts" nefia exec --target all -- echo both
check "both answered" equal "$(printf '%s\n' "$OUT" | grep -c both)" 2
expect 1 "one of several failed" nefia exec --target web,db -- 'exit 5'
done_all
