#!/usr/bin/env python3
"""Measures Nefia beside its rivals, in turn, in one run.

    bench/run.py [--long] [--rounds N] [--seconds S] [--only TOOL,...] [--cells 'CELL;...'] [--parts PART,...]
                 [--also NAME=BUILD]... [--name NAME] [--results DIRECTORY]

Parts:
    direct  an ordinary TCP client (bench/load), the tool's local port, its tunnel over UDP on loopback, its other end,
            an ordinary TCP server
    paths   the same with a seeded path (bench/path) between the two ends
    stack   source and sink on net.h in two processes, and the ceiling of cryptography and UDP alone (bench/stack)
    exec    `nefia exec true` beside OpenSSH's own client over plain loopback
    files   `nefia fs` beside OpenSSH's sftp and scp over the same tunnel, and beside a raw TCP copy; --cells 'near;many;far' names
            which: one large file, many small ones at 10 ms, one large file at 50 ms
    hosts   fifty hosts at once beside parallel-ssh; the memory of a hundred pooled connections

One tool runs at a time; a round measures each tool once, and the order turns with every round, so that a machine that
slows down slows all. Printed: medians, spread, and ratios. Everything goes to bench/results/NAME.{md,json}, raw samples
too. Nothing else should run on the machine. --also measures another build of ours (a directory such as /elsewhere/build) in
the same run: a change is judged beside what was before it.

Where local sockets have another congestion control than CUBIC by default, and root asks, all of it runs in a network
namespace in which they have CUBIC, and a few rows say what it is with the default.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hosts  # noqa: E402
import tools as T  # noqa: E402
from files import CELLS as FILE_CELLS, measure_files  # noqa: E402
from login import measure_exec  # noqa: E402


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


# ---- direct ----

CELLS = {
    "up1": ("up", 1), "down1": ("down", 1), "up4": ("up", 4), "up32": ("up", 32), "down32": ("down", 32), "both2": ("both", 2),
    "up1w64": ("up", 1, "--size", "64"), "up1w1k": ("up", 1, "--size", "1024"),
    "rr": ("rr", 1), "crr1": ("crr", 1), "crr16": ("crr", 16),
}
MANY = 32  # so many flows need a while to begin: their threads, and memory for what their sockets queue
LONG_CELLS = {
    "down4": ("down", 4), "both32": ("both", 32), "up1w4k": ("up", 1, "--size", "4096"), "up1w16k": ("up", 1, "--size", "16384"),
    "rr16": ("rr", 16),
}


def measure(tool, spec, seconds):
    mode, flows, *more = spec
    before, far_before = cpu_seconds(tool.pids()), cpu_seconds(tool.far_pids())
    r = tool.load(mode, "--flows", str(flows), "--seconds", str(seconds), *more, timeout=seconds + 90)
    used, far_used = cpu_seconds(tool.pids()) - before, cpu_seconds(tool.far_pids()) - far_before
    if r.get("gbps", 0) > 0:
        gb = r["gbps"] * r["seconds"] / 8
        r["cpu_s_per_gb"], r["cpu_s_per_gb_far"] = used / gb, far_used / gb
    return r


def rr_under_load(tool, seconds):
    """Exchanges while one flow fills the tunnel."""
    cmd = tool.prefix + [T.LOAD, "run", tool.target or f"127.0.0.1:{tool.port}", "up", "--seconds", str(seconds + 1)]
    if tool.socks:
        cmd += ["--socks", f"127.0.0.1:{tool.socks}"]
    with subprocess.Popen(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as busy:
        time.sleep(0.5)
        r = tool.load("rr", "--seconds", str(seconds), timeout=seconds + 90)
        busy.wait(60)
    return r


def measure_direct(tool, cells, seconds):
    out = {}
    began = time.monotonic()
    tool.start()
    T.first_byte(tool)
    out["first_byte_ms"] = {"ms": (time.monotonic() - began) * 1000}
    time.sleep(0.5)
    out["rss_idle"] = {"mib": rss_mib(tool.pids())}
    for name, spec in cells.items():
        if tool.cells is None or name in tool.cells:
            out[name] = measure(tool, spec, seconds * (2 if spec[1] >= MANY else 1))
    if tool.cells is None:
        out["rr_load"] = rr_under_load(tool, seconds)
    out["rss_peak"] = {"mib": rss_mib(tool.pids(), "VmHWM")}
    return out


ROWS = [
    ("one flow up, Gb/s", "up1", "gbps", True), ("one flow down, Gb/s", "down1", "gbps", True),
    ("one up and one down, Gb/s", "both2", "gbps", True),
    ("4 flows up, Gb/s", "up4", "gbps", True), ("4 flows down, Gb/s", "down4", "gbps", True),
    ("32 flows up, Gb/s", "up32", "gbps", True), ("32 flows down, Gb/s", "down32", "gbps", True),
    ("least of 32 up, Gb/s", "up32", "least_gbps", True), ("least of 32 down, Gb/s", "down32", "least_gbps", True),
    ("32 flows up of one flow, slices in turn (must 0.9)", "up_many", "of_one", True), ("down", "down_many", "of_one", True),
    ("16 up and 16 down, Gb/s", "both32", "gbps", True),
    ("one flow up in writes of 64 B, Gb/s", "up1w64", "gbps", True), ("of 1 KiB", "up1w1k", "gbps", True),
    ("of 4 KiB", "up1w4k", "gbps", True), ("of 16 KiB", "up1w16k", "gbps", True),
    ("CPU s per GB up, both ends", "up1", "cpu_s_per_gb", False), ("of that the far end", "up1", "cpu_s_per_gb_far", False),
    ("CPU s per GB down, both ends", "down1", "cpu_s_per_gb", False), ("of that the far end", "down1", "cpu_s_per_gb_far", False),
    ("request/response p50, us", "rr", "p50_us", False), ("request/response p99, us", "rr", "p99_us", False),
    ("request/response p99.9, us", "rr", "p999_us", False), ("the same beside a full flow, p50, us", "rr_load", "p50_us", False),
    ("p99, us", "rr_load", "p99_us", False), ("16 at once, p50, us", "rr16", "p50_us", False),
    ("connections/s, one by one", "crr1", "per_second", True), ("connections/s, 16 at once", "crr16", "per_second", True),
    ("start to first byte, ms", "first_byte_ms", "ms", False), ("RSS idle, both ends, MiB", "rss_idle", "mib", False),
    ("RSS peak, both ends, MiB", "rss_peak", "mib", False),
]


TURNS = 8  # of slices of one flow and of many: four of them scatter by 0.03 in their median


def slices_in_turn(tool, seconds, turns):
    """What 32 flows carry of what one does, in slices right after one another: whole rounds lie minutes apart, and the machine drifts."""
    ratios = []
    for i in range(turns):
        for mode in ("up", "down"):
            slices = [(1, seconds), (MANY, 2 * seconds)]
            got = {flows: measure(tool, (mode, flows), s) for flows, s in (slices if i % 2 == 0 else slices[::-1])}
            if not any("error" in r for r in got.values()):
                ratios.append({f"{mode}_many": {"of_one": got[MANY]["gbps"] / got[1]["gbps"]}})
    return ratios


def many_beside_one(tool, seconds):
    tool.start()
    T.first_byte(tool)
    return slices_in_turn(tool, seconds, TURNS if isinstance(tool, T.Nefia) else 2)


OWN = "own_"  # before the names of cells with the machine's own congestion control for local sockets


def measure_with_own_control(tool, seconds):
    """One flow each way, and for ours 32 of them."""
    T.control(T.machines_own_control())
    try:
        tool.start()
        T.first_byte(tool)
        samples = [{cell: measure(tool, CELLS[cell], seconds) for cell in ("up1", "down1")} for _ in range(2)]
        if isinstance(tool, T.Nefia):
            samples += slices_in_turn(tool, seconds, TURNS // 2)
    finally:
        T.control(T.USUAL)
    return [{OWN + cell: found for cell, found in s.items()} for s in samples]


def own_rows():
    return [(f"{name}, with {T.machines_own_control()}", OWN + cell, field, more) for name, cell, field, more in (
        ("one flow up, Gb/s", "up1", "gbps", True), ("one flow down, Gb/s", "down1", "gbps", True),
        ("CPU s per GB up", "up1", "cpu_s_per_gb", False), ("CPU s per GB down", "down1", "cpu_s_per_gb", False),
        ("32 flows up of one flow", "up_many", "of_one", True), ("32 flows down of one flow", "down_many", "of_one", True))]


def values(samples, tool, cell, field):
    return [s[cell][field] for s in samples.get(tool, []) if cell in s and field in s[cell] and "error" not in s[cell]]


def shown(found, cells=()):
    """Median and spread; how many connections it refused meanwhile; `failed` where it was tried and no result came."""
    if not found:
        return "failed" if any("error" in c for c in cells) else "-"
    refused = sum(c.get("refused", 0) for c in cells)
    return f"{statistics.median(found):.3g} ({min(found):.3g}-{max(found):.3g})" + (f", {refused} refused" if refused else "")


def table(title, samples, names, rivals, rows, against):
    """A table with a row a measure; the last column is Nefia's median to the best of RIVALS."""
    lines = [f"| {title} | " + " | ".join(names) + f" | nefia to {against} |", "|---" * (len(names) + 2) + "|"]
    for name, cell, field, more in rows:
        found = {n: values(samples, n, cell, field) for n in names}
        if not any(found.values()):
            continue
        others = [statistics.median(found[r]) for r in rivals if found.get(r)]
        ratio = "-"
        ours = found.get("nefia") or found.get("nefia BBR")
        if ours and others:
            ratio = f"{statistics.median(ours) / (max(others) if more else min(others)):.2f}x"
        lines.append(f"| {name} | " + " | ".join(shown(found[n], [s[cell] for s in samples.get(n, []) if cell in s])
                                                     for n in names) + f" | {ratio} |")
    return "\n".join(lines) + "\n"


