#!/usr/bin/env python3
"""Measures Nefia beside its rivals, in turn, in one run.

    bench/run.py [--long] [--rounds N] [--seconds S] [--only TOOL,...] [--cells CELL,...]

Way of the bytes, as people use these tools: an ordinary TCP client (bench/load), the tool's local port, its tunnel over
UDP on loopback, its other end, an ordinary TCP server. One tool runs at a time; a round measures each tool once, and the
order turns with every round, so that a machine that slows down slows all. Printed: medians, spread, and ratios to the
best rival. Everything goes to bench/results/NAME.json, raw samples too.

A rival that cannot be had here is skipped with its reason. How each is got: bench/README.md.
"""
import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("B", "build"))
LOAD = os.path.join(BUILD, "bench/load")
STACK = os.path.join(BUILD, "bench/stack")
RIVALS = os.path.join(BUILD, "bench/rivals")


class Skip(Exception):
    pass


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise Skip(f"port {port} does not answer")


def first_byte(tool, seconds=15):
    """Waits until a byte came back through TOOL."""
    end = time.monotonic() + seconds
    cmd = [LOAD, "run", tool.target or f"127.0.0.1:{tool.port}", "rr", "--seconds", "0"]
    if tool.socks:
        cmd += ["--socks", f"127.0.0.1:{tool.socks}"]
    while time.monotonic() < end:
        if '"failed":0' in subprocess.run(cmd, capture_output=True, text=True).stdout:
            return
        time.sleep(0.002)
    raise Skip("no byte came through")


def run(*cmd, **kw):
    return subprocess.run(cmd, check=True, capture_output=True, text=True, **kw).stdout


class Tool:
    """One way from `self.port` on loopback to the server; `self.procs` are its processes, both ends."""
    name = ""
    rival = True

    def __init__(self, server_port):
        self.server_port = server_port
        self.procs = []
        self.port = 0
        self.socks = 0      # a SOCKS5 port in place of a forward, then
        self.target = None  # IP:PORT to ask it for
        self.dir = tempfile.mkdtemp(prefix="nbench.")

    def prepare(self):
        """Once: build or find the program. Raises Skip."""

    def start(self):
        raise NotImplementedError

    def spawn(self, *cmd, env=None):
        log = open(os.path.join(self.dir, "log"), "ab")
        p = subprocess.Popen(cmd, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env)
        self.procs.append(p)
        return p

    def pids(self):
        return [p.pid for p in self.procs]

    def stop(self):
        for p in reversed(self.procs):
            p.send_signal(signal.SIGTERM)
        for p in self.procs:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.procs = []


class Loopback(Tool):
    name = "loopback"

    def start(self):
        self.port = self.server_port


class Nefia(Tool):
    name = "nefia"
    rival = False
    aead = None

    def start(self):
        home = os.path.join(self.dir, "op")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(os.path.join(self.dir, "agent"), ignore_errors=True)
        os.makedirs(os.path.join(self.dir, "agent"), mode=0o700)
        env = dict(os.environ, NEFIA_HOME=home)
        env.pop("XDG_RUNTIME_DIR", None)
        nefia = os.path.join(BUILD, "nefia")
        conf = os.path.join(self.dir, "agent/agent.yaml")
        agent_port = free_port(socket.SOCK_DGRAM)
        run(nefia, "init", env=env)
        run(nefia, "host", "add", "far", "--endpoint", f"127.0.0.1:{agent_port}", "--agent-config", conf, env=env)
        self.edit(os.path.join(home, "nefia.yaml"), "listen_port", free_port(socket.SOCK_DGRAM))
        self.edit(conf, "listen_port", agent_port)
        self.edit(conf, "ssh_addr", f"127.0.0.1:{self.server_port}")
        self.port = free_port()
        self.spawn(os.path.join(BUILD, "nefia-agent"), "run", "--config", conf, env=env)
        self.spawn(nefia, "hub", env=env)
        end = time.monotonic() + 5
        while not os.path.exists(os.path.join(home, "run/hub.sock")) and time.monotonic() < end:
            time.sleep(0.005)
        self.spawn(nefia, "forward", "far", str(self.port), "--raw", env=env)

    @staticmethod
    def edit(path, key, value):
        lines, found = [], False
        for line in open(path):
            bare = line.lstrip(" -")
            if bare.startswith(key + ":"):
                line = line[:len(line) - len(bare)] + f"{key}: {value}\n"
                found = True
            lines.append(line)
        if not found:
            lines.append(f"{key}: {value}\n")
        with open(path, "w") as f:
            f.writelines(lines)
        os.chmod(path, 0o600)


