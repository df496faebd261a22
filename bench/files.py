"""`nefia fs` beside OpenSSH's sftp and scp over the same tunnel (through `nefia nc` as their ProxyCommand), and a raw TCP copy.

One sshd, one agent, one hub for each path; every pair is measured in turn. Files lie in memory where there is enough of it, so
that the disk is not what is measured; what arrives is compared.
"""
import filecmp
import mmap
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import tools as T
from login import Login

N_SMALL = {False: 500, True: 10000}
LARGE = {False: 256 << 20, True: 1 << 30}
NEFIA = os.path.join(T.BUILD, "nefia")


class Site(Login):
    """A hub and an agent with a path between them, a real sshd behind the agent; and a second agent for raw streams."""

    def __init__(self, delay_ms):
        super().__init__(T.free_port())
        shutil.rmtree(self.dir)
        place = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 8 << 30 else None
        self.dir = tempfile.mkdtemp(prefix="nbench.", dir=place)
        self.path = ["--delay", str(delay_ms)] if delay_ms else None
        self.start_sshd()
        with open(os.path.join(self.dir, "sshd_config"), "a") as f:
            f.write("Subsystem sftp internal-sftp\n")
        self.around.pop().kill()
        self.beside(shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", os.path.join(self.dir, "sshd_config"))
        T.wait_port(self.server_port)
        self.start(user=os.environ.get("USER") or "root", identity=os.path.join(self.dir, "id"), forward=False)
        # Sessions that stand, as in the middle of a day's work.
        T.run(NEFIA, "exec", "--target", "far", "--", "true", env=self.env)

    def nefia(self, *words):
        return [NEFIA, "fs", *words, "-q"]

    def openssh(self, program, *words):
        return [program, "-q", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.dir}/known",
                "-o", "LogLevel=ERROR", "-i", f"{self.dir}/id", "-o", f"ProxyCommand={NEFIA} nc far 22", *words]

    def sftp(self, line):
        batch = os.path.join(self.dir, "batch")
        with open(batch, "w") as f:
            f.write(line + "\n")
        return self.openssh("sftp", "-b", batch, "far")

    def seconds(self, cmd):
        began = time.monotonic()
        p = subprocess.run(cmd, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                           text=True, timeout=1800)
        if p.returncode != 0:
            raise T.Skip(f"{os.path.basename(cmd[0])}: {p.stderr.strip().splitlines()[-1] if p.stderr.strip() else p.returncode}")
        return time.monotonic() - began


class Raw(T.Nefia):
    """The bare stream of the tunnel: what is copied comes from a socket behind the agent."""

    def __init__(self, delay_ms, source):
        self.listener = socket.create_server(("127.0.0.1", 0))
        super().__init__(self.listener.getsockname()[1])
        self.path = ["--delay", str(delay_ms)] if delay_ms else None
        threading.Thread(target=self.serve, args=(source,), daemon=True).start()
        self.start()
        T.wait_port(self.port)

    def serve(self, source):
        while True:
            try:
                conn = self.listener.accept()[0]
            except OSError:
                return
            with conn, open(source, "rb") as f:
                try:
                    conn.sendfile(f)
                except OSError:
                    pass

    def seconds(self, size, target):
        buf = memoryview(bytearray(1 << 20))
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port)) as s, open(target, "wb", buffering=0) as f:
            got = 0
            while True:
                n = s.recv_into(buf)
                if n == 0:
                    break
                f.write(buf[:n])
                got += n
        if got != size:
            raise T.Skip(f"the raw copy ended at {got} of {size} bytes")
        return time.monotonic() - began

    def stop(self):
        super().stop()
        self.listener.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def large_file(directory, size):
    path = os.path.join(directory, "large")
    with open(path, "wb") as f:
        for _ in range(size >> 20):
            f.write(os.urandom(1 << 20))
    return path


def small_tree(directory, n):
    tree = os.path.join(directory, "tree")
    for i in range(n):
        sub = os.path.join(tree, f"d{i // 100}")
        os.makedirs(sub, exist_ok=True)
        with open(os.path.join(sub, f"f{i}"), "wb") as f:
            f.write(os.urandom(4096))
    return tree


def same(a, b):
    if os.path.isdir(a):
        return subprocess.run(["diff", "-r", a, b], stdout=subprocess.DEVNULL).returncode == 0
    return filecmp.cmp(a, b, shallow=False)


def remove(path):
    shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.path.exists(path) and os.unlink(path)


