#!/bin/bash
# nefia forward: local ports, ports at the host, SOCKS5, Unix sockets, half-close, many at once, a dead hub, idle ones
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || skip "no python3"
setup
start_hub
MANY=1000 # at once

# At the far end: what comes is sent back in capitals when the client has ended its direction (so half-close must work).
cat >"$T/server.py" <<'P'
import asyncio, os, sys
async def serve(r, w):
    data = await r.read()
    w.write(data.upper() + b'|' + str(len(data)).encode())
    try:
        await w.drain(); w.write_eof(); w.close()
    except OSError: pass
async def main():
    s = await asyncio.start_server(serve, '127.0.0.1', 0, backlog=2048)
    s6 = await asyncio.start_server(serve, '::1', s.sockets[0].getsockname()[1])
    u = await asyncio.start_unix_server(serve, sys.argv[2])
    open(sys.argv[1] + '.tmp', 'w').write(str(s.sockets[0].getsockname()[1])); os.rename(sys.argv[1] + '.tmp', sys.argv[1])
    await asyncio.Event().wait()
asyncio.run(main())
P
python3 "$T/server.py" "$T/port" "$T/far.sock" &
PIDS="$PIDS $!"
wait_until 5 test -s "$T/port" || skip "no IPv6 on loopback"
FAR=$(cat "$T/port")

# client.py ADDRESS TEXT [N]: N connections at once, each sends, ends its direction, reads to the end
cat >"$T/client.py" <<'P'
import asyncio, sys, hashlib
addr, text, n = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3]) if len(sys.argv) > 3 else 1
if text.startswith(b'@'): text = open(text[1:], 'rb').read()
async def one(i):
    r, w = await (asyncio.open_unix_connection(addr) if addr.startswith('/') else asyncio.open_connection(*addr.rsplit(':', 1)))
    t = text if n == 1 else text + str(i).encode()
    w.write(t); await w.drain(); w.write_eof()
    got = await r.read()
    w.close()
    assert got == t.upper() + b'|' + str(len(t)).encode(), (i, got[-80:])
    return got
async def main():
    got = await asyncio.wait_for(asyncio.gather(*[one(i) for i in range(n)]), 60)
    print(len(got), got[0][-40:].decode('latin1'))
asyncio.run(main())
P
client() { python3 "$T/client.py" "$@"; }

forward() { # forward ARGUMENT... : in the background; $F, and its ports in $PORTS
	"$NEFIA" forward "$@" >"$T/f.out" 2>"$T/forward.log" &
	F=$!
	PIDS="$PIDS $F"
	wait_until 10 grep -q Forwarding "$T/f.out" || fail "forward $*: $(cat "$T/forward.log")"
	sleep 0.05
	PORTS=$(sed -n 's/^Forwarding [^ ]*:\([0-9]*\) to.*/\1/p' "$T/f.out")
}
end_forward() {
	kill -INT "$F"
	wait "$F"
	check "Ctrl-C ends the forward in order" equal $? 0
}

forward web "0:127.0.0.1:$FAR" "[::1]:0:localhost:$FAR" "$T/near.sock:127.0.0.1:$FAR" "0:$T/far.sock"
set -- $PORTS
check "a local port" equal "$(client "127.0.0.1:$1" hello)" "1 HELLO|5"
check "an IPv6 one" equal "$(client "::1:$2" hello)" "1 HELLO|5"
check "a local Unix socket" equal "$(client "$T/near.sock" hello)" "1 HELLO|5"
check "which only we may use" equal "$(stat -c %a "$T/near.sock")" 600
check "a Unix socket there" equal "$(client "127.0.0.1:$3" hello)" "1 HELLO|5"
head -c 20000000 /dev/urandom | base64 -w0 | tr 'A-Z' 'a-z' >"$T/big"
check "much, both ways" contains "$(client "127.0.0.1:$1" "@$T/big")" "|$(stat -c %s "$T/big")"
started=$(now_ms)
check "$MANY at once" equal "$(ulimit -n 4096 2>/dev/null; client "127.0.0.1:$1" "n" "$MANY" | cut -d' ' -f1)" "$MANY"
echo "$MANY connections: $(($(now_ms) - started)) ms"
check "few SSH connections carry them" test "$(grep -c 'Accepted publickey' "$T/sshd.log")" -le 40

# nothing listens there: a reset, not a hang
started=$(calm_ms)
forward_dead=$(free_port)
end_forward
check "its socket is gone" test ! -e "$T/near.sock"
forward web "0:127.0.0.1:$forward_dead"
check "a closed port there" contains "$(client "127.0.0.1:$PORTS" x 2>&1)" Error
check "at once" test $(($(calm_ms) - started)) -lt 5000
check "and says why" grep -q "a forwarded connection ended" "$T/forward.log"
end_forward

# the hub dies: the port stays, the next connection works
forward web "0:127.0.0.1:$FAR"
check "before" equal "$(client "127.0.0.1:$PORTS" hello)" "1 HELLO|5"
kill -9 "$HUB_PID"
wait "$HUB_PID" 2>/dev/null
check "with another hub" equal "$(client "127.0.0.1:$PORTS" hello)" "1 HELLO|5"
end_forward
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock"
start_hub