def wg_keys():
    if not shutil.which("wg"):
        raise Skip("wg (wireguard-tools) is not installed")
    private = run("wg", "genkey").strip()
    public = subprocess.run(["wg", "pubkey"], input=private, check=True, capture_output=True, text=True).stdout.strip()
    return private, public


def to_hex(key):
    import base64
    return base64.b64decode(key).hex()


class Netstack(Tool):
    name = "wireguard-go netstack"

    def prepare(self):
        self.program = os.path.join(RIVALS, "netstack")
        if os.path.exists(self.program):
            return
        if not shutil.which("go"):
            raise Skip("go is not installed")
        try:
            run("go", "build", "-o", self.program, ".", cwd=os.path.join(ROOT, "bench/rivals/netstack"))
        except subprocess.CalledProcessError as e:
            raise Skip("go build failed: " + e.stderr.strip().splitlines()[-1])

    def start(self):
        (ka, pa), (kb, pb) = wg_keys(), wg_keys()
        a, b = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        self.port = free_port()
        self.spawn(self.program, "-key", to_hex(kb), "-peer", to_hex(pa), "-listen", str(b), "-addr", "10.98.0.2",
                   "-allow", "10.98.0.1", "-serve", f"22:127.0.0.1:{self.server_port}")
        self.spawn(self.program, "-key", to_hex(ka), "-peer", to_hex(pb), "-listen", str(a), "-addr", "10.98.0.1",
                   "-allow", "10.98.0.2", "-endpoint", f"127.0.0.1:{b}",
                   "-forward", f"127.0.0.1:{self.port}:10.98.0.2:22")


class Wireproxy(Tool):
    name = "wireproxy"

    def prepare(self):
        self.program = find_rival("wireproxy")

    def start(self):
        (ka, pa), (kb, pb) = wg_keys(), wg_keys()
        b = free_port(socket.SOCK_DGRAM)
        self.port = free_port()
        far, near = os.path.join(self.dir, "far.conf"), os.path.join(self.dir, "near.conf")
        with open(far, "w") as f:
            f.write(f"[Interface]\nAddress = 10.97.0.2/32\nPrivateKey = {kb}\nListenPort = {b}\n\n[Peer]\nPublicKey = {pa}\n"
                    f"AllowedIPs = 10.97.0.1/32\n\n[TCPServerTunnel]\nListenPort = 22\nTarget = 127.0.0.1:{self.server_port}\n")
        with open(near, "w") as f:
            f.write(f"[Interface]\nAddress = 10.97.0.1/32\nPrivateKey = {ka}\n\n[Peer]\nPublicKey = {pb}\n"
                    f"AllowedIPs = 10.97.0.2/32\nEndpoint = 127.0.0.1:{b}\n\n[TCPClientTunnel]\n"
                    f"BindAddress = 127.0.0.1:{self.port}\nTarget = 10.97.0.2:22\n")
        self.spawn(self.program, "-s", "-c", far)
        self.spawn(self.program, "-s", "-c", near)


class Tailscale(Tool):
    """tailscaled --tun=userspace-networking twice; the control server for tests out of its own module."""
    name = "tailscale userspace"

    def prepare(self):
        self.daemon, self.cli, self.control = find_rival("tailscaled"), find_rival("tailscale"), find_rival("tscontrol")

    def start(self):
        control = free_port()
        self.spawn(self.control, "-listen", f"127.0.0.1:{control}")
        wait_port(control)
        addresses = []
        for i, host in enumerate(("far", "near")):
            state = os.path.join(self.dir, host)
            shutil.rmtree(state, ignore_errors=True)
            os.makedirs(state)
            sock = os.path.join(state, "s")
            env = dict(os.environ, TS_DEBUG_PERMIT_HTTP_C2N="1", TS_NO_LOGS_NO_SUPPORT="true")
            args = [self.daemon, "--tun=userspace-networking", f"--statedir={state}", f"--socket={sock}",
                    f"--port={free_port(socket.SOCK_DGRAM)}"]
            if host == "near":
                self.socks = free_port()
                args.append(f"--socks5-server=127.0.0.1:{self.socks}")
            self.spawn(*args, env=env)
            for _ in range(500):
                if os.path.exists(sock):
                    break
                time.sleep(0.01)
            run(self.cli, f"--socket={sock}", "up", f"--login-server=http://127.0.0.1:{control}", f"--hostname={host}",
                "--accept-dns=false", timeout=30)
            addresses.append(run(self.cli, f"--socket={sock}", "ip", "-4").strip())
        run(self.cli, f"--socket={os.path.join(self.dir, 'far/s')}", "serve", "--bg", "--tcp=2222",
            f"tcp://127.0.0.1:{self.server_port}", timeout=30)
        self.target = f"{addresses[0]}:2222"
        # The relay carries the first packets; what is measured is the direct path.
        for _ in range(40):
            out = subprocess.run([self.cli, f"--socket={os.path.join(self.dir, 'near/s')}", "ping", "-c", "1", addresses[0]],
                                 capture_output=True, text=True, timeout=20).stdout
            if "via 127.0.0.1" in out or "via 1" in out and "DERP" not in out:
                break
            time.sleep(0.2)

    def pids(self):
        return [p.pid for p in self.procs[1:3]]  # the two daemons; the control server is idle by then


