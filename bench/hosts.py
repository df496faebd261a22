"""Many hosts of one machine: `nefia exec` on fifty at once beside parallel-ssh over plain ssh through the same tunnels, and
what a hundred pooled connections cost in memory."""
import array
import os
import shutil
import socket
import subprocess
import time

import tools as T
from login import Login

N_EXEC, N_POOL = 50, 100


class Hosts(Login):
    """One sshd, N agents before it, one hub."""

    def start_all(self, n):
        self.start_sshd()
        self.home = os.path.join(self.dir, "op")
        self.env = dict(os.environ, NEFIA_HOME=self.home)
        self.env.pop("XDG_RUNTIME_DIR", None)
        self.nefia = os.path.join(self.build, "nefia")
        T.run(self.nefia, "init", env=self.env)
        self.edit(os.path.join(self.home, "nefia.yaml"), "listen_port", T.free_port(socket.SOCK_DGRAM))
        for i in range(n):
            self.add(f"h{i + 1}")
        self.start_hub()

    def add(self, name):
        port = T.free_port(socket.SOCK_DGRAM)
        folder = os.path.join(self.dir, name)
        os.makedirs(folder, mode=0o700)
        conf = os.path.join(folder, "agent.yaml")
        T.run(self.nefia, "host", "add", name, "--endpoint", f"127.0.0.1:{port}", "--agent-config", conf, "--user",
              os.environ.get("USER") or "root", "--identity", os.path.join(self.dir, "id"), env=self.env)
        self.edit(conf, "listen_port", port)
        self.edit(conf, "ssh_addr", f"127.0.0.1:{self.server_port}")
        self.beside(os.path.join(self.build, "nefia-agent"), "run", "--config", conf)

    def start_hub(self):
        self.hub = self.spawn(self.nefia, "hub", env=self.env)
        end = time.monotonic() + 5
        while not os.path.exists(os.path.join(self.home, "run/hub.sock")) and time.monotonic() < end:
            time.sleep(0.005)

    def stop_hub(self):
        T.run(self.nefia, "hub", "stop", env=self.env)
        self.hub.wait()
        self.procs.remove(self.hub)

    def raw_ports(self, n):
        """A local port for each host that leads through its tunnel to its sshd."""
        ports = []
        for i in range(n):
            p = subprocess.Popen([self.nefia, "forward", f"h{i + 1}", "0", "--raw"], env=self.env, stdout=subprocess.PIPE, text=True)
            self.around.append(p)
            ports.append(int(p.stdout.readline().split(" to ")[0].rsplit(":", 1)[1]))
        return ports

    def exec_ms(self, n, command):
        hosts = ",".join(f"h{i + 1}" for i in range(n))
        return ms(self.nefia, "exec", "--target", hosts, "--parallel", str(n), "--", command, env=self.env)


def ms(*cmd, env=None):
    began = time.monotonic()
    p = subprocess.run(cmd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    took = (time.monotonic() - began) * 1000
    if p.returncode:
        raise OSError(f"{cmd[0]}: exit status {p.returncode}: {p.stderr[-300:]}")
    return took


def family(pid):
    """The process and all that it started."""
    children = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                children.setdefault(int(open(f"/proc/{d}/stat").read().rsplit(")", 1)[1].split()[1]), []).append(int(d))
            except OSError:
                pass
    found, todo = [], [pid]
    while todo:
        p = todo.pop()
        found.append(p)
        todo += children.get(p, [])
    return found


def resident_together(pids):
    """MiB that are resident in any of PIDS, a page that several map counted once; None where the kernel tells no page numbers."""
    pages = set()
    for pid in pids:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
            for line in maps:
                first, last = (int(x, 16) // 4096 for x in line.split()[0].split("-"))
                if first >= 1 << 51:
                    continue  # vsyscall
                pagemap.seek(first * 8)
                entries = array.array("Q", pagemap.read((last - first) * 8))
                pages.update(e & (1 << 55) - 1 for e in entries if e >> 63)
    return len(pages) * 4 / 1024 if pages - {0} else None


def memory(pids):
    """MiB: what is resident together, RSS of each added up, PSS (shared pages in equal parts, others' processes too)."""
    rss = pss = private = 0
    for pid in pids:
        for line in open(f"/proc/{pid}/smaps_rollup"):
            name, _, value = line.partition(":")
            kib = int(value.split()[0]) if value.strip().endswith("kB") else 0
            rss += kib if name == "Rss" else 0
            pss += kib if name == "Pss" else 0
            private += kib if name in ("Private_Clean", "Private_Dirty") else 0
    return {"processes": len(pids), "together": resident_together(pids), "rss": rss / 1024, "pss": pss / 1024, "private": private / 1024}


def pssh(site, ports, mux):
    """The same fifty with parallel-ssh; with MUX its connections are kept as well (ControlPersist)."""
    hosts = os.path.join(site.dir, "pssh.hosts")
    with open(hosts, "w") as f:
        f.writelines(f"127.0.0.1:{port}\n" for port in ports)
    options = ["-O", "StrictHostKeyChecking=no", "-O", f"UserKnownHostsFile={site.dir}/known", "-O", f"IdentityFile={site.dir}/id",
               "-O", "LogLevel=ERROR"]
    if mux:
        options += ["-O", f"ControlPath={site.dir}/m-%p", "-O", "ControlMaster=auto", "-O", "ControlPersist=60"]
    return ms("parallel-ssh", "-h", hosts, "-l", os.environ.get("USER") or "root", "-p", str(len(ports)), "-t", "60", *options, "true")


def measure_exec(rounds):
    site = Hosts(T.free_port())
    out = {"one": [], "all": [], "warm": [], "cold": [], "pssh": [], "pssh_mux": []}
    try:
        site.start_all(N_EXEC)
        site.exec_ms(N_EXEC, "true")
        ports = site.raw_ports(N_EXEC) if shutil.which("parallel-ssh") else []
        if ports:
            pssh(site, ports, True)
        for _ in range(rounds):
            out["one"].append(site.exec_ms(1, "sleep 1"))
            out["all"].append(site.exec_ms(N_EXEC, "sleep 1"))
            out["warm"].append(site.exec_ms(N_EXEC, "true"))
            if ports:
                out["pssh"].append(pssh(site, ports, False))
                out["pssh_mux"].append(pssh(site, ports, True))
        for p in site.around:
            if p.stdout:
                p.kill()
        for _ in range(rounds):
            site.stop_hub()
            site.start_hub()
            out["cold"].append(site.exec_ms(N_EXEC, "true"))
        return out
    finally:
        site.stop()  # with their connections ssh's own masters end
        shutil.rmtree(site.dir, ignore_errors=True)


def measure_pool():
    """A hundred connections that have carried a command each and rest."""
    site = Hosts(T.free_port())
    try:
        site.start_all(N_POOL)
        site.exec_ms(N_POOL, "true")
        time.sleep(2.5)
        return memory(family(site.hub.pid))
    finally:
        site.stop()
        shutil.rmtree(site.dir, ignore_errors=True)