# ---- paths ----

class Path:
    """One cell: what lies between, what is measured, by whom. Seeds of one tool run side by side where they need little."""

    def __init__(self, options, mode="up", seconds=8, flows=1, seeds=1, rounds=1, tools=("nefia", "stock lwIP", "wireguard-go TUN")):
        self.options, self.mode, self.seconds, self.flows, self.seeds, self.tools = options.split(), mode, seconds, flows, seeds, tools
        self.rounds = rounds


IN_ORDER, REORDERED = "200 Mb/s, 20 ms, queue 1000", "200 Mb/s, 20 ms, 1 % reordered by 5 ms"
RAMP = "1 Gb/s, 100 ms, time to 90 %"
BOTH = ("nefia", "nefia BBR", "wireguard-go TUN")
BBR = ("nefia BBR", "kernel BBR", "wireguard-go TUN")
PATHS = {
    "nothing in the way": Path("", seconds=3),
    "200 Mb/s, 20 ms, queue 50": Path("--rate 200 --delay 10 --queue 50", tools=BOTH),
    "200 Mb/s, 20 ms, queue 200": Path("--rate 200 --delay 10 --queue 200", tools=BOTH),
    IN_ORDER: Path("--rate 200 --delay 10 --queue 1000", tools=BOTH),
    REORDERED: Path("--rate 200 --delay 10 --queue 1000 --reorder 0.01,5"),
    "20 ms, loss 1e-3": Path("--delay 10 --loss 1e-3", seconds=10, seeds=9),
    "100 ms, loss 1e-3": Path("--delay 50 --loss 1e-3", seconds=15, seeds=9),
    "20 ms, loss 1e-2": Path("--delay 10 --loss 1e-2", seconds=10, seeds=9),
    "20 ms, loss 1e-3, BBR": Path("--delay 10 --loss 1e-3", seconds=8, tools=BBR),
    "100 ms, loss 1e-3, BBR": Path("--delay 50 --loss 1e-3", seconds=12, tools=BBR),
    "20 ms, 64 KiB answers, loss 1e-2": Path("--delay 10 --loss 1e-2", "get", 10, 16),
    "20 ms, 64 KiB answers, bursts of 5": Path("--delay 10 --burst 2e-3,5", "get", 10, 16),
    # The kernel's own time scatters by a fifth.
    RAMP: Path("--rate 1000 --delay 50 --queue 9000", "ramp", 5, rounds=3, tools=("nefia", "wireguard-go TUN", "plain TUN")),
}
LONG_TOOLS = ("nefia", "wireguard-go TUN", "nefia BBR", "kernel BBR", "wireguard-go netstack", "stock lwIP")
LONG_FAULTS = {
    **{f"loss {loss}": lambda rtt, loss=loss: f"--loss {loss}" for loss in ("0", "1e-5", "1e-4", "1e-3", "1e-2")},
    "bursts of 5 at 1e-3": lambda rtt: "--burst 1e-3,5",
    "1 % late by a quarter": lambda rtt: f"--reorder 0.01,{rtt / 4}",
}
# One seed at a time; names of their own, for some of PATHS differ from them in nothing but their seeds and tools.
LONG_PATHS = {f"grid: {rtt} ms, {name}": Path(f"--delay {rtt / 2} {fault(rtt)}", seconds=10, tools=LONG_TOOLS)
              for rtt in (0.1, 2, 20, 50, 100) for name, fault in LONG_FAULTS.items()}
