#!/usr/bin/env python3
"""traffic.py - what crosses the tunnel in the tests, and what is thrown at it. Every stream is checked byte by byte.

  serve ADDR PORT                        answers get, put and both of any number of clients
  get|put|both ADDR PORT BYTES [RATE]    bytes down, up, or both ways at once; RATE in bytes a second
  via get|put|both|half-up|half-down|echo BYTES RATE COMMAND...
                                         over a command's standard input and output. half-up: our end comes first, then
                                         all of the answer; half-down: the server's end first, then all of ours, and it
                                         reports the outcome in its log; echo: a server that does not read while it writes
  connect ADDR PORT SECONDS              tries connections of 250 ms each until one stands; prints the milliseconds
  ping ADDR COUNT [SIZE]                 echo requests, IPv4 or IPv6, one in 120 ms
  flood ADDR PORT PUBLIC_KEY SECONDS RATE SOURCE...
                                         initiations with a valid MAC1 and nothing else, from each source address
  sniff DEVICE                           counts WireGuard's messages until SIGTERM, by type and source
  dial SOCKET HOST PORT TIMEOUT_MS       asks a hub for a raw connection through its control socket

The stream is SHAKE-128 of a seed, so either side knows every byte. A transfer says "begun" on standard error once it is
connected, and ends with one line on standard output:
"ok bytes=N ms=N gap_ms=N" (gap: the longest time without a byte), or with a message and exit status 1. Times are those of
clock.sh's calm clock, which stands still while the machine keeps anybody waiting.
"""
import base64, hashlib, json, os, signal, socket, struct, subprocess, sys, threading, time

BLOCK = 65536
PRESSURE = [f"/proc/pressure/{what}" for what in ("cpu", "io") if os.access(f"/proc/pressure/{what}", os.R_OK)]
PRESSURE = [os.open(path, os.O_RDONLY) for path in PRESSURE]


def calm():
    """Seconds of a clock that stands while somebody waits for a processor or a disk."""
    stalled = 0
    for fd in PRESSURE:
        line = os.pread(fd, 200, 0).split(b"\n", 1)[0]
        stalled += int(line.rsplit(b"=", 1)[1])
    return time.monotonic() - stalled / 1e6


def blocks(seed, total):
    i = 0
    while total > 0:
        b = hashlib.shake_128(b"%d %d" % (seed, i)).digest(min(BLOCK, total))
        total -= len(b)
        i += 1
        yield b


def send_stream(s, seed, total, rate):
    began, sent = time.monotonic(), 0
    for b in blocks(seed, total):
        s.sendall(b)
        sent += len(b)
        if rate:
            time.sleep(max(0, began + sent / rate - time.monotonic()))


def send_quietly(s, seed, total, rate):
    try:
        send_stream(s, seed, total, rate)
    except OSError:
        pass  # the reader's side tells


def recv_stream(s, seed, total):
    """Returns the longest pause in ms; raises ValueError at the first byte that is wrong or missing."""
    last, gap, at = calm(), 0.0, 0
    for want in blocks(seed, total):
        got = bytearray()
        while len(got) < len(want):
            b = s.recv(len(want) - len(got))
            now = calm()
            gap, last = max(gap, now - last), now
            if not b:
                raise ValueError("ended after %d of %d bytes" % (at + len(got), total))
            got += b
        if got != want:
            raise ValueError("wrong bytes between %d and %d" % (at, at + len(want)))
        at += len(want)
    return int(gap * 1000)


def read_line(s):
    line = b""
    while not line.endswith(b"\n"):
        c = s.recv(1)
        if not c:
            raise ValueError("no answer")
        line += c
    return line.decode()


def expect_end(s):
    if s.recv(1):
        raise ValueError("more bytes than there should be")


def serve_half(what, c, seed, total):
    """The direction that ends first is closed for good before the other one begins."""
    if what == "half-up":
        recv_stream(c, seed, total)
        expect_end(c)
        send_stream(c, seed + 1, total, 0)
    elif what == "half-down":
        send_stream(c, seed + 1, total, 0)
        c.shutdown(socket.SHUT_WR)
        recv_stream(c, seed, total)
        expect_end(c)
        print("half-down %d: whole" % seed, flush=True)
    else:
        while True:
            b = c.recv(BLOCK)
            if not b:
                break
            c.sendall(b)


