#!/bin/bash
# forwards in the background: kept by the hub across agents, tunnels and SSH connections that come and go; list, stop, errors
. "$(dirname "$0")/lib.sh"
need_python
setup
start_hub
cat >"$T/server.py" <<'P'
import asyncio, os, sys
async def serve(r, w):
    data = await r.read()
    w.write(data.upper())
    try:
        await w.drain(); w.write_eof(); w.close()
    except OSError: pass
async def main():
    s = await asyncio.start_server(serve, '127.0.0.1', 0)
    open(sys.argv[1] + '.tmp', 'w').write(str(s.sockets[0].getsockname()[1])); os.rename(sys.argv[1] + '.tmp', sys.argv[1])
    await asyncio.Event().wait()
asyncio.run(main())
P
python3 "$T/server.py" "$T/port" &
PIDS="$PIDS $!"
wait_until 5 test -s "$T/port" || fail "no server"
FAR=$(cat "$T/port")
cat >"$T/client.py" <<'P'
import socket, sys
s = socket.socket(socket.AF_UNIX) if sys.argv[1][0] == '/' else socket.socket()
s.settimeout(8)
s.connect(sys.argv[1] if sys.argv[1][0] == '/' else ('127.0.0.1', int(sys.argv[1])))
s.sendall(b'hello'); s.shutdown(socket.SHUT_WR)
print(b''.join(iter(lambda: s.recv(4096), b'')).decode())
P
ask() { python3 "$T/client.py" "$1" 2>/dev/null; }
answers() { [ "$(ask "$1")" = HELLO ]; }
closed() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

expect 0 "none" nefia forward --list
check "says so" equal "$OUT" "No forward runs in the background"
expect 0 "in the background" nefia forward -b web "0:127.0.0.1:$FAR" "$T/near.sock:127.0.0.1:$FAR"
PORT=$(printf '%s\n' "$OUT" | sed -n 's/^Forwarding 127.0.0.1:\([0-9]*\) to.*/\1/p')
check "its number" contains "$OUT" "In the background as number 1;"
check "it carries" equal "$(ask "$PORT")" HELLO
check "and the other" equal "$(ask "$T/near.sock")" HELLO
expect 0 "one at the host" nefia forward --background --remote --idle 5m web "0:127.0.0.1:$FAR"
RPORT=$(printf '%s\n' "$OUT" | sed -n 's/^Forwarding [^ ]*:\([0-9]*\) at web to.*/\1/p')
check "it carries" equal "$(ask "$RPORT")" HELLO
expect 0 "the list" nefia forward --list
check "has both" contains "$OUT" "1  web  running"
check "with their ports" contains "$OUT" "   Forwarding 127.0.0.1:$PORT to web, there to 127.0.0.1:$FAR"
check "in JSON" equal "$(nefia forward --list --json | python3 -c 'import json,sys; print([(f["id"], f["host"], f["state"], len(f["says"])) for f in json.load(sys.stdin)])')" \
	"[(1, 'web', 'running', 2), (2, 'web', 'running', 1)]"

# errors come back to who asked, and nothing stays
expect 1 "a port that is taken" nefia forward -b web "$SSH_PORT:db:1"
check "its code" contains "$ERR" "[E1016]"
expect 1 "an unknown host" nefia forward -b nobody 0:db:1
check "its code" contains "$ERR" "[E1021]"
expect 1 "a port there that is taken" nefia forward -b -R web "$SSH_PORT:localhost:1"
check "says why" contains "$ERR" "refused to listen on port $SSH_PORT"
expect 2 "--raw" nefia forward -b --raw web 0
expect 1 "stop what is not there" nefia forward --stop 17
check "its code" contains "$ERR" "[E1017]"
check "two still" equal "$(nefia forward --list | grep -c '^[0-9]')" 2

# the agent is killed and comes back; the tunnel is built anew; the hub moves to another port
stop_pid "$AGENT_PID" KILL
start_agent web
check "after the agent's end" wait_until 12 answers "$PORT"
check "at the host too" wait_until 12 answers "$RPORT"
set_yaml "$NEFIA_HOME/nefia.yaml" listen_port "$(free_port)"
nefia hub reload >/dev/null
check "after the hub moved" wait_until 12 answers "$PORT"
stop_sshd
start_sshd
nefia hub retry >/dev/null
check "after sshd's restart" wait_until 12 answers "$PORT"

# its process dies: started again
for p in $(pgrep -P "$HUB_PID" -f "forward --json"); do kill -9 "$p"; done
check "started again" wait_until 8 sh -c "'$NEFIA' forward --list | grep -q 'restarted 1 time'"
check "is in the log" grep -q "forward ended, is started again id=1" "$NEFIA_HOME/hub.log"

expect 0 "stopped by number" nefia forward --stop 2
check "says so" equal "$OUT" "Stopped number 2, web"
NOW=$(nefia forward --list | sed -n 's/.*Forwarding 127.0.0.1:\([0-9]*\) to.*/\1/p')
check "the other goes on" wait_until 5 answers "$NOW"
expect 0 "stopped by host" nefia forward --stop web
check "its port is closed" closed "$NOW"
check "its socket is gone" test ! -e "$T/near.sock"

