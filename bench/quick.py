#!/usr/bin/env python3
"""A minute that tells whether a change made us slower: bench/quick against a stored baseline.

    bench/quick.py [--store] [--rounds N] [--baseline FILE]

The baseline is bench/baseline.json, an entry for each kind of machine (processor, and what its counters can tell). Without
one for this machine, or with --store, what was measured becomes it. Exit status 1: something costs over 5 % more.
"""
import argparse
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QUICK = os.path.join(ROOT, os.environ.get("B", "build"), "bench/quick")
BASELINE = os.path.join(ROOT, "bench/baseline.json")
LIMIT = 1.05


def machine():
    model, avx512 = "unknown", False
    for line in open("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "CPU part"):
            model = value.strip()
        if key.strip() == "flags":
            avx512 = " avx512f" in value
    return model + (", AVX-512" if avx512 else "")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--store", action="store_true")
    ap.add_argument("--rounds", type=int, default=100)
    ap.add_argument("--baseline", default=BASELINE)
    opt = ap.parse_args()
    now = json.loads(subprocess.run([QUICK, str(opt.rounds)], check=True, capture_output=True, text=True).stdout)
    unit = now.pop("unit")
    known = json.load(open(opt.baseline)) if os.path.exists(opt.baseline) else {}
    name = f"{machine()}, {unit}"
    before = known.get(name)
    worse = []
    for work, cost in now.items():
        old = before.get(work) if before else None
        print(f"{work:32} {cost:10.3f} {unit}" + (f"   baseline {old:.3f}   {cost / old:.3f}x" if old else ""))
        if old and cost > LIMIT * old:
            worse.append(work)
    if opt.store or not before:
        known[name] = now
        with open(opt.baseline, "w") as f:
            json.dump(known, f, indent=1, sort_keys=True)
            f.write("\n")
        print(f"stored as the baseline of: {name}")
        return 0
    if worse:
        print("slower by more than 5 %: " + ", ".join(worse) + " (should it be so: bench/quick.py --store)", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