def find_rival(name):
    for place in (os.path.join(RIVALS, name), shutil.which(name)):
        if place and os.path.exists(place):
            return place
    raise Skip(f"{name} is not installed (make bench-rivals)")


# ---- measuring ----

def cpu_seconds(pids):
    tick = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for pid in pids:
        fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / tick
    return total


def rss_mib(pids, key="VmRSS"):
    total = 0
    for pid in pids:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith(key + ":"):
                total += int(line.split()[1])
    return total / 1024


CELLS = {
    "up1": ("up", 1), "down1": ("down", 1), "up4": ("up", 4), "up32": ("up", 32), "down32": ("down", 32),
    "rr": ("rr", 1), "crr1": ("crr", 1), "crr16": ("crr", 16),
}


def measure(tool, cell, seconds):
    mode, flows = CELLS[cell]
    before = cpu_seconds(tool.pids())
    cmd = [LOAD, "run", tool.target or f"127.0.0.1:{tool.port}", mode, "--flows", str(flows), "--seconds", str(seconds)]
    if tool.socks:
        cmd += ["--socks", f"127.0.0.1:{tool.socks}"]
    p = subprocess.run(cmd, capture_output=True, text=True, timeout=seconds + 60)
    if not p.stdout:
        return {"error": p.stderr.strip().splitlines()[-1] if p.stderr else "no result"}
    r = json.loads(p.stdout)
    used = cpu_seconds(tool.pids()) - before
    if "gbps" in r and r["gbps"] > 0:
        r["cpu_s_per_gb"] = used / (r["gbps"] * r["seconds"] / 8)
    if r["failed"]:
        r["error"] = p.stderr.strip().splitlines()[-1]
    return r


def measure_tool(tool, cells, seconds):
    out = {}
    began = time.monotonic()
    tool.start()
    first_byte(tool)
    out["first_byte_ms"] = {"ms": (time.monotonic() - began) * 1000}
    out["rss_idle"] = {"mib": rss_mib(tool.pids())}
    for cell in cells:
        out[cell] = measure(tool, cell, seconds)
    out["rss_peak"] = {"mib": rss_mib(tool.pids(), "VmHWM")}
    return out


def machine():
    cpu = "?"
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "commit": commit,
            "avx512": "avx512f" in open("/proc/cpuinfo").read(), "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


ROWS = [
    ("one flow up, Gb/s", "up1", "gbps", True), ("one flow down, Gb/s", "down1", "gbps", True),
    ("4 flows up, Gb/s", "up4", "gbps", True), ("32 flows up, Gb/s", "up32", "gbps", True),
    ("32 flows down, Gb/s", "down32", "gbps", True), ("least of 32 up, Gb/s", "up32", "least_gbps", True),
    ("CPU s per GB up, both ends", "up1", "cpu_s_per_gb", False), ("CPU s per GB down, both ends", "down1", "cpu_s_per_gb", False),
    ("request/response p50, us", "rr", "p50_us", False), ("request/response p99, us", "rr", "p99_us", False),
    ("request/response p99.9, us", "rr", "p999_us", False),
    ("connections/s, one by one", "crr1", "per_second", True), ("connections/s, 16 at once", "crr16", "per_second", True),
    ("start to first byte, ms", "first_byte_ms", "ms", False), ("RSS idle, both ends, MiB", "rss_idle", "mib", False),
    ("RSS peak, both ends, MiB", "rss_peak", "mib", False),
]


def median(samples, tool, cell, field):
    values = [s[cell][field] for s in samples.get(tool, []) if cell in s and field in s[cell]]
    return statistics.median(values) if values else None