SHARED = {f"100 Mb/s, 20 ms, queue {queue}: BBR beside CUBIC, {order}": (queue, order)
          for queue in (50, 200) for order in ("BBR first", "CUBIC first")}


def time_to(bins, width_ms, gbps):
    """Milliseconds until a mean of 200 ms reached GBPS; None if never."""
    span = int(200 / width_ms)
    for i in range(len(bins) - span):
        if sum(bins[i:i + span]) * 8 / (span * width_ms / 1e3) >= gbps * 1e9:
            return (i + span) * width_ms
    return None


def measure_once(tool, cell, seed):
    tool.path = cell.options + ["--seed", str(seed)]
    tool.start()
    T.first_byte(tool)
    if cell.mode != "ramp":
        return tool.load(cell.mode, "--flows", str(cell.flows), "--seconds", str(cell.seconds), timeout=cell.seconds + 90)
    r = tool.load("down", "--seconds", str(cell.seconds), "--bins", "50", timeout=cell.seconds + 90)
    # What the link carries of the payload: 1,368 of a datagram's 1,480 bytes on the wire.
    reached = time_to(r.pop("bins", []), 50, 0.9 * 1.0 * 1368 / 1480)
    if reached is not None:
        r["ms_to_90"] = reached
    return r


def measure_path(tool, cell, round_no):
    """A sample for each seed, side by side; each in a tool of its own."""
    results, threads = [None] * cell.seeds, []

    def one(i):
        own = type(tool)(tool.server_port)
        try:
            own.prepare()
            results[i] = measure_once(own, cell, round_no * cell.seeds + i + 1)
        except (T.Skip, subprocess.SubprocessError, OSError) as e:
            results[i] = {"error": str(e)}
        finally:
            own.stop()
            shutil.rmtree(own.dir, ignore_errors=True)
    for i in range(cell.seeds):
        threads.append(threading.Thread(target=one, args=(i,)))
        threads[-1].start()
        time.sleep(0.2)
    for t in threads:
        t.join()
    return results