def serve_one(c):
    with c:
        try:
            if not c.recv(1, socket.MSG_PEEK):
                return  # only a look whether we are there
            what, seed, total, rate = read_line(c).split()
            seed, total, rate = int(seed), int(total), int(rate)
            if what in ("half-up", "half-down", "echo"):
                serve_half(what, c, seed, total)
                return
            sender = threading.Thread(target=send_quietly, args=(c, seed + 1, total, rate), daemon=True)
            if what in ("get", "both"):
                sender.start()
            if what in ("put", "both"):
                gap = recv_stream(c, seed, total)
                if what == "both":
                    sender.join()
                c.sendall(b"ok %d\n" % gap)
            else:
                sender.join()
        except (OSError, ValueError) as e:
            print("serve:", e, flush=True)
            try:
                c.sendall(("bad %s\n" % e).encode())
            except OSError:
                pass


def serve(addr, port):
    family = socket.AF_INET6 if ":" in addr else socket.AF_INET
    s = socket.create_server((addr, int(port)), family=family, backlog=200)
    while True:
        threading.Thread(target=serve_one, args=(s.accept()[0],), daemon=True).start()


def half(what, s, seed, total):
    if what == "half-up":
        send_stream(s, seed, total, 0)
        s.shutdown(socket.SHUT_WR)
        recv_stream(s, seed + 1, total)
        expect_end(s)
    elif what == "half-down":
        recv_stream(s, seed + 1, total)
        expect_end(s)
        send_stream(s, seed, total, 0)
        s.shutdown(socket.SHUT_WR)
    else:
        sender = threading.Thread(target=send_stream, args=(s, seed, total, 0), daemon=True)
        sender.start()
        recv_stream(s, seed, total)
        sender.join()
        s.shutdown(socket.SHUT_WR)
        expect_end(s)


def transfer(what, s, total, rate):
    seed, began, gap = int.from_bytes(os.urandom(4), "big"), calm(), 0
    s.sendall(("%s %d %d %d\n" % (what, seed, total, rate)).encode())
    print("begun", file=sys.stderr, flush=True)
    failed = []
    if what in ("half-up", "half-down", "echo"):
        half(what, s, seed, total)
        print("ok seed=%d bytes=%d ms=%d" % (seed, total, (calm() - began) * 1000), flush=True)
        return

    def upload():
        try:
            send_stream(s, seed, total, rate)
        except OSError as e:
            failed.append("sending: %s" % e)

    sender = threading.Thread(target=upload, daemon=True)
    if what in ("put", "both"):
        sender.start()
    if what in ("get", "both"):
        gap = recv_stream(s, seed + 1, total)
    if what in ("put", "both"):
        sender.join()
        if failed:
            raise ValueError(failed[0])
        verdict = read_line(s).split()
        if verdict[0] != "ok":
            raise ValueError("the other side says: " + " ".join(verdict))
        gap = max(gap, int(verdict[1]))
    print("ok bytes=%d ms=%d gap_ms=%d" % (total, (calm() - began) * 1000, gap), flush=True)


def client(what, addr, port, total, rate="0"):
    with socket.create_connection((addr, int(port)), 15) as s:
        s.settimeout(30)
        transfer(what, s, int(total), int(rate))


def via(what, total, rate, *command):
    a, b = socket.socketpair()
    child = subprocess.Popen(command, stdin=b, stdout=b)
    b.close()
    a.settimeout(30)
    try:
        transfer(what, a, int(total), int(rate))
        a.shutdown(socket.SHUT_WR)
        status = child.wait(10)
        if status != 0:
            raise ValueError("the command ended with status %d" % status)
    finally:
        a.close()
        child.kill()
        child.wait()


def connect(addr, port, seconds):
    began = calm()
    hang = time.monotonic() + max(60, float(seconds))
    while calm() - began < float(seconds) and time.monotonic() < hang:
        try:
            with socket.create_connection((addr, int(port)), 0.25) as s:
                s.settimeout(5)
                s.sendall(b"get 1 1 0\n")
                if s.recv(1):
                    print(int((calm() - began) * 1000))
                    return
        except OSError:
            time.sleep(0.02)
    raise ValueError("no connection within %s s" % seconds)


