#!/usr/bin/env python3
"""Where the time of a flow goes, or of many: perf's samples of the whole machine, by process and stage.

    bench/profile.py [up|down] [--flows N,...] [--seconds S] [--build BUILD] [--symbols] [--calls]

Needs root and perf. A sample belongs to the stage of the system call that it was taken in, or, outside of the kernel, of the
function. Printed: nanoseconds for each packet of 1,368 bytes of payload, for each number of flows in turn. doc/datapath.md keeps a
table of this. --calls counts system calls, wake-ups and switches for each MB instead, which perf's samples would disturb. What other
programs take is the column "others": a run in which it is large tells nothing.
"""
import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tools as T  # noqa: E402

PAYLOAD = 1368

# The first frame found anywhere in the stack decides: outermost meaning first.
KERNEL = [
    ("wake-ups of others", ("try_to_wake_up", "ttwu_do_activate")),
    ("UDP send", ("udp_sendmsg", "udpv6_sendmsg")), ("UDP receive", ("udp_recvmsg", "udpv6_recvmsg", "__sys_recvmmsg")),
    ("local socket: read", ("tcp_recvmsg",)), ("local socket: write", ("tcp_sendmsg",)),
    ("asking for events", ("do_epoll_wait", "__x64_sys_epoll_wait", "__x64_sys_epoll_pwait")),
    ("asking for events", ("__x64_sys_sched_yield",)), ("timers", ("__x64_sys_timerfd_settime",)),
    ("system calls, the rest", ("do_syscall_64", "entry_SYSCALL_64_after_hwframe")),
]
USER = [
    ("AEAD", ("libIPSec_MB", "libcrypto", "libsodium"), ()),
    ("checksum", (), ("net_checksum",)),
    ("copies", (), ("__memmove_", "__memcpy_", "__memset_")),
    ("asking for events", ("[vdso]", "libuv"), ("os_", "end_turn", "tell_changes", "look", "ask", "run_uv", "clock_gettime", "epoll_wait", "__sched_yield")),
    ("wg", (), ("wg_", "send_now", "seal", "judge", "flush", "collect", "submit", "ipsecmb", "run_", "append")),
    ("TCP (lwIP and ours)", (), ("tcp_", "net_", "lwip_", "pbuf_", "ip4_", "ip_", "inet_", "memp_", "mem_", "on_arrived", "detect",
                                  "on_recv", "on_sent", "heap_")),
]


def stage_of(frames):
    leaf, dso = frames[0]
    if dso.startswith("[kernel") or dso == "[guest.kernel.kallsyms]":
        names = {f for f, _ in frames}
        for stage, marks in KERNEL:
            if names & set(marks):
                return stage
        return "interrupts and switches"
    for stage, dsos, prefixes in USER:
        if any(d in dso for d in dsos) or any(leaf.startswith(p) for p in prefixes):
            return stage
    return "the rest of the program"


def samples(path):
    """(pid, comm, frames) of each sample; frames: (symbol, dso), innermost first."""
    text = subprocess.run(["perf", "script", "-i", path, "-F", "pid,comm,ip,sym,dso"], capture_output=True, text=True).stdout
    for block in text.split("\n\n"):
        lines = [ln for ln in block.splitlines() if ln.strip()]
        if not lines:
            continue
        comm, pid = lines[0].rsplit(None, 1)
        frames = []
        for ln in lines[1:]:
            rest = ln.split(None, 1)[1] if " " in ln.strip() else "?"
            sym, _, dso = rest.rpartition(" (")
            frames.append((sym.split("+")[0], os.path.basename(dso.rstrip(")"))))
        if frames:
            yield int(pid), comm.strip(), frames


def roles(tool, server, mode):
    agent, hub = tool.procs[0].pid, tool.procs[1].pid
    return {hub: "sender" if mode == "up" else "receiver", agent: "receiver" if mode == "up" else "sender", server: "server"}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("mode", nargs="?", default="up")
    ap.add_argument("--flows", default="1")
    ap.add_argument("--seconds", type=float, default=3)
    ap.add_argument("--build", default=T.BUILD)
    ap.add_argument("--symbols", action="store_true")
    ap.add_argument("--calls", action="store_true")
    opt = ap.parse_args()
    T.enter_namespace()
    port = T.free_port()
    server = subprocess.Popen([T.LOAD, "serve", str(port)])
    T.wait_port(port)
    tool = T.Nefia.of_build("profiled", opt.build)(port)
    try:
        tool.start()
        T.first_byte(tool)
        time.sleep(0.3)
        for flows in opt.flows.split(","):
            (count_calls if opt.calls else sample)(tool, roles(tool, server.pid, opt.mode), flows, opt)
    finally:
        tool.stop()
        server.kill()
        shutil.rmtree(tool.dir, ignore_errors=True)