def measure_share(server_port, queue, order):
    """Two tunnels of ours in one bottleneck; the share of the one with BBR once both have settled."""
    near, far = [T.free_port(socket.SOCK_DGRAM) for _ in range(2)], [T.free_port(socket.SOCK_DGRAM) for _ in range(2)]
    tools = [T.NefiaBbr(server_port), T.Nefia(server_port)]
    got, threads = [None, None], []
    path = subprocess.Popen([T.PATH, f"127.0.0.1:{near[0]}", f"127.0.0.1:{far[0]}", "--also", f"127.0.0.1:{near[1]}",
                             f"127.0.0.1:{far[1]}", "--rate", "100", "--delay", "10", "--queue", str(queue)],
                            stdout=subprocess.DEVNULL)
    try:
        for i, tool in enumerate(tools):
            tool.shared = (near[i], far[i])
            tool.start()
            T.first_byte(tool)
        for k, i in enumerate((0, 1) if order == "BBR first" else (1, 0)):
            threads.append(threading.Thread(target=lambda i=i, k=k: got.__setitem__(
                i, tools[i].load("down", "--seconds", str(36 - k), "--bins", "500", timeout=120))))
            threads[-1].start()
            time.sleep(1)
        for t in threads:
            t.join()
    finally:
        path.terminate()
        path.wait()
        for tool in tools:
            tool.stop()
            shutil.rmtree(tool.dir, ignore_errors=True)
    a, b = (sum(r["bins"][-44:-4]) for r in got)
    return {"share": a / (a + b), "mbps": [a * 8 / 20e6, b * 8 / 20e6]}


