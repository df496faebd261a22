#!/bin/bash
# a command and a hub of different versions say so, both ways round; bytes that are no message end the connection alone
. "$(dirname "$0")/lib.sh"
need_python
setup
start_hub
SOCK=$NEFIA_HOME/run/hub.sock
ask() { # ask JSON: what the hub answers
	timeout 5 python3 - "$SOCK" "$1" <<'PY'
import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
m = sys.argv[2].encode()
s.sendall(struct.pack("<I", len(m)) + m)
n = s.recv(4, socket.MSG_WAITALL)
print(s.recv(struct.unpack("<I", n)[0], socket.MSG_WAITALL).decode() if len(n) == 4 else "closed")
PY
}
# an old or a new command at our hub
for v in 0 2 99; do
	out=$(ask "{\"v\":$v,\"op\":\"hello\"}")
	check "protocol $v" contains "$out" '"error":"ERR_VERSION"'
	check "both versions" contains "$out" "control protocol 1, this command $v"
done
check "no version" contains "$(ask '{"op":"hello"}')" ERR_VERSION
check "an operation of later" contains "$(ask '{"v":1,"op":"teleport"}')" ERR_UNSUPPORTED
check "fields of later" contains "$(ask '{"v":1,"op":"status","colour":"blue"}')" '"ok":true'
for bad in '[]' '{' '1' 'null' '{"v":1,"v":1}'; do
	check "no message: $bad" equal "$(ask "$bad")" closed
done
timeout 5 python3 - "$SOCK" <<'PY' || fail "the hub was not robust against noise"
import os, socket, struct, sys
for head in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x00\x00\x20\x00", b"\x02", os.urandom(4096)):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.settimeout(2)
    s.sendall(head)
    s.shutdown(socket.SHUT_WR)
    try:
        assert s.recv(100) == b"", "answered to noise"
    except ConnectionResetError:
        pass
PY
expect 0 "the hub is well" nefia exec --target web -- true
check "it is the same" equal "$("$NEFIA" hub stop | grep -o "$HUB_PID")" "$HUB_PID"
wait "$HUB_PID"

# our command at a hub of another version: one that knows no better than to refuse us, and one that hangs
fake_hub() { # fake_hub REPLY
	rm -f "$SOCK"
	python3 - "$SOCK" "$1" <<'PY' &
import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
kept = []
while True:
    c = s.accept()[0]
    c.recv(4096)
    kept.append(c)
    m = sys.argv[2].encode()
    if m:
        c.sendall(struct.pack("<I", len(m)) + m)
PY
	FAKE=$!
	PIDS="$PIDS $FAKE"
	wait_until 3 test -S "$SOCK"
}
fake_hub '{"v":2,"ok":false,"error":"ERR_VERSION","message":"the hub (nefia 9.9) speaks control protocol 2, this command 1"}'
expect 255 "a newer hub" timeout 15 "$NEFIA" exec --target web -- true
check "its code: $ERR" contains "$ERR" "Error: [E1014] The running hub has another version"
check "both versions" contains "$ERR" "nefia 9.9) speaks control protocol 2, this command 1"
check "the next step" contains "$ERR" "nefia hub stop"
stop_pid "$FAKE" KILL
fake_hub ''
begin=$(calm_ms)
expect 255 "a hub that hangs" timeout 30 "$NEFIA" exec --target web -- true
check "in bounded time" test $(($(calm_ms) - begin)) -lt 15000
check "its code: $ERR" contains "$ERR" "Error: [E1015]"
stop_pid "$FAKE" KILL

# files of a later version: refused, not guessed at, and left as they are
rm -f "$SOCK"
STATE=$NEFIA_HOME/hub-state.json
[ -f "$STATE" ] || fail "no state file"
cp "$STATE" "$T/hub-state"
sed 's/^version 1$/version 2/' "$T/hub-state" >"$STATE"
cp "$STATE" "$T/hub-state2"
expect 1 "a state of later" timeout 10 "$NEFIA" hub
check "named: $ERR" contains "$ERR" "version"
check "left as it is" cmp "$STATE" "$T/hub-state2"
# a state that is damaged costs what it held, not the start
head -c 40 /dev/urandom >"$STATE"
expect 0 "a damaged state" nefia exec --target web -- true
done_all