def sample(tool, who, flows, opt):
    data = tempfile.mktemp(prefix="nprofile.")
    perf = subprocess.Popen(["perf", "record", "-a", "-q", "-g", "-F", "2500", "-o", data, "--", "sleep", str(opt.seconds)])
    time.sleep(0.2)
    r = tool.load(opt.mode, "--flows", flows, "--seconds", str(opt.seconds + 0.3), timeout=60)
    perf.wait()
    show(data, who, r["gbps"], flows, opt)
    os.unlink(data)


# ---- calls ----

EVENTS = ("context-switches", "sched:sched_waking", "irq_vectors:reschedule_entry") + tuple(
    f"syscalls:sys_enter_{c}" for c in ("read", "write", "sendmsg", "recvmmsg", "epoll_wait", "sched_yield", "epoll_ctl", "ioctl"))


def count_calls(tool, who, flows, opt):
    """Of each process, and of the client with it: perf counts what is in the window, the load knows how much crossed in it."""
    client = subprocess.Popen(tool.prefix + [T.LOAD, "run", f"127.0.0.1:{tool.port}", opt.mode, "--flows", flows, "--seconds",
                                             str(opt.seconds + 1)], stdout=subprocess.PIPE, text=True)
    time.sleep(0.5)
    procs = dict(who) | {client.pid: "client"}
    stats = {name: subprocess.Popen(["perf", "stat", "-x,", "-e", ",".join(EVENTS), "-p", str(pid), "--", "sleep", str(opt.seconds)],
                                    stderr=subprocess.PIPE, text=True) for pid, name in procs.items()}
    found = {name: dict((f[2].split("_enter_")[-1].split(":")[-1], int(f[0]) if f[0].isdigit() else 0)
                        for f in (ln.split(",") for ln in p.communicate()[1].splitlines()) if len(f) > 2)
             for name, p in stats.items()}
    gbps = json.loads(client.communicate()[0])["gbps"]
    mb = gbps * 1e3 / 8 * opt.seconds
    names = [n for n in ("sender", "receiver", "client", "server") if n in found]
    print(f"{flows} flow(s), {gbps:.2f} Gb/s; for each MB")
    print("| event | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for e in (e.split("_enter_")[-1].split(":")[-1] for e in EVENTS):
        print(f"| {e} | " + " | ".join(f"{found[n].get(e, 0) / mb:.2f}" for n in names) + " |")


# ---- time ----

def show(data, who, gbps, flows, opt):
    count, leaves = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
    for pid, comm, frames in samples(data):
        name = who.get(pid, "client" if comm == "load" else "idle" if comm == "swapper" else "others")
        stage = "" if name == "idle" else stage_of(frames)
        count[name][stage] += 1
        leaves[name][(stage, frames[0][0])] += 1
    packets = gbps * 1e9 / 8 * (opt.seconds - 0.2) / PAYLOAD
    ns = 1e9 / 2500 / packets
    print(f"{flows} flow(s), {gbps:.2f} Gb/s; ns a packet of {PAYLOAD} bytes")
    names = [n for n in ("sender", "receiver", "client", "server", "others", "idle") if n in count]
    stages = sorted({s for n in names for s in count[n]}, key=lambda s: -sum(count[n][s] for n in names))
    print("| stage | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for s in stages:
        print(f"| {s or 'idle'} | " + " | ".join(f"{count[n][s] * ns:.0f}" for n in names) + " |")
    print("| sum | " + " | ".join(f"{sum(count[n].values()) * ns:.0f}" for n in names) + " |")
    for n in names if opt.symbols else ():
        print("\n" + n)
        for (stage, sym), c in leaves[n].most_common(45):
            print(f"  {c * ns:6.0f}  {stage:28} {sym}")


if __name__ == "__main__":
    main()