def path_rows(cells):
    rows = []
    for name, cell in cells.items():
        if cell.mode == "up":
            rows.append((name + ", Gb/s", name, "gbps", True))
        elif cell.mode == "get":
            rows += [(name + ", p50, us", name, "p50_us", False), (name + ", p99, us", name, "p99_us", False)]
        else:
            rows.append((name + ", ms", name, "ms_to_90", False))
    return rows


# ---- the whole ----

STARTED = time.monotonic()


def say(what):
    """Progress, with the time since the start."""
    t = int(time.monotonic() - STARTED)
    print(f"[{t // 60:2d}:{t % 60:02d}] {what}", file=sys.stderr, flush=True)


def rounds_of(tools, rounds, label, fn, samples, skipped):
    for i in range(rounds):
        for tool in tools[i % len(tools):] + tools[:i % len(tools)]:
            if tool.name in skipped:
                continue
            say(f"{label}: round {i + 1} of {rounds}: {tool.name}")
            try:
                fn(tool, i)
            except (T.Skip, subprocess.SubprocessError, OSError) as e:
                print(f"{tool.name}: {e}", file=sys.stderr)
                samples.setdefault(tool.name, [])
                if i == 0:
                    skipped[tool.name] = str(e)
            finally:
                tool.stop()


def prepared(classes, only, server_port, skipped):
    tools = []
    for cls in classes:
        if only and cls.name not in only:
            continue
        tool = cls(server_port)
        try:
            tool.prepare()
            tools.append(tool)
        except T.Skip as e:
            skipped[cls.name] = str(e)
            print(f"SKIP {cls.name}: {e}", file=sys.stderr)
            shutil.rmtree(tool.dir, ignore_errors=True)
    return tools


