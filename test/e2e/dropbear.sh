#!/bin/bash
# another SSH server: dropbear
. "$(dirname "$0")/lib.sh"
command -v dropbear >/dev/null && command -v dropbearkey >/dev/null || skip "no dropbear"
[ "$(id -un)" = nefia-test ] || skip "it reads the keys in the user's home: only as the test's own user"
SSH_PORT=$(free_port)
ssh-keygen -q -t ed25519 -N '' -f "$T/id" </dev/null
mkdir -p "$HOME/.ssh"
chmod 700 "$HOME" "$HOME/.ssh"
cp "$T/id.pub" "$HOME/.ssh/authorized_keys"
chmod 600 "$HOME/.ssh/authorized_keys"
dropbearkey -t ed25519 -f "$T/host_key" >/dev/null 2>&1 || skip "a dropbear without ed25519"
dropbear -F -E -s -p "127.0.0.1:$SSH_PORT" -r "$T/host_key" -P "$T/dropbear.pid" >"$T/dropbear.log" 2>&1 &
PIDS="$PIDS $!"
wait_until 5 port_answers "$SSH_PORT" || fail "dropbear does not listen: $(cat "$T/dropbear.log")"
operator_init
add_agent web
start_agent web
start_hub
expect 0 "exec" nefia exec --target web -- echo hello
check "its output" equal "$OUT" hello
expect 3 "the remote exit status" nefia exec --target web -- 'echo e >&2; exit 3'
check "stderr" contains "$ERR" e
head -c 1000000 /dev/urandom >"$T/blob"
nefia exec --target web -- cat <"$T/blob" >"$T/back" || fail "cat"
check "binary both ways" cmp "$T/blob" "$T/back"
expect 143 "a signal" nefia exec --target web -- 'kill $$'
printf '#!/bin/sh\necho "$1"; exit 5\n' >"$T/script"
expect 5 "a script" nefia exec --target web --script "$T/script" -- word
check "its word" equal "$OUT" word
expect 4 "a shell without a terminal" nefia shell web 'tty; exit 4'
check "has none" equal "$OUT" "not a tty"
port=$(free_port)
"$NEFIA" forward web "$port:127.0.0.1:$SSH_PORT" >"$T/f.out" 2>&1 &
PIDS="$PIDS $!"
wait_until 5 grep -q Forwarding "$T/f.out"
banner=$(exec 3<>"/dev/tcp/127.0.0.1/$port" && timeout 5 head -c 4 <&3)
check "a forward" equal "$banner" SSH-
"$NEFIA" forward --remote web "0:127.0.0.1:$SSH_PORT" >"$T/r.out" 2>&1 &
PIDS="$PIDS $!"
wait_until 5 grep -q Forwarding "$T/r.out"
port=$(sed -n 's/^Forwarding [^ ]*:\([0-9]*\) at web.*/\1/p' "$T/r.out")
banner=$(exec 3<>"/dev/tcp/127.0.0.1/${port:-1}" && timeout 5 head -c 4 <&3)
check "a forward from there" equal "$banner" SSH-
script -qec "$NEFIA shell web 'test -t 0 && stty size; exit 6'" /dev/null </dev/null >"$T/tty.out" 2>&1
check "a terminal's exit status" equal $? 6
# script's end of input may be echoed before: it comes when the terminal is not raw yet
check "is one" grep -qE '[0-9]+ [0-9]+' "$T/tty.out"
# Its SFTP is OpenSSH's program, where it is installed in the place that dropbear was built for.
if nefia fs put "$T/blob" "web:$T/put" >"$T/out" 2>"$T/err"; then
	check "a file there" cmp "$T/blob" "$T/put"
	expect 0 "and back" nefia fs get "web:$T/put" "$T/got"
	check "is whole" cmp "$T/blob" "$T/got"
else
	check "no SFTP is told as that" contains "$(cat "$T/err")" "[E1040]"
fi
done_all