def checksum(b):
    b += b"\0" * (len(b) % 2)
    n = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    while n >> 16:
        n = (n & 0xFFFF) + (n >> 16)
    return ~n & 0xFFFF


def ping(addr, count, size="56"):
    six = ":" in addr
    s = socket.socket(*((socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) if six else
                        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)))
    s.settimeout(3)
    ident, payload = os.getpid() & 0xFFFF, os.urandom(int(size))
    worst = 0.0
    for seq in range(int(count)):
        head = struct.pack("!BBHHH", 128 if six else 8, 0, 0, ident, seq)
        if not six:
            head = struct.pack("!BBHHH", 8, 0, checksum(head + payload), ident, seq)
        began = time.monotonic()
        s.sendto(head + payload, (addr, 0))
        while True:
            got = s.recvfrom(65535)[0]
            got = got if six else got[(got[0] & 15) * 4:]
            if got[0] == (129 if six else 0) and struct.unpack("!HH", got[4:8]) == (ident, seq):
                break
        if got[8:] != payload:
            raise ValueError("the echo has other bytes")
        worst = max(worst, time.monotonic() - began)
        time.sleep(0.12)
    print("ok count=%s worst_ms=%d" % (count, worst * 1000))


def flood(addr, port, key, seconds, rate, *sources):
    mac_key = hashlib.blake2s(b"mac1----" + base64.b64decode(key)).digest()
    messages = []
    for _ in range(512):
        m = b"\1\0\0\0" + os.urandom(112)
        messages.append(m + hashlib.blake2s(m, key=mac_key, digest_size=16).digest() + bytes(16))
    socks = []
    for source in sources:
        s = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((source, 0))
        s.connect((addr, int(port)))
        s.setblocking(False)
        socks.append(s)
    began, sent = time.monotonic(), 0
    print("flood begins", flush=True)
    while time.monotonic() - began < float(seconds):
        for _ in range(max(64, int(rate) // 10)):
            try:
                socks[sent % len(socks)].send(messages[sent % len(messages)])
            except OSError:
                pass
            sent += 1
        time.sleep(max(0, began + sent / float(rate) - time.monotonic()))
    print("flood: %d initiations in %.1f s" % (sent, time.monotonic() - began))


def sniff(device):
    """Lines "TYPE SOURCE COUNT"; type 1 initiation, 2 response, 3 cookie, 4 data, and 1+mac2 for a proven initiation."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    s.bind((device, 0))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    counts = {}

    def finish(*_):
        for (kind, src), n in sorted(counts.items()):
            print(kind, src, n)
        sys.stdout.flush()
        os._exit(0)

    signal.signal(signal.SIGTERM, finish)
    print("ready", flush=True)
    while True:
        b, where = s.recvfrom(65535)
        if b[0] >> 4 == 4 and b[9] == 17:
            src, udp = socket.inet_ntop(socket.AF_INET, b[12:16]), (b[0] & 15) * 4
        elif b[0] >> 4 == 6 and b[6] == 17:
            src, udp = socket.inet_ntop(socket.AF_INET6, b[8:24]), 40
        else:
            continue
        m = b[udp + 8:]
        sizes = {1: 148, 2: 92, 3: 64}
        if len(m) < 32 or m[0] not in (1, 2, 3, 4) or len(m) != sizes.get(m[0], len(m)):
            continue
        kind = str(m[0]) + ("+mac2" if m[0] == 1 and any(m[132:]) else "")
        counts[kind, src] = counts.get((kind, src), 0) + 1


def dial(path, host, port, timeout_ms):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    text = json.dumps({"v": 1, "op": "dial", "host": host, "port": int(port), "timeout_ms": int(timeout_ms)}).encode()
    s.sendall(struct.pack("<I", len(text)) + text)
    n = struct.unpack("<I", s.recv(4, socket.MSG_WAITALL))[0]
    reply = json.loads(s.recv(n, socket.MSG_WAITALL))
    print(reply.get("error", "OK"))


def main():
    name, args = sys.argv[1], sys.argv[2:]
    if name in ("get", "put", "both"):
        client(name, *args)
    else:
        {"serve": serve, "via": via, "connect": connect, "ping": ping, "flood": flood, "sniff": sniff, "dial": dial}[name](*args)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as e:
        print("%s: %s" % (" ".join(sys.argv[1:4]), e), flush=True)
        sys.exit(1)