def warm_memory(size):
    """Pages that were free for long cost a virtual machine's host time when they are written again, whoever does it first."""
    pages = mmap.mmap(-1, size)
    for at in range(0, size, mmap.PAGESIZE):
        pages[at] = 1
    pages.close()


def pair(name, rounds, source, *ways):
    """Seconds of each way, in turn; a way is a function that copies SOURCE to the path that it is given. Large files: a round before
    the first is not counted, for it meets memory that the machine has long given back."""
    found = [[] for _ in ways]
    target = source + ".copy"
    for i in range(-1 if os.path.isfile(source) else 0, rounds):
        for k in range(len(ways)) if i % 2 == 0 else reversed(range(len(ways))):
            remove(target)
            if os.path.isfile(source):
                warm_memory(2 * os.path.getsize(source))
            print(f"files: {name}: round {i + 1} of {rounds}, way {k + 1}", file=sys.stderr)
            took = ways[k](target)
            if i >= 0:
                found[k].append(took)
            if not same(source, target):
                raise T.Skip(f"{name}: what arrived is not what was sent")
    remove(target)
    return found


def copies_of_one(site, source, rounds, label):
    """[(name, ours, theirs, least ratio of speeds)]"""
    get = pair(label + " get", rounds, source, lambda to: site.seconds(site.nefia("get", "far:" + source, to)),
               lambda to: site.seconds(site.sftp(f"get {source} {to}")))
    put = pair(label + " put", rounds, source, lambda to: site.seconds(site.nefia("put", source, "far:" + to)),
               lambda to: site.seconds(site.sftp(f"put {source} {to}")))
    return get, put


def near(rounds, size):
    site = Site(0)
    try:
        mib = size >> 20
        get, put = copies_of_one(site, large_file(site.dir, size), rounds, "near")
        return [(f"get of {mib} MiB / sftp", *get, 1.0), (f"put of {mib} MiB / sftp", *put, 1.0)]
    finally:
        site.stop()
        shutil.rmtree(site.dir, ignore_errors=True)


def many(rounds, n):
    site = Site(5)
    try:
        tree = small_tree(site.dir, n)
        put = pair("tree put", rounds, tree, lambda to: site.seconds(site.nefia("put", "-r", tree, "far:" + to)),
                   lambda to: site.seconds(site.openssh("scp", "-r", tree, "far:" + to)))
        get = pair("tree get", rounds, tree, lambda to: site.seconds(site.nefia("get", "-r", "far:" + tree, to)),
                   lambda to: site.seconds(site.openssh("scp", "-r", "far:" + tree, to)))
        return [(f"put -r of {n} files of 4 KiB, 10 ms / scp -r", *put, 2.0),
                (f"get -r of {n} files of 4 KiB, 10 ms / scp -r", *get, 2.0)]
    finally:
        site.stop()
        shutil.rmtree(site.dir, ignore_errors=True)


def far(rounds, size):
    site = Site(25)
    source = large_file(site.dir, size)
    raw = Raw(25, source)
    try:
        mib = size >> 20
        get = pair("far get", rounds, source, lambda to: site.seconds(site.nefia("get", "far:" + source, to)),
                   lambda to: raw.seconds(size, to))
        put = pair("far put", rounds, source, lambda to: site.seconds(site.nefia("put", source, "far:" + to)),
                   lambda to: site.seconds(site.sftp(f"put {source} {to}")))
        return [(f"get of {mib} MiB, 50 ms / raw TCP copy", *get, 0.9), (f"put of {mib} MiB, 50 ms / sftp", *put, 2.0)]
    finally:
        raw.stop()
        site.stop()
        shutil.rmtree(site.dir, ignore_errors=True)


CELLS = ("near", "many", "far")


def measure_files(rounds, long, only=CELLS):
    """{"rows": [(name, our seconds, their seconds, what the ratio of speeds must be at least)]}"""
    parts = {"near": lambda: near(rounds, LARGE[long]), "many": lambda: many(1, N_SMALL[long]),
             "far": lambda: far(rounds, LARGE[long])}
    return {"rows": [row for name in only for row in parts[name]()]}


if __name__ == "__main__":
    import statistics
    for row in measure_files(int(sys.argv[2]) if len(sys.argv) > 2 else 1, "--long" in sys.argv,
                             sys.argv[1].split(",") if len(sys.argv) > 1 else CELLS)["rows"]:
        ours, theirs = statistics.median(row[1]), statistics.median(row[2])
        print([round(v, 2) for v in row[1]], [round(v, 2) for v in row[2]])
        print(f"{row[0]}: {ours:.2f} s, {theirs:.2f} s: {theirs / ours:.2f}x (must {row[3]}x)")
