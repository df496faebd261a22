#!/usr/bin/env python3
"""mitm.py - an active attacker between enrolling agents and a hub.

Usage: mitm.py HUB_PORT CASES: each line of the file CASES is "PORT MESSAGE ACTION". The attacker listens on 127.0.0.1:PORT, passes
what comes to the hub (from an address of its own for each case), and does ACTION to message number MESSAGE of each connection:
0 hello, 1 answer, 2 the agent's record, 3 the operator's. A file PORT.clean in the folder of CASES ends the attack there.
It writes "PORT n" to standard output for each connection that it attacked, n the number of messages that passed whole.
"""
import os, selectors, socket, struct, sys, threading, time

HEAD = {0: 140, 1: 61}


def exactly(sock, n):
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def message(sock, number):
    if number in HEAD:
        return exactly(sock, HEAD[number])
    head = exactly(sock, 4)
    return head + exactly(sock, struct.unpack(">I", head)[0])


def flip(data, at):
    data = bytearray(data)
    data[at] ^= 1 << (at % 8)
    return bytes(data)


def attack(action, data, to, back, kept):
    """Does it; returns whether the connection goes on."""
    name, _, arg = action.partition(":")
    if name == "alter":
        at = int(arg)
        to.sendall(flip(data, at if at >= 0 else len(data) + at))
    elif name == "drop":
        time.sleep(12)
        return False
    elif name == "cut":
        to.sendall(data[: len(data) // 2])
        return False
    elif name == "twice":
        to.sendall(data + data)
    elif name == "more":
        to.sendall(data + b"\0")
    elif name == "slow":
        for i in range(0, len(data), 7):
            to.sendall(data[i : i + 7])
            time.sleep(0.002)
    elif name == "other":  # of another connection, recorded
        to.sendall(kept if kept else flip(data, 0))
    elif name == "reflect":
        back.sendall(data)
        return False
    elif name == "before":  # what comes after it comes before it
        to.sendall(kept + data if kept else data + data)
    return True


class Case:
    def __init__(self, folder, hub, number, port, at, action):
        self.clean = os.path.join(folder, "%d.clean" % port)
        self.hub, self.number, self.port, self.at, self.action = hub, number, port, at, action
        self.kept = {}
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen(16)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            agent, _ = self.socket.accept()
            threading.Thread(target=self.connection, args=(agent,), daemon=True).start()

    def connection(self, agent):
        hub = socket.socket()
        whole = 0
        try:
            # The hub counts what is nobody's by address: what the attacker spoilt is not held against what comes after him.
            net = 2 if os.path.exists(self.clean) else 1
            hub.bind(("127.%d.%d.%d" % (net, self.number // 200, 1 + self.number % 200), 0))
            hub.connect(("127.0.0.1", self.hub))
            sides = (agent, hub)
            for n in range(4):
                source, to = sides[n % 2], sides[1 - n % 2]
                data = message(source, n)
                if n == self.at and not os.path.exists(self.clean):
                    kept = self.kept.get((n + 2) % 4 if self.action == "before" else n)
                    self.kept[n] = data
                    if not attack(self.action, data, to, source, kept):
                        return
                else:
                    self.kept[n] = data
                    to.sendall(data)
                    whole += 1
            time.sleep(0.2)
        except (OSError, EOFError):
            pass
        finally:
            print(self.port, whole, flush=True)
            agent.close()
            hub.close()


def main():
    folder = os.path.dirname(os.path.abspath(sys.argv[2]))
    with open(sys.argv[2]) as f:
        lines = [line.split() for line in f]
    for i, (port, at, action) in enumerate(lines):
        Case(folder, int(sys.argv[1]), i, int(port), int(at), action)
    print("ready", flush=True)
    threading.Event().wait()


main()
