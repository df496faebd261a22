#!/bin/bash
# Many agents as real processes against one operator, while strangers flood the port from many addresses: a good one still
# enrolls within 10 s. N=100 agents and 10 s of flood with LONG=1; a small run otherwise.
# alone: a flood
. "$(dirname "$0")/lib.sh"
TEST_NAME=enroll-many
[ -n "${LONG:-}" ] && N=100 FLOOD=10 || N=12 FLOOD=3
command -v python3 >/dev/null || skip "python3 is not installed"
operator_init
ENROLL_PORT=$(free_port)
sed -i "s/^  listen_port:.*/&\n  enroll_port: $ENROLL_PORT/" "$NEFIA_HOME/nefia.yaml"
start_hub
pids=''
for i in $(seq $N); do
	nefia vpn invite --os linux --endpoint "127.0.0.1:$HUB_PORT" --name "n$i" --listen=false --no-print-token \
		--token-out "$T/$i.token" >"$T/inv$i.out" 2>&1 &
	pids="$pids $!"
done
for p in $pids; do wait "$p" || fail "an invite failed: $(cat "$T"/inv*.out)"; done
wait_until 5 port_answers "$ENROLL_PORT" || fail "the hub does not listen"

begin=$(now_ms)
pids=''
for i in $(seq $N); do
	"$AGENT" enroll --token-file "$T/$i.token" --out-dir "$T/a$i" --ssh-addr 127.0.0.1:1 --listen-port "$(free_port)" \
		>"$T/e$i.out" 2>&1 &
	pids="$pids $!"
done
for p in $pids; do wait "$p" || fail "an agent failed: $(grep -h -A1 Error "$T"/e*.out)"; done
ms=$(($(now_ms) - begin))
echo "figures: $N agents enrolled in $ms ms, $((N * 1000 / ms)) a second; hub RSS with $N peers $(awk '/^VmRSS/ {print $2}' "/proc/$HUB_PID/status") KiB"
check "every host is active" equal "$(nefia host list --json | grep -c '"state": "active"')" $N
check "each has an address of its own" equal "$(cat "$T"/a*/agent.yaml | sed -n 's/^address: //p' | sort -u | wc -l)" $N

# The flood: connections from 127.0.x.y, each with a hello that nobody knows, or none, or one that never ends.
cat >"$T/flood.py" <<'P'
import os, random, selectors, socket, sys, time
port, seconds = int(sys.argv[1]), float(sys.argv[2])
end, n, live = time.time() + seconds, 0, []
while time.time() < end:
    s = socket.socket()
    s.setblocking(False)
    try:
        s.bind(("127.%d.%d.%d" % (random.randrange(1, 250), random.randrange(250), random.randrange(1, 250)), 0))
        s.connect_ex(("127.0.0.1", port))
        live.append(s)
        n += 1
    except OSError:
        s.close()
    if len(live) >= 200:
        for old in live[:100]:
            try:
                kind = random.randrange(3)
                if kind == 0:
                    old.send(b"nefiaenr\1\1\0\0" + os.urandom(128))
                elif kind == 1:
                    old.send(os.urandom(random.randrange(300)))
            except OSError:
                pass
            old.close()
        live = live[100:]
print("flood: %d attempts, %d a second" % (n, n / seconds))
P
expect 0 "one more invite" nefia vpn invite --os linux --endpoint "127.0.0.1:$HUB_PORT" --name good --listen=false --no-print-token \
	--token-out "$T/good.token"
python3 "$T/flood.py" "$ENROLL_PORT" $FLOOD >"$T/flood.out" 2>&1 &
flood=$!
PIDS="$PIDS $flood"
sleep 1
begin=$(calm_ms)
expect 0 "a good one under flood" "$AGENT" enroll --token-file "$T/good.token" --out-dir "$T/good" --ssh-addr 127.0.0.1:1 --listen-port "$(free_port)"
echo "a good one under flood: $(($(calm_ms) - begin)) ms"
check "within 10 s" test $(($(calm_ms) - begin)) -lt 10000
wait $flood
cat "$T/flood.out"
check "the hub lives" kill -0 "$HUB_PID"
done_all