# one that carries nothing is closed
forward web --idle 1s "0:127.0.0.1:$FAR"
started=$(now_ms) calm=$(calm_ms)
exec 5<>"/dev/tcp/127.0.0.1/$PORTS"
timeout 30 cat <&5 >/dev/null
exec 5>&-
check "idle ones are closed" test $(($(calm_ms) - calm)) -lt 4000
check "not before their time" test $(($(now_ms) - started)) -ge 900
end_forward

# SOCKS5: addresses, names resolved at the far end, user names
if command -v curl >/dev/null; then
	cat >"$T/web.py" <<'P'
import http.server, sys, os
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
open(sys.argv[1] + '.tmp', 'w').write(str(s.server_port)); os.rename(sys.argv[1] + '.tmp', sys.argv[1])
s.serve_forever()
P
	mkdir "$T/www"
	echo page >"$T/www/p"
	(cd "$T/www" && exec python3 "$T/web.py" "$T/webport" 2>/dev/null) &
	PIDS="$PIDS $!"
	wait_until 5 test -s "$T/webport"
	W=$(cat "$T/webport")
	forward web --dynamic 0
	get() { curl -sS --max-time 10 --noproxy '' "$@" 2>&1; }
	check "a name" equal "$(get --proxy "socks5h://127.0.0.1:$PORTS" "http://localhost:$W/p")" page
	check "an address" equal "$(get --proxy "socks5://127.0.0.1:$PORTS" "http://127.0.0.1:$W/p")" page
	check "any user name" equal "$(get --proxy "socks5h://me:secret@127.0.0.1:$PORTS" "http://localhost:$W/p")" page
	check "a closed port" contains "$(get --proxy "socks5h://127.0.0.1:$PORTS" "http://localhost:$forward_dead/p")" "curl:"
	check "no SOCKS at all" contains "$(get "http://127.0.0.1:$PORTS/p")" "curl:"
	end_forward
	echo me:secret >"$T/auth"
	chmod 644 "$T/auth"
	expect 1 "a password that others may read" nefia forward web --dynamic 0 --auth-file "$T/auth"
	chmod 600 "$T/auth"
	forward web --dynamic 0 --auth-file "$T/auth"
	check "the right password" equal "$(get --proxy "socks5h://me:secret@127.0.0.1:$PORTS" "http://localhost:$W/p")" page
	check "a wrong one" contains "$(get --proxy "socks5h://me:public@127.0.0.1:$PORTS" "http://localhost:$W/p")" "curl:"
	check "none" contains "$(get --proxy "socks5h://127.0.0.1:$PORTS" "http://localhost:$W/p")" "curl:"
	end_forward
fi

# ports at the host
forward web --remote "0:127.0.0.1:$FAR" "127.0.0.1:0:localhost:$FAR" "0:$T/far.sock"
wait_until 5 sh -c "[ \$(grep -c Forwarding '$T/f.out') = 3 ]" || fail "remote forwards: $(cat "$T/f.out" "$T/forward.log")"
PORTS=$(sed -n 's/^Forwarding [^ ]*:\([0-9]*\) at web to.*/\1/p' "$T/f.out")
set -- $PORTS
check "a port there" equal "$(client "127.0.0.1:$1" hello)" "1 HELLO|5"
check "another" equal "$(client "127.0.0.1:$2" hello)" "1 HELLO|5"
check "to a Unix socket here" equal "$(client "127.0.0.1:$3" hello)" "1 HELLO|5"
check "much, both ways" contains "$(client "127.0.0.1:$1" "@$T/big")" "|$(stat -c %s "$T/big")"
check "fifty at once" equal "$(client "127.0.0.1:$1" n 50 | cut -d' ' -f1)" 50
kill -9 "$HUB_PID"
wait "$HUB_PID" 2>/dev/null
check "the port comes back after the hub's end" wait_until 10 client "127.0.0.1:$1" hello
end_forward
check "the port there is closed" wait_until 5 sh -c "! (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null"
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock"
start_hub
expect 1 "a port there that is taken" nefia forward web --remote "$SSH_PORT:127.0.0.1:$FAR"
check "says so" contains "$ERR" "refused to listen on port $SSH_PORT"
expect 2 "a Unix socket there" nefia forward web --remote "/tmp/x:127.0.0.1:$FAR"
check "says so" contains "$ERR" "cannot be listened on"
forward web --remote "0:127.0.0.1:$forward_dead"
PORTS=$(sed -n 's/^Forwarding [^ ]*:\([0-9]*\) at web to.*/\1/p' "$T/f.out")
contains "$(client "127.0.0.1:$PORTS" x 2>&1)" Error 2>/dev/null || contains "$(client "127.0.0.1:$PORTS" x 2>&1)" Assertion || fail "a closed target here"
end_forward

# what is refused
expect 2 "no target" nefia forward web 8080
expect 2 "a bad one" nefia forward web 8080:db
expect 2 "--auth-file alone" nefia forward web 1:db:1 --auth-file x
expect 1 "an unknown host" nefia forward nobody 0:db:1
check "its code" contains "$ERR" "[E1021]"
expect 1 "a port that is taken" nefia forward web "$SSH_PORT:db:1"
check "its code" contains "$ERR" "[E1016]"
done_all