def run_direct(opt, server_port, skipped):
    cells = dict(CELLS, **LONG_CELLS) if opt.long else dict(CELLS)
    if opt.cells:
        cells = {k: v for k, v in cells.items() if k in opt.cells.split(";")}
    samples = {}
    also = [T.Nefia.of_build(*pair.split("=", 1)) for pair in opt.also]
    also += [T.NoWorkers] if opt.only and T.NoWorkers.name in opt.only.split(",") else []
    tools = prepared((T.Nefia, *also, T.Stock, T.Tailscale, T.Netstack, T.Wireproxy, T.Onetun, T.WireguardGo, T.Boringtun,
                      T.Relays, T.Loopback),
                     opt.only and opt.only.split(",") + [t.name for t in also], server_port, skipped)
    try:
        rounds_of(tools, opt.rounds or (10 if opt.long else 2), "direct",
                  lambda tool, i: samples.setdefault(tool.name, []).append(measure_direct(tool, cells, opt.seconds)),
                  samples, skipped)
        if not opt.cells:
            rounds_of([t for t in tools if t.name in ("nefia", T.Relays.name) or type(t) in also], 1, "32 flows beside one",
                      lambda tool, i: samples.setdefault(tool.name, []).extend(many_beside_one(tool, opt.seconds)), samples, skipped)
        if not opt.cells and T.machines_own_control():
            rounds_of([t for t in tools if t.name in ("nefia", T.Tailscale.name, T.Netstack.name)], 1, f"with {T.machines_own_control()}",
                      lambda tool, i: samples.setdefault(tool.name, []).extend(measure_with_own_control(tool, opt.seconds)), samples, skipped)
    finally:
        for t in tools:
            shutil.rmtree(t.dir, ignore_errors=True)
    names = [t.name for t in tools if samples.get(t.name)]
    rivals = [n for n in names if n not in ("nefia", T.Stock.name, T.Relays.name, "loopback", *(t.name for t in also)) and "TUN" not in n]
    return samples, table("program to program", samples, names, rivals, ROWS + own_rows(), "the best without a TUN device")


def late_packets(samples, names):
    """What is left of the rate when packets come late."""
    parts = []
    for name in names:
        late, in_order = (values(samples, name, cell, "gbps") for cell in (REORDERED, IN_ORDER))
        if late and in_order:
            parts.append(f"{name} {statistics.median(late) / statistics.median(in_order):.2f}")
    return f"\n1 % reordered, of the rate in order: {', '.join(parts)} (must 0.8).\n" if parts else ""


def ramp_ratio(samples):
    """Beside the kernel's TCP with no tunnel to pay for: over wireguard-go it never fills this link on two cores."""
    ours, kernel = (values(samples, name, RAMP, "ms_to_90") for name in ("nefia", T.Relay.name))
    if not ours or not kernel:
        return ""
    return f"\n{RAMP}, to the kernel's TCP with no tunnel: {statistics.median(ours) / statistics.median(kernel):.2f}x (at most 1.2).\n"


def run_paths(opt, server_port, skipped):
    cells = dict(PATHS, **LONG_PATHS) if opt.long else dict(PATHS)
    shared = {k: v for k, v in SHARED.items() if opt.long or opt.cells or v[0] == 50}
    if opt.cells:
        wanted = opt.cells.split(";")
        cells = {k: v for k, v in cells.items() if k in wanted}
        shared = {k: v for k, v in shared.items() if k in wanted}
    for cell in cells.values():
        cell.seconds = opt.path_seconds or cell.seconds
    samples = {}
    tools = prepared((T.Nefia, T.NefiaBbr, T.Stock, T.WireguardGo, T.WireguardGoBbr, T.Relay, T.Netstack), opt.only and opt.only.split(","),
                     server_port, skipped)
    try:
        for name, cell in cells.items():
            def one(tool, i, name=name, cell=cell):
                samples.setdefault(tool.name, []).extend({name: r} for r in measure_path(tool, cell, i))
            rounds_of([t for t in tools if t.name in cell.tools], opt.rounds or (5 if opt.long else cell.rounds), name, one, samples, skipped)
        for name, (queue, order) in shared.items():
            if opt.only and "nefia" not in opt.only.split(","):
                continue
            say(name)
            samples.setdefault("nefia BBR", []).append({name: measure_share(server_port, queue, order)})
    finally:
        for t in tools:
            shutil.rmtree(t.dir, ignore_errors=True)
    names = [t.name for t in tools if samples.get(t.name)]
    text = table("with a path between", samples, names, [T.WireguardGo.name], path_rows(cells),
                 "kernel CUBIC over wireguard-go") if cells else ""
    text += late_packets(samples, names) + ramp_ratio(samples)
    rows = [(name + ", share", name, "share", True) for name in shared if values(samples, "nefia BBR", name, "share")]
    if rows:
        text += "\n" + table("two flows of ours in one bottleneck", samples, ["nefia BBR"], [], rows, "-")
    return samples, text


