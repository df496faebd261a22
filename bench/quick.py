#!/usr/bin/env python3
"""Tells whether a change made us slower: bench/quick of this tree beside that of the baseline's commit, in turn.

    bench/quick.py [--store] [--rounds N] [--baseline FILE]

The baseline is bench/baseline.json, an entry for each kind of machine (processor, and what its counters can tell): a commit,
and what it cost where it was stored. The commit is built anew in build/baseline and runs beside this tree's build, so that
neither a machine with other memory nor one that drifts looks like a change. Where it cannot be built the stored figures
stand in for it, and that is said. Without an entry for this machine, or with --store, this commit becomes it. Exit status 1:
something costs over 5 % more.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("B", "build"))
QUICK = os.path.join(BUILD, "bench/quick")
BASELINE = os.path.join(ROOT, "bench/baseline.json")
LIMIT = 1.05
N_TURNS = 5


def machine():
    model, avx512 = "unknown", False
    for line in open("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "CPU part"):
            model = value.strip()
        if key.strip() == "flags":
            avx512 = " avx512f" in value
    return model + (", AVX-512" if avx512 else "")


def run(program, rounds):
    return json.loads(subprocess.run([program, str(rounds)], check=True, capture_output=True, text=True).stdout)


def git(*args):
    r = subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True)
    return r.stdout.strip() if r.returncode == 0 else None


def build_of(commit):
    """The program of that commit, built in a folder of its own and kept there; raises what went wrong."""
    where = os.path.join(BUILD, "baseline", commit)
    program = os.path.join(where, "build/bench/quick")
    if os.path.exists(program):
        return program
    print(f"building the baseline, {commit[:10]}", flush=True)
    os.makedirs(where, exist_ok=True)
    packed = subprocess.run(["git", "-C", ROOT, "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", where], input=packed, check=True)
    # A make of its own: this one's variables, B among them, are of this tree.
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "B")}
    subprocess.run(["make", f"-j{os.cpu_count()}", "-C", where, f"DL={os.path.join(ROOT, 'third_party/dl')}", "build/bench/quick"],
                   check=True, capture_output=True, env=env)
    return program


def in_turn(old, new, rounds):
    """Medians of each piece's turns, by program: what the machine does meanwhile happens to both."""
    cost = {old: {}, new: {}}
    for turn in range(N_TURNS):
        for program in (old, new) if turn % 2 == 0 else (new, old):
            got = run(program, max(1, rounds // N_TURNS))
            got.pop("unit")
            for work, n in got.items():
                cost[program].setdefault(work, []).append(n)
    return [{work: statistics.median(n) for work, n in cost[p].items()} for p in (old, new)]


def measure(before, rounds):
    """What the baseline costs and what we do; the first is None where there is none."""
    if before and "commit" in before:
        try:
            return in_turn(build_of(before["commit"]), QUICK, rounds)
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"the baseline's commit {before['commit'][:10]} cannot be built here ({e}): its stored figures stand in for it, "
                  "which another machine or another hour may change by more than 5 %")
    now = run(QUICK, rounds)
    now.pop("unit")
    return before, now


def store(path, known, name, now):
    commit = git("rev-parse", "HEAD")
    if git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/baseline.json"):
        print("what was measured is in no commit: figures alone are stored")
        commit = None
    known[name] = dict(now, commit=commit) if commit else now
    with open(path, "w") as f:
        json.dump(known, f, indent=1, sort_keys=True)
        f.write("\n")
    print(f"stored as the baseline of: {name}")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--store", action="store_true")
    ap.add_argument("--rounds", type=int, default=100)
    ap.add_argument("--baseline", default=BASELINE)
    opt = ap.parse_args()
    unit = run(QUICK, 1)["unit"]
    known = json.load(open(opt.baseline)) if os.path.exists(opt.baseline) else {}
    name = f"{machine()}, {unit}"
    before, now = measure(known.get(name), opt.rounds)
    worse = []
    for work, cost in now.items():
        old = before.get(work) if before else None
        print(f"{work:32} {cost:10.3f} {unit}" + (f"   baseline {old:.3f}   {cost / old:.3f}x" if old else ""))
        if old and cost > LIMIT * old:
            worse.append(work)
    if opt.store or not before:
        store(opt.baseline, known, name, now)
        return 0
    if worse:
        print("slower by more than 5 %: " + ", ".join(worse) + " (should it be so: bench/quick.py --store)", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
