"""Nefia and its rivals as ways from a local port to a server: how each is started, which processes are its own.

A tool that cannot be had here raises Skip with the reason. How each is got: bench/README.md.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("B", "build"))
LOAD = os.path.join(BUILD, "bench/load")
PATH = os.path.join(BUILD, "bench/path")
RELAY = os.path.join(BUILD, "bench/relay")
STACK = os.path.join(BUILD, "bench/stack")
HANDSHAKES = os.path.join(BUILD, "bench/handshakes")
RIVALS = os.path.join(BUILD, "bench/rivals")


CONTROL = "/proc/sys/net/ipv4/tcp_congestion_control"  # of local sockets
USUAL = "cubic"                                        # what Debian and Ubuntu have
MACHINES_OWN = "BENCH_MACHINES_CONTROL"                # in the environment: we are in a namespace for USUAL


def control(name=None):
    """The congestion control that new TCP sockets of this network namespace have; NAME becomes it."""
    if name:
        with open(CONTROL, "w") as f:
            f.write(name)
    return open(CONTROL).read().strip()


def machines_own_control():
    """None where it is the one that is measured with."""
    return os.environ.get(MACHINES_OWN)


def enter_namespace():
    """Begins this program again in a network namespace in which local sockets have USUAL, where the machine's default is another.
    BBR sets a timer for each 64 KiB that a client or server writes, and each interrupts whatever runs: a fifth of what a fast
    tunnel moves, nothing of a slow one's."""
    if MACHINES_OWN in os.environ:
        run("ip", "link", "set", "lo", "up")
        for command in ("link add up0 type veth peer name up1", "addr add 192.0.2.1/24 dev up0", "link set up0 up", "link set up1 up",
                        "route add default via 192.0.2.2"):  # tailscaled waits for a default route
            subprocess.run(["ip", *command.split()])
        control(USUAL)
        return
    if control() == USUAL or os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        return
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control") as f:
        known = USUAL in f.read().split()
    # Root of a container may not.
    if known and subprocess.run(["unshare", "--net", "true"], stderr=subprocess.DEVNULL).returncode == 0:
        os.execvpe("unshare", ["unshare", "--net", sys.executable, *sys.argv], dict(os.environ, **{MACHINES_OWN: control()}))


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
    while time.monotonic() < end:
        if "error" not in tool.load("rr", "--seconds", "0", timeout=30):
            return
        time.sleep(0.002)
    raise Skip("no byte came through")


def run(*cmd, **kw):
    return subprocess.run(cmd, check=True, capture_output=True, text=True, **kw).stdout