def table(samples, tools):
    names = [t.name for t in tools if t.name in samples]
    rivals = [t.name for t in tools if t.rival and t.name in samples and t.name != "loopback"]
    lines = ["| | " + " | ".join(names) + " | nefia to the best rival |", "|---" * (len(names) + 2) + "|"]
    for title, cell, field, more in ROWS:
        m = {n: median(samples, n, cell, field) for n in names}
        if all(v is None for v in m.values()):
            continue
        cells = []
        for n in names:
            values = [s[cell][field] for s in samples[n] if cell in s and field in s[cell]]
            cells.append("-" if m[n] is None else f"{m[n]:.3g} ({min(values):.3g}-{max(values):.3g})")
        others = [m[r] for r in rivals if m[r]]
        ratio = "-"
        if m.get("nefia") and others:
            best = max(others) if more else min(others)
            ratio = f"{m['nefia'] / best:.2f}x"
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {ratio} |")
    return "\n".join(lines)


def in_stack(seconds):
    out = {}
    for aead in ("libsodium", "libcrypto", "libIPSec_MB", None):
        for mode in ("ceiling", "up", "rr", "crr") if aead is None else ("ceiling", "up"):
            cmd = [STACK, mode, "--seconds", str(seconds)] + (["--aead", aead] if aead else [])
            p = subprocess.run(cmd, capture_output=True, text=True, timeout=60)
            if p.returncode == 0:
                out[f"{mode} {aead or 'picked'}"] = json.loads(p.stdout)
    return out


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--long", action="store_true")
    ap.add_argument("--rounds", type=int)
    ap.add_argument("--seconds", type=float)
    ap.add_argument("--only")
    ap.add_argument("--cells")
    ap.add_argument("--name", default="latest")
    opt = ap.parse_args()
    rounds = opt.rounds or (10 if opt.long else 3)
    seconds = opt.seconds or (10 if opt.long else 3)
    cells = opt.cells.split(",") if opt.cells else list(CELLS)
    server_port = free_port()
    server = subprocess.Popen([LOAD, "serve", str(server_port)])
    samples, skipped, tools = {}, {}, []
    try:
        wait_port(server_port)
        for cls in (Nefia, Tailscale, Netstack, Wireproxy, Loopback):
            if opt.only and cls.name not in opt.only.split(","):
                continue
            tool = cls(server_port)
            try:
                tool.prepare()
                tools.append(tool)
            except Skip as e:
                skipped[cls.name] = str(e)
                print(f"SKIP {cls.name}: {e}", file=sys.stderr)
        for i in range(rounds):
            for tool in tools[i % len(tools):] + tools[:i % len(tools)]:
                print(f"round {i + 1} of {rounds}: {tool.name}", file=sys.stderr)
                try:
                    samples.setdefault(tool.name, []).append(measure_tool(tool, cells, seconds))
                except (Skip, subprocess.SubprocessError, OSError) as e:
                    print(f"FAILED {tool.name}: {e}", file=sys.stderr)
                    skipped[tool.name] = str(e)
                finally:
                    tool.stop()
        stack = in_stack(seconds)
    finally:
        server.kill()
        for t in tools:
            t.stop()
            shutil.rmtree(t.dir, ignore_errors=True)
    result = {"machine": machine(), "rounds": rounds, "seconds": seconds, "skipped": skipped, "stack": stack, "samples": samples}
    os.makedirs(os.path.join(ROOT, "bench/results"), exist_ok=True)
    text = [f"Machine: {result['machine']}", f"{rounds} rounds of {seconds} s a cell; median (least-greatest).", ""]
    text.append(table(samples, tools))
    text += ["", "In the stack (source and sink on net.h in two processes), and the ceiling of cryptography and UDP alone:", ""]
    for k, v in stack.items():
        text.append(f"- {k}: " + (f"{v['gbps']:.2f} Gb/s, {v['cpu_s_per_gb']:.2f} CPU s/GB" if "cpu_s_per_gb" in v else
                                  f"{v['per_second']} a second, p50 {v['p50_us']} us, p99 {v['p99_us']} us"))
    for name, why in skipped.items():
        text.append(f"- skipped: {name}: {why}")
    print("\n".join(text))
    with open(os.path.join(ROOT, f"bench/results/{opt.name}.json"), "w") as f:
        json.dump(result, f, indent=1)
    with open(os.path.join(ROOT, f"bench/results/{opt.name}.md"), "w") as f:
        f.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