def run_stack(opt, server_port, skipped):
    out, lines = {}, ["In the stack (source and sink on net.h in two processes), and the ceiling of cryptography and UDP alone:", ""]
    for aead in ("libsodium", "libcrypto", "libIPSec_MB", None):
        for mode in ("ceiling", "up", "rr", "crr") if aead is None else ("ceiling", "up"):
            runs = []
            for _ in range(3):
                cmd = [T.STACK, mode, "--seconds", str(opt.seconds)] + (["--aead", aead] if aead else [])
                p = subprocess.run(cmd, capture_output=True, text=True, timeout=60)
                if p.returncode == 0:
                    runs.append(json.loads(p.stdout))
            if not runs:
                continue
            out[f"{mode} {aead or 'picked'}"] = runs
            med = {k: statistics.median(r[k] for r in runs) for k in runs[0] if isinstance(runs[0][k], (int, float))}
            lines.append(f"- {mode} {aead or 'picked'}: " +
                         (f"{med['gbps']:.2f} Gb/s, {med['cpu_s_per_gb']:.2f} CPU s/GB" if "cpu_s_per_gb" in med else
                          f"{med['per_second']:.0f} a second, p50 {med['p50_us']} us, p99 {med['p99_us']} us"))
    p = subprocess.run([T.HANDSHAKES, "1000", "5"], capture_output=True, text=True, timeout=120)
    if p.returncode == 0:
        out["handshakes"] = h = json.loads(p.stdout)
        lines.append(f"- handshakes: {h['per_second']:.0f} a second on the responder's core, {h['peers']} peers")
    out["idle"] = idle = idle_connections()
    lines += [f"- {line}" for line in idle]
    return out, "\n".join(lines) + "\n"


def idle_connections():
    """What 10,000 idle connections cost: the test of it prints two lines."""
    test = os.path.join(T.BUILD, "test/unit/netstack/scale_test")
    p = subprocess.run([test], capture_output=True, text=True, timeout=120) if os.path.exists(test) else None
    return [line.strip() for line in p.stdout.splitlines() if line.startswith(("an exchange:", "an idle end"))] if p else []


def run_exec(opt, server_port, skipped):
    try:
        r = measure_exec(20 if opt.long else 10)
    except (T.Skip, subprocess.SubprocessError, OSError) as e:
        skipped["exec"] = str(e)
        return {}, ""
    lines = ["| `true` on the other machine, ms | nefia | OpenSSH over plain loopback | ratio |", "|---|---|---|---|"]
    for name, ours, theirs in r["rows"]:
        lines.append(f"| {name} | {shown(ours)} | {shown(theirs)} | {statistics.median(ours) / statistics.median(theirs):.2f}x |")
    return r, "\n".join(lines) + "\n"


def run_hosts(opt, server_port, skipped):
    try:
        r = hosts.measure_exec(opt.rounds or (10 if opt.long else 3))
        r["pool"] = hosts.measure_pool()
    except (T.Skip, subprocess.SubprocessError, OSError) as e:
        skipped["hosts"] = str(e)
        return {}, ""
    if not r["pssh"]:
        skipped["parallel-ssh"] = "not installed (Debian package pssh)"
    rows = [("`exec 'sleep 1'`, to one host", r["all"], r["one"], 1.3), ("`exec true`, pooled, to parallel-ssh", r["warm"], r["pssh"], 0.7),
            ("`exec true`, hub just started, to parallel-ssh", r["cold"], r["pssh"], None),
            ("`exec true`, pooled, to parallel-ssh over kept connections", r["warm"], r["pssh_mux"], None)]
    lines = [f"| {hosts.N_EXEC} hosts of one machine, ms | nefia | the other | ratio | at most |", "|---" * 5 + "|"]
    for name, ours, other, most in rows:
        if other:
            ratio = statistics.median(ours) / statistics.median(other)
            lines.append(f"| {name} | {shown(ours)} | {shown(other)} | {ratio:.2f}x | {most or '-'} |")
    m = r["pool"]
    together = "unknown (needs root)" if m["together"] is None else f"{m['together']:.1f} MiB"
    lines.append(f"\nHub and SSH workers with {hosts.N_POOL} pooled connections to as many hosts, {m['processes']} processes: resident "
                 f"together (a page that several map once) {together}, at most 96; PSS {m['pss']:.1f} MiB; RSS added up, in which what "
                 f"they share counts {m['processes']} times, {m['rss']:.1f} MiB; private {m['private']:.1f} MiB.")
    return r, "\n".join(lines) + "\n"