# its process ends with the hub, however that ends; the next hub takes it up again, on the port that it had
expect 0 "another" nefia forward -b web "0:127.0.0.1:$FAR"
PORT=$(printf '%s\n' "$OUT" | sed -n 's/^Forwarding 127.0.0.1:\([0-9]*\) to.*/\1/p')
ID=$(printf '%s\n' "$OUT" | sed -n 's/^In the background as number \([0-9]*\);.*/\1/p')
expect 0 "and one at the host" nefia forward -b -R web "0:127.0.0.1:$FAR"
RPORT=$(printf '%s\n' "$OUT" | sed -n 's/^Forwarding [^ ]*:\([0-9]*\) at web to.*/\1/p')
kill -9 "$HUB_PID"
check "ends with the hub" wait_until 3 closed "$PORT"
wait "$HUB_PID" 2>/dev/null
expect 0 "the list without a hub" nefia forward --list
check "knows it" contains "$OUT" "$ID  web  saved"
check "what it is" contains "$OUT" "web 127.0.0.1:$PORT:127.0.0.1:$FAR"
check "what will be" contains "$OUT" "the next one takes them up again"
# It may outlive its hub by a moment: a client of that moment starts no other hub. (A forward of the person's own does.)
start_hub
"$NEFIA" forward --kept web "0:127.0.0.1:$FAR" >"$T/kept.out" 2>&1 &
KEPT=$!
PIDS="$PIDS $KEPT"
wait_until 10 grep -q Forwarding "$T/kept.out" || fail "forward --kept: $(cat "$T/kept.out")"
KPORT=$(sed -n 's/^Forwarding 127.0.0.1:\([0-9]*\) to.*/\1/p' "$T/kept.out")
kill -9 "$HUB_PID"
wait "$HUB_PID" 2>/dev/null
check "nothing answers without the hub" equal "$(answers "$KPORT" && echo answers)" ""
expect 1 "no other was started" nefia hub stop
check "there is none" contains "$ERR" E1013
kill "$KEPT"
wait "$KEPT" 2>/dev/null
start_hub
check "back after a kill" wait_until 12 answers "$PORT"
check "the one at the host too" wait_until 12 answers "$RPORT"
expect 0 "the list" nefia forward --list
check "has its number" contains "$OUT" "$ID  web  running"
expect 0 "an orderly end" nefia hub stop
check "says what comes back" contains "$OUT" "2 forwards in the background will be back"
start_hub
check "back after the orderly end" wait_until 12 answers "$PORT"
expect 0 "a new one has a new number" nefia forward -b web "0:127.0.0.1:$FAR"
check "not one of theirs" contains "$OUT" "number $((ID + 2));"
expect 0 "stopped" nefia forward --stop $((ID + 2))

# its port is somebody else's when the hub comes back: it waits, says why, and takes the port when it is free
stop_pid "$HUB_PID" KILL
python3 -c "
import socket, sys, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('127.0.0.1', $PORT)); s.listen(); time.sleep(60)" &
squatter=$!
PIDS="$PIDS $squatter"
check "somebody has the port" wait_until 5 port_answers "$PORT"
start_hub
check "it is told" wait_until 8 sh -c "'$NEFIA' forward --list | grep -q 'not ready: 127.0.0.1:$PORT: in use'"
stop_pid "$squatter" KILL
check "and takes its port" wait_until 12 answers "$PORT"
check "the other is there" wait_until 12 answers "$RPORT"

# stopped while no hub runs
stop_pid "$HUB_PID" KILL
expect 1 "no such" nefia forward --stop 999
check "its code" contains "$ERR" "[E1017]"
expect 0 "stopped without a hub" nefia forward --stop $((ID + 1))
check "says so" equal "$OUT" "Stopped number $((ID + 1)), web"
check "one is left" equal "$(nefia forward --list --json | python3 -c 'import json,sys; print([(f["id"], f["state"]) for f in json.load(sys.stdin)])')" "[($ID, 'saved')]"
# a command's own hub takes it up as well, and stays for it
expect 0 "a command" nefia exec --target web -- true
check "back with a command's hub" wait_until 12 answers "$PORT"
expect 0 "stopped" nefia forward --stop web
check "the hub ends with it" wait_until 3 sh -c "! '$NEFIA' hub stop"
expect 0 "none" nefia forward --list
check "says so" equal "$OUT" "No forward runs in the background"

# a damaged list stops nothing, and is not thrown away
echo '{"version":1,"forwards":[{' >"$NEFIA_HOME/forwards.json"
expect 1 "a damaged list" nefia forward --list
check "is named" contains "$ERR" "forwards.json: malformed"
start_hub
expect 0 "the hub works" nefia exec --target web -- true
check "put aside" test -s "$NEFIA_HOME/forwards.json.unread"
nefia hub stop >/dev/null

# without a hub: the transient one stays as long as there is a forward
expect 0 "no hub runs" nefia forward -b web "0:127.0.0.1:$FAR"
sleep 1
expect 0 "still there" nefia forward --stop all
check "and stopped" equal "$OUT" "Stopped number 1, web"
check "the hub ends with it" wait_until 3 sh -c "! '$NEFIA' hub stop"
done_all
