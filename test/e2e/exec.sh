#!/bin/bash
# nefia exec on one host: exit status, binary data, separate streams, time limit, JSON, Ctrl-C, input, scripts
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

begin=$(calm_ms)
expect 124 "the time limit" nefia exec --target web --timeout 1s -- sleep 30
check "in time" test $(($(calm_ms) - begin)) -lt 4000
expect 255 "an unknown user cannot log in" sh -c "sed 's/user: .*/user: nobody-here/' '$NEFIA_HOME/nefia.yaml' >'$T/y' &&
	cp '$NEFIA_HOME/nefia.yaml' '$T/keep' && cat '$T/y' >'$NEFIA_HOME/nefia.yaml'; '$NEFIA' exec --target web -- true; r=\$?;
	cat '$T/keep' >'$NEFIA_HOME/nefia.yaml'; exit \$r"
expect 0 "--json" nefia exec --target web --json -- 'echo x; exit 0'
check "json has the host" contains "$OUT" '"host"'
check "json has the exit" contains "$OUT" '"exit"'

check "json has the output" contains "$OUT" '"stdout":"x\n"'
expect 0 "--json, one line" sh -c "'$NEFIA' exec --target web --json -- 'echo a; echo b' | wc -l"
check "is one line" equal "$OUT" 1
expect 0 "what is no text" nefia exec --target web --json -- 'printf "\377\376"'
check "is base64" contains "$OUT" '"stdout_b64":"//4="'

expect 124 "a time limit" nefia exec --target web --json --timeout 1s -- sleep 9
check "has its code" contains "$OUT" '"code":"E1035"'
expect 143 "a signal" nefia exec --target web --json -- 'kill $$'
check "has its name" contains "$OUT" '"signal":"TERM"'

# exit status
expect 127 "no such command" nefia exec --target web -- no-such-command-here
expect 255 "no such host" nefia exec --target nobody -- true
check "is named" contains "$ERR" "No host, group or tag is called 'nobody'"
expect 2 "no target" nefia exec -- true
expect 0 "a long command" sh -c "'$NEFIA' exec -t web -- echo \$(seq 6800) | wc -w"
check "arrives whole" equal "$OUT" 6800
expect 2 "one that is too long" sh -c "'$NEFIA' exec -t web -- echo \$(seq 9000)"
check "says what to do" contains "$ERR" "use --script"

# a remote process that nobody else has
gone() { ! pgrep -u "$(id -u)" -f "^sleep $1\$"; }
there() { pgrep -u "$(id -u)" -f "^sleep $1\$"; }
expect 124 "a time limit" nefia exec --target web --timeout 1s -- sleep 61.25
check "ends the remote command" wait_until 3 gone 61.25

# begin_exec SCRIPT SLEEP: in the background as $pid, until SLEEP is seen to run there
begin_exec() {
	"$NEFIA" exec --target web -- "$1" >"$T/int" 2>&1 &
	pid=$!
	check "it runs" wait_until 5 there "$2"
	begin=$(calm_ms)
}
# ends_with STATUS MS "what": $pid does so, within so many milliseconds
ends_with() {
	wait $pid
	check "$3" equal $? "$1"
	check "$3 in time" test $(($(calm_ms) - begin)) -lt "$2"
}

# Ctrl-C once: the remote command gets it, and we end within 2 s
begin_exec 'trap "echo interrupted; exit 5" INT; sleep 62.25' 62.25
kill -INT $pid
ends_with 130 2500 "Ctrl-C"
check "the remote command got it" wait_until 3 gone 62.25
# a remote command that does not heed it is left behind after 2 s, or at once at the second
begin_exec 'trap "" INT TERM HUP; sleep 3.25; sleep 0.25' 3.25
kill -INT $pid
ends_with 130 2500 "Ctrl-C that is not heeded"
begin_exec 'trap "" INT TERM HUP; sleep 3.75; sleep 0.25' 3.75
kill_twice $pid INT
ends_with 130 1000 "Ctrl-C twice"

# a reader that leaves
begin=$(calm_ms)
nefia exec --target web -- 'while :; do echo y; done' 2>"$T/err" | head -n 1 >"$T/out"
check "yes | head" equal "$(cat "$T/out")" y
check "ends at once" test $(($(calm_ms) - begin)) -lt 3000
check "in silence" test ! -s "$T/err"
if [ -e /dev/full ]; then
	nefia exec --target web -- echo x >/dev/full 2>"$T/err"
	check "a full disk" equal $? 255
	check "says so" contains "$(cat "$T/err")" "no space left"
fi