class Tool:
    """One way from `self.port` on loopback to the server; `self.procs` are its processes, both ends."""
    name = ""
    cells = None  # names of the only cells that are measured; None for all

    def __init__(self, server_port):
        self.server_port = server_port
        self.procs = []
        self.port = 0
        self.socks = 0      # a SOCKS5 port in place of a forward, then
        self.target = None  # IP:PORT to ask it for
        self.path = None    # options of bench/path when a path is put between the two ends
        self.shared = None  # (near, far): UDP ports of a path that somebody else has started for two tools
        self.around = []    # processes that are not the tool's own: the path, a server in a namespace
        self.options = []   # of bench/load
        self.prefix = []    # how a client is started where the way begins
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

    def through(self, port, prefix=(), ip="127.0.0.1"):
        """The UDP port at which `port` of 127.0.0.1 is reached: itself, or the near end of the path before it."""
        if self.shared:
            return self.shared[0]
        if self.path is None:
            return port
        near = free_port(socket.SOCK_DGRAM)
        self.beside(*prefix, PATH, f"{ip}:{near}", f"127.0.0.1:{port}", *self.path)
        return near

    def beside(self, *cmd):
        """A process that is needed and is not the tool's."""
        with open(os.path.join(self.dir, "beside.log"), "ab") as log:
            self.around.append(subprocess.Popen(cmd, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def pids(self):
        return [p.pid for p in self.procs]

    def far_pids(self):
        """Of these the end beside the server: it is started first."""
        return self.pids()[:1]

    def stop(self):
        everything = self.procs + self.around
        for p in reversed(everything):
            p.send_signal(signal.SIGTERM)
        for p in everything:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.procs, self.around = [], []

    def load(self, *args, timeout):
        """One run of bench/load; its result as a dictionary."""
        cmd = self.prefix + [LOAD, "run", self.target or f"127.0.0.1:{self.port}", *args, *self.options]
        if self.socks:
            cmd += ["--socks", f"127.0.0.1:{self.socks}"]
        p = subprocess.run(cmd, capture_output=True, text=True, timeout=timeout)
        if not p.stdout:
            return {"error": p.stderr.strip().splitlines()[-1] if p.stderr else "no result"}
        r = json.loads(p.stdout)
        if r["failed"]:
            r["error"] = p.stderr.strip().splitlines()[-1]
        return r


class Loopback(Tool):
    name = "loopback"

    def start(self):
        if self.path is not None:
            raise Skip("has no UDP to put a path into")
        self.port = self.server_port


class Relays(Tool):
    """Two hops over loopback that only copy: what being two more programs costs, without a tunnel."""
    name = "two bare relays"
    cells = ("up1", "down1", "up32", "down32", "crr1", "crr16", "rr")

    def start(self):
        if self.path is not None:
            raise Skip("has no UDP to put a path into")
        far, self.port = free_port(), free_port()
        self.spawn(LOAD, "relay", str(far), f"127.0.0.1:{self.server_port}")
        wait_port(far)
        self.spawn(LOAD, "relay", str(self.port), f"127.0.0.1:{far}")
        wait_port(self.port)


class Nefia(Tool):
    name = "nefia"
    congestion = None
    aead_workers = None
    build = BUILD

    @classmethod
    def of_build(cls, name, build):
        """Another build of it, to be measured beside this one in one run."""
        if not os.path.exists(os.path.join(build, "nefia-agent")):
            raise Skip(f"{build} holds no nefia-agent")
        return type("Nefia_" + name, (cls,), {"name": name, "build": os.path.abspath(build)})

    def start(self, user=None, identity=None, forward=True):
        home = os.path.join(self.dir, "op")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(os.path.join(self.dir, "agent"), ignore_errors=True)
        os.makedirs(os.path.join(self.dir, "agent"), mode=0o700)
        self.env = dict(os.environ, NEFIA_HOME=home)
        self.env.pop("XDG_RUNTIME_DIR", None)
        nefia = os.path.join(self.build, "nefia")
        run(nefia, "init", env=self.env)
        self.edit(os.path.join(home, "nefia.yaml"), "listen_port", free_port(socket.SOCK_DGRAM))
        login = ["--user", user, "--identity", identity] if user else []
        agent = self.add_agent("far", home, login)
        self.port = free_port()
        self.spawn(os.path.join(self.build, "nefia-agent"), "run", "--config", agent, env=self.env)
        self.spawn(nefia, "hub", env=self.env)
        end = time.monotonic() + 5
        while not os.path.exists(os.path.join(home, "run/hub.sock")) and time.monotonic() < end:
            time.sleep(0.005)
        if forward:
            self.spawn(nefia, "forward", "far", str(self.port), "--raw", env=self.env)

    def add_agent(self, name, home, login):
        """A host entry in HOME and the agent's configuration, whose path is returned."""
        conf = os.path.join(self.dir, "agent", os.path.basename(home) + ".yaml")
        port = self.shared[1] if self.shared else free_port(socket.SOCK_DGRAM)
        run(os.path.join(self.build, "nefia"), "host", "add", name, "--endpoint", f"127.0.0.1:{self.through(port)}",
            "--agent-config", conf, *login, env=dict(self.env, NEFIA_HOME=home))
        self.edit(conf, "listen_port", port)
        self.edit(conf, "ssh_addr", f"127.0.0.1:{self.server_port}")
        if self.congestion:
            self.edit(conf, "congestion", self.congestion)
            self.edit(os.path.join(home, "nefia.yaml"), "congestion", self.congestion, "vpn")
        if self.aead_workers:
            self.edit(conf, "aead_workers", self.aead_workers)
            self.edit(os.path.join(home, "nefia.yaml"), "aead_workers", self.aead_workers, "vpn")
        return conf

    def alone(self):
        """A second home with an agent of its own and no hub; after start()."""
        home = os.path.join(self.dir, "alone")
        env = dict(self.env, NEFIA_HOME=home)
        run(os.path.join(BUILD, "nefia"), "init", env=env)
        self.edit(os.path.join(home, "nefia.yaml"), "listen_port", free_port(socket.SOCK_DGRAM))
        login = ["--user", os.environ.get("USER") or "root", "--identity", os.path.join(self.dir, "id")]
        conf = self.add_agent("far", home, login)
        self.spawn(os.path.join(self.build, "nefia-agent"), "run", "--config", conf, env=env)
        return home

    @staticmethod
    def edit(path, key, value, section=None):
        """KEY becomes VALUE in PATH; when it is not there it goes to the top of SECTION, or to the end of the file."""
        lines, found, at = [], False, None
        for line in open(path):
            bare = line.lstrip(" -")
            if bare.startswith(key + ":"):
                line = line[:len(line) - len(bare)] + f"{key}: {value}\n"
                found = True
            lines.append(line)
            if section and line.startswith(section + ":"):
                at = len(lines)
        if not found and section and at is None:
            raise Skip(f"no {section}: in {path}")
        if not found:
            lines.insert(len(lines) if at is None else at, ("  " if section else "") + f"{key}: {value}\n")
        with open(path, "w") as f:
            f.writelines(lines)
        os.chmod(path, 0o600)


class NoWorkers(Nefia):
    """Without threads for the cipher: beside ours when --only names it."""
    name = "nefia-one-thread"
    aead_workers = "off"


class Stock(Nefia):
    """Our programs on lwIP's TCP as shipped (make stock): what the TCP is worth, everything else equal."""
    name = "stock lwIP"
    build = os.path.join(BUILD, "stock")

    def prepare(self):
        if not os.path.exists(os.path.join(self.build, "nefia-agent")):
            raise Skip("not built (make stock)")


class NefiaBbr(Nefia):
    name = "nefia BBR"
    congestion = "bbr"


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
                   "-allow", "10.98.0.2", "-endpoint", f"127.0.0.1:{self.through(b)}",
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
                    f"AllowedIPs = 10.97.0.2/32\nEndpoint = 127.0.0.1:{self.through(b)}\n\n[TCPClientTunnel]\n"
                    f"BindAddress = 127.0.0.1:{self.port}\nTarget = 10.97.0.2:22\n")
        self.spawn(self.program, "-s", "-c", far)
        self.spawn(self.program, "-s", "-c", near)


class Onetun(Tool):
    """onetun has a near end only; its far end is wireguard-go's netstack."""
    name = "onetun"
    cells = ("down1", "rr", "crr1")  # an upload as fast as it takes it ends in a stall of minutes

    def prepare(self):
        self.program, self.far = find_rival("onetun"), find_rival("netstack")

    def start(self):
        (ka, pa), (kb, pb) = wg_keys(), wg_keys()
        b = free_port(socket.SOCK_DGRAM)
        self.port = free_port()
        self.spawn(self.far, "-key", to_hex(kb), "-peer", to_hex(pa), "-listen", str(b), "-addr", "10.96.0.2",
                   "-allow", "10.96.0.1", "-serve", f"22:127.0.0.1:{self.server_port}")
        env = dict(os.environ, ONETUN_PRIVATE_KEY=ka)
        self.spawn(self.program, f"127.0.0.1:{self.port}:10.96.0.2:22", "--endpoint-addr", f"127.0.0.1:{self.through(b)}",
                   "--endpoint-public-key", pb, "--source-peer-ip", "10.96.0.1", "--log", "warn", env=env)


class Tun(Tool):
    """A WireGuard with a TUN device at both ends, each in a network namespace: the kernel's TCP is what it carries."""
    congestion = "cubic"
    program = "wireguard-go"

    def prepare(self):
        if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
            raise Skip("needs root and /dev/net/tun")
        self.command = find_rival(self.program)
        if self.congestion not in open("/proc/sys/net/ipv4/tcp_available_congestion_control").read():
            raise Skip(f"the kernel has no {self.congestion}")

    def inside(self, side):
        return ["ip", "netns", "exec", self.spaces[side]]

    def start(self):
        # Namespaces and devices of runs that go on at the same time must not meet: UAPI sockets have the device's name.
        tag = os.path.basename(self.dir)[-8:].replace("_", "x")
        self.spaces = [f"nb{tag}a", f"nb{tag}b"]
        for space in self.spaces:
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        run("ip", "-n", self.spaces[0], "link", "add", "v", "type", "veth", "peer", "name", "v", "netns", self.spaces[1])
        ports = [free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)]
        for side in (0, 1):
            run("ip", "-n", self.spaces[side], "addr", "add", f"10.95.0.{side + 1}/24", "dev", "v")
            run("ip", "-n", self.spaces[side], "link", "set", "v", "up")
            for setting in ("tcp_rmem=4096 131072 67108864", "tcp_wmem=4096 131072 67108864",
                            "tcp_no_metrics_save=1"):
                run(*self.inside(side), "sysctl", "-q", "-w", f"net.ipv4.{setting}")
        self.join(ports)
        for side in (0, 1):
            run("ip", "-n", self.spaces[side], "addr", "add", f"10.94.0.{side + 1}/24", "dev", self.device(side))
            run("ip", "-n", self.spaces[side], "link", "set", self.device(side), "mtu", "1420", "up")
        port = free_port()
        self.beside(*self.inside(1), LOAD, "serve", str(port), "0.0.0.0", self.congestion)
        self.options = ["--congestion", self.congestion]
        self.prefix, self.target = self.inside(0), f"10.94.0.2:{port}"

    def join(self, ports):
        """Devices at both ends, and the way between them through the path."""
        keys = [wg_keys(), wg_keys()]
        for side in (0, 1):
            self.start_device(side)
        far = self.through(ports[1], self.inside(1), "10.95.0.2")
        for side in (0, 1):
            key = os.path.join(self.dir, f"key{side}")
            with open(key, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
                f.write(keys[side][0])
            args = ["wg", "set", self.device(side), "listen-port", str(ports[side]), "private-key", key, "peer", keys[1 - side][1],
                    "allowed-ips", f"10.94.0.{2 - side}/32"]
            if side == 0:
                args += ["endpoint", f"10.95.0.2:{far}"]
            run(*self.inside(side), *args)

    def far_pids(self):
        return self.pids()[1:]

    def device(self, side):
        return self.spaces[side].replace("nb", "t", 1)

    def start_device(self, side):
        args = ["-f", self.device(side)] + (["--disable-drop-privileges"] if self.program == "boringtun-cli" else [])
        self.spawn(*self.inside(side), self.command, *args)
        for _ in range(500):
            if subprocess.run(self.inside(side) + ["wg", "show", self.device(side)], capture_output=True).returncode == 0:
                return
            time.sleep(0.01)
        raise Skip(f"{self.program} made no device")

    def stop(self):
        super().stop()
        for space in getattr(self, "spaces", ()):
            subprocess.run(["ip", "netns", "del", space], capture_output=True)
        self.spaces = []


class WireguardGo(Tun):
    name = "wireguard-go TUN"


class WireguardGoBbr(Tun):
    name = "kernel BBR"
    congestion = "bbr"


class Relay(Tun):
    """No tunnel at all: packets of the TUN device in UDP as they are (bench/relay.c)."""
    name = "plain TUN"

    def prepare(self):
        self.program = RELAY
        super().prepare()

    def join(self, ports):
        far = self.through(ports[1], self.inside(1), "10.95.0.2")
        self.spawn(*self.inside(1), RELAY, self.device(1), f"0.0.0.0:{ports[1]}")
        self.spawn(*self.inside(0), RELAY, self.device(0), f"0.0.0.0:{ports[0]}", f"10.95.0.2:{far}")
        for side in (0, 1):
            for _ in range(500):
                if subprocess.run(["ip", "-n", self.spaces[side], "link", "show", self.device(side)], capture_output=True).returncode == 0:
                    break
                time.sleep(0.01)


class Boringtun(Tun):
    name = "boringtun TUN"
    program = "boringtun-cli"


class Tailscale(Tool):
    """tailscaled --tun=userspace-networking twice; the control server for tests out of its own module."""
    name = "tailscale userspace"

    def prepare(self):
        self.daemon, self.cli, self.control = find_rival("tailscaled"), find_rival("tailscale"), find_rival("tscontrol")

    def start(self):
        if self.path is not None:
            raise Skip("finds its own ways, around the path")
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


def versions():
    """Of the rivals, as far as they tell; the pinned ones are in bench/module.mk."""
    found = {}
    for name, *args in (("tailscaled", "--version"), ("wireguard-go", "--version"), ("boringtun-cli", "--version"),
                        ("onetun", "--version")):
        try:
            p = subprocess.run([find_rival(name), *args], capture_output=True, text=True, timeout=10)
            found[name] = (p.stdout + p.stderr).strip().splitlines()[0]
        except (Skip, OSError, IndexError, subprocess.SubprocessError):
            continue
    return found