def run_files(opt, server_port, skipped):
    try:
        only = [k for k in FILE_CELLS if not opt.cells or k in opt.cells.split(";")]
        r = measure_files(opt.rounds or (3 if opt.long else 2), opt.long, only)
    except (T.Skip, subprocess.SubprocessError, OSError) as e:
        skipped["files"] = str(e)
        return {}, ""
    lines = ["| files, s | nefia | the other | times as fast | must |", "|---|---|---|---|---|"]
    for name, ours, theirs, must in r["rows"]:
        lines.append(f"| {name} | {shown(ours)} | {shown(theirs)} | {statistics.median(theirs) / statistics.median(ours):.2f}x | {must}x |")
    return r, "\n".join(lines) + "\n"


def machine():
    cpu = "?"
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    commit = subprocess.run(["git", "-C", T.ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "commit": commit,
            "avx512": "avx512f" in open("/proc/cpuinfo").read(), "local_sockets": T.control(),
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


PARTS = {"direct": run_direct, "paths": run_paths, "stack": run_stack, "exec": run_exec, "files": run_files, "hosts": run_hosts}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--long", action="store_true")
    ap.add_argument("--rounds", type=int)
    ap.add_argument("--seconds", type=float)
    ap.add_argument("--only")
    ap.add_argument("--cells")
    ap.add_argument("--parts", default=",".join(PARTS))
    ap.add_argument("--also", action="append", default=[])
    ap.add_argument("--name", default="latest")
    ap.add_argument("--results", default=os.path.join(T.ROOT, "bench/results"))
    opt = ap.parse_args()
    T.enter_namespace()
    opt.path_seconds = opt.seconds  # cells of the paths have lengths of their own, unless one is given
    opt.seconds = opt.seconds or (10 if opt.long else 2)
    server_port = T.free_port()
    server = subprocess.Popen([T.LOAD, "serve", str(server_port)])
    result = {"machine": machine(), "seconds": opt.seconds, "parts": {}, "skipped": {}, "took_s": {},
              "flags": vars(opt), "versions": T.versions()}
    m = result["machine"]
    text = [f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}, commit {m['commit']}, {m['date']}.",
            f"{opt.seconds:g} s a cell; median (least-greatest). Congestion control of local sockets: {m['local_sockets']}" +
            (f", in a network namespace of this run's; the machine's own is {T.machines_own_control()}." if T.machines_own_control() else "."), ""]
    try:
        T.wait_port(server_port)
        for part in opt.parts.split(","):
            skipped, began = result["skipped"].setdefault(part, {}), time.monotonic()
            say(f"part {part}")
            result["parts"][part], said = PARTS[part](opt, server_port, skipped)
            result["took_s"][part] = round(time.monotonic() - began, 1)
            text.append(said)
            text += [f"- skipped: {name}: {why}" for name, why in skipped.items()] + [""]
    finally:
        server.kill()
    text.append("Took " + ", ".join(f"{part} {took:.0f} s" for part, took in result["took_s"].items()) + ".")
    print("\n".join(text))
    os.makedirs(opt.results, exist_ok=True)
    with open(os.path.join(opt.results, f"{opt.name}.json"), "w") as f:
        json.dump(result, f, indent=1)
    with open(os.path.join(opt.results, f"{opt.name}.md"), "w") as f:
        f.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