# input
echo "from a file" >"$T/in"
expect 0 "--stdin" nefia exec --target web --stdin "$T/in" -- cat
check "is what it reads" equal "$OUT" "from a file"
expect 255 "--stdin of nothing" nefia exec --target web --stdin "$T/none" -- cat
check "says so" contains "$ERR" "[E1041]"
got=$(printf 'through a pipe' | nefia exec --target web --stdin - -- cat)
check "--stdin -" equal "$got" "through a pipe"
expect 255 "nowhere to keep it" env TMPDIR="$T/none" sh -c "echo x | '$NEFIA' exec --target web --stdin - -- cat"
check "where is said" contains "$ERR" "Why: a copy of the input in $T/none: No such file"
expect 0 "without input" nefia exec --target web -- cat
check "the end comes at once" equal "$OUT" ""

# scripts: their shebang, their arguments, their exit status, and nothing left behind
files() { find "$HOME" /tmp /var/tmp -maxdepth 1 -user "$(id -u)" 2>/dev/null | sort; }
before=$(files)
cat >"$T/script" <<'S'
#!/bin/sh -e
for a; do printf '<%s>' "$a"; done
echo " $#"
exit 7
S
expect 7 "--script" nefia exec --target web --script "$T/script" -- "a b" "it's" '$HOME' '' '\'
check "its arguments arrive as given" equal "$OUT" "<a b><it's><\$HOME><><\\> 5"
printf 'echo no shebang: $0; cat' >"$T/script"
expect 0 "without a shebang" nefia exec --target web --script "$T/script"
check "it is sh's" contains "$OUT" "no shebang: /dev/fd/3"
printf '#!/bin/sh\nread line; echo "<$line>"; wc -c\n' >"$T/script"
head -c 100000 /dev/zero | tr '\0' x >"$T/big"
(echo first; cat "$T/big") >"$T/in"
expect 0 "a script with input" nefia exec --target web --script "$T/script" --stdin "$T/in"
check "gets it to the byte" equal "$OUT" "<first>
100000"
printf '#!/no/such/interpreter\n' >"$T/script"
expect 127 "an interpreter that is not there" nefia exec --target web --script "$T/script"
printf '#!\n' >"$T/script"
expect 2 "an empty shebang" nefia exec --target web --script "$T/script"
if command -v python3 >/dev/null; then
	printf '#!/usr/bin/env -S python3 -u\nimport sys\nprint(sys.argv[1:], repr(sys.stdin.read()))\n' >"$T/script"
	expect 0 "python" nefia exec --target web --script "$T/script" -- x
	check "its words" equal "$OUT" "['x'] ''"
fi
check "nothing is left behind" equal "$(files)" "$before"

# standard descriptors that are closed: nothing of ours may take their numbers
got=$(timeout 10 "$NEFIA" exec --target web -- 'cat; echo over' <&-) || fail "a closed input: $?"
check "a closed input is an empty one" equal "$got" over
timeout 10 "$NEFIA" exec --target web -- 'echo lost; echo gone >&2' <&- >&- 2>&- || fail "everything closed: $?"
for words in "fs cat web:/etc/passwd" "host list" "vpn status --json"; do
	timeout 10 "$NEFIA" $words >&- 2>"$T/err" <&- || fail "$words with its output closed: $(cat "$T/err")"
done

# an output that takes nothing: 1, and said why
for words in "--help" "version" "completion bash" "host list" "host list --json" "host show web" "vpn status" "vpn status --json" \
	"vpn status --live" "ssh-config" "wg show" "hub logs" "fs cat web:/etc/passwd" "fs ls web:/etc" "fs stat web:/etc" "fs df web:" \
	"fs find web:/etc/ssh" "vpn enroll-status --name web" "forward --list"; do
	timeout 10 "$NEFIA" $words >/dev/full 2>"$T/err" </dev/null
	status=$?
	check "$words into a full device: status" equal $status 1
	check "$words into a full device: the reason: $(cat "$T/err")" grep -qi 'no space left' "$T/err"
done
expect 1 "a host that nobody has" nefia hub retry nobody
check "is said" contains "$ERR" "E1021"

# killed by a signal
expect 137 "ended by a signal" nefia exec --target web -- 'kill -9 $$'
# more than is kept, and cut off within a character
expect 0 "17 MB as JSON" nefia exec --target web --json -- "printf x; yes é | tr -d '\n' | head -c 17000000"
check "it is text" grep -q '"stdout":"xéé' "$T/out"
check "cut off, which is said" grep -q '"stdout_truncated":true' "$T/out"
check "between two characters" equal "$(grep -o é "$T/out" | wc -l)" 8388607
done_all
