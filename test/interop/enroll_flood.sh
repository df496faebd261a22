#!/bin/bash
# Ten thousand bad attempts a second, from as many addresses as there are (an IPv4 /10, an IPv6 /32 of /64s), whole TCP connections of
# which each is answered or cut: a good agent from one more address enrolls within 10 s, and the hub's memory stays bounded.
# alone: a flood
#
#   attackers 100.64.0.0/10, fd77:1::/32 -- hub 10.3.0.1, fd77::1 -- good agent 10.4.0.2
set -u
umask 022
HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "${BUILD:-$HERE/../../build}" && pwd)
TEST_NAME=enroll_flood
HUB=nefia-fh$$ BAD=nefia-fb$$ GOOD=nefia-fg$$
SECONDS_OF_FLOOD=${FLOOD:-6}
NAMESPACES="$HUB $BAD $GOOD"
LOGS="*.out"
NEEDS="python3"
. "$HERE/../lib/netns.sh"
ip link add e0 netns $HUB type veth peer name e0 netns $BAD || fail "veth"
ip link add e1 netns $HUB type veth peer name e0 netns $GOOD || fail "veth"
ip -n $HUB addr add 10.3.0.1/24 dev e0 && ip -n $HUB -6 addr add fd77::1/64 dev e0 nodad && ip -n $HUB link set e0 up
ip -n $HUB addr add 10.4.0.1/24 dev e1 && ip -n $HUB link set e1 up
ip -n $BAD addr add 10.3.0.2/24 dev e0 && ip -n $BAD -6 addr add fd77::2/64 dev e0 nodad && ip -n $BAD link set e0 up
ip -n $GOOD addr add 10.4.0.2/24 dev e0 && ip -n $GOOD link set e0 up
ip -n $GOOD route add default via 10.4.0.1
# All of these are the attacker's own.
ip -n $BAD route add local 100.64.0.0/10 dev lo && ip -n $HUB route add 100.64.0.0/10 via 10.3.0.2 || fail "routes"
ip -n $BAD -6 route add local fd77:1::/32 dev lo && ip -n $HUB -6 route add fd77:1::/32 via fd77::2 || skip "no IPv6 here"
ip netns exec $BAD sysctl -qw net.ipv6.ip_nonlocal_bind=1
export NEFIA_HOME=$T/op
unset XDG_RUNTIME_DIR
in_hub() { ip netns exec $HUB "$BUILD/nefia" "$@"; }
in_hub init >"$T/init.out" 2>&1 || fail "init"
in_hub hub >"$T/hub.out" 2>&1 &
until_true 5 test -S "$T/op/run/hub.sock" || fail "the hub does not start"
HUB_PID=$(sed -n 1p "$T/op/run/hub.lock")
in_hub vpn invite --name good --os linux --endpoint 10.4.0.1:51820 --listen=false --token-out "$T/token" >"$T/invite.out" 2>&1 || fail "invite"

cat >"$T/flood.py" <<'P'
import os, random, select, socket, sys, time
kind, end = sys.argv[1], time.time() + float(sys.argv[2])
family, to = (socket.AF_INET, "10.3.0.1") if kind == "4" else (socket.AF_INET6, "fd77::1")
started = answered = refused = 0
live, poll = {}, select.epoll()
random.seed(int(kind))


def address():
    r = random.getrandbits
    if kind == "4":
        return "100.%d.%d.%d" % (64 + r(6), r(8), 1 + r(8) % 254)
    return "fd77:1:%x:%x::%x" % (r(16), r(16), 1 + r(15))


while time.time() < end or (started < 600 and time.time() < end + 60):  # a slow machine takes longer for as many
    for _ in range(64 if len(live) < 256 else 0):
        s = socket.socket(family, socket.SOCK_STREAM)
        s.setblocking(False)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        try:
            s.bind((address(), 0))
            s.connect_ex((to, 19820))
        except OSError:
            s.close()
            continue
        live[s.fileno()] = s
        poll.register(s, select.EPOLLOUT)
    for fd, events in poll.poll(0.01):
        s = live[fd]
        try:
            if events & select.EPOLLOUT and not events & (select.EPOLLHUP | select.EPOLLERR):
                s.send(b"nefiaenr\1\1\0\0" + os.urandom(128))
                started += 1
                poll.modify(fd, select.EPOLLIN)
                continue
            answered += len(s.recv(256)) == 61
        except OSError:
            refused += 1
        poll.unregister(fd)
        del live[fd]
        s.close()
print(started, answered, flush=True)
P
ip netns exec $BAD python3 "$T/flood.py" 4 "$SECONDS_OF_FLOOD" >"$T/four.out" 2>&1 &
FOUR=$!
ip netns exec $BAD python3 "$T/flood.py" 6 "$SECONDS_OF_FLOOD" >"$T/six.out" 2>&1 &
SIX=$!
sleep 1
begin=$(calm_ms)
ip netns exec $GOOD "$BUILD/nefia-agent" enroll --token-file "$T/token" --out-dir "$T/good" --ssh-addr 127.0.0.1:1 >"$T/enroll.out" 2>&1 ||
	fail "a good one under flood"
took=$(($(calm_ms) - begin))
[ "$took" -lt 10000 ] || fail "a good one took $took ms"
rss=$(awk '/^VmRSS/ {print $2}' "/proc/$HUB_PID/status")
wait $FOUR $SIX
total=$(awk '{n += $1} END {print int(n)}' "$T/four.out" "$T/six.out")
rate=$((total / SECONDS_OF_FLOOD))
ok "a good one under $rate attempts a second ($(cut -d' ' -f1 "$T/four.out") from IPv4, $(cut -d' ' -f1 "$T/six.out") from IPv6 /64s, $(awk '{n += $2} END {print int(n)}' "$T/four.out" "$T/six.out") answered): $took ms; hub RSS $rss KiB"
max=65536
! ldd "$BUILD/nefia" | grep -q 'lib[at]san' || max=524288 # what is freed stays for a while, and has a shadow
[ "$rss" -lt $max ] || fail "the hub takes $rss KiB"
[ "$(cut -d' ' -f1 "$T/six.out")" -gt 500 ] && [ "$total" -gt 1000 ] || fail "the flood was none: $total attempts"
kill -0 "$HUB_PID" || fail "the hub is gone"
[ "$(wc -c <"$T/op/hub.log")" -lt 100000 ] || fail "the flood fills the log: $(wc -c <"$T/op/hub.log") bytes"
ok "the hub's log has $(wc -l <"$T/op/hub.log") lines"
in_hub exec --target good --timeout 1s -- true >"$T/exec.out" 2>&1
in_hub hub stop >"$T/stop.out" 2>&1 || fail "hub stop"
echo "PASS $TEST_NAME ($N_CHECKS checks)"
