#!/usr/bin/env bash
# run.sh - what a run of bench/run.py leaves behind: raw samples, machine, versions, flags and the reasons of what was skipped; and
# that its tools take turns. One cell of plain loopback is measured.
set -euo pipefail
cd "$(dirname "$0")/../../.."
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
mkdir -p "$t/bench"
${CC:-gcc} -D_GNU_SOURCE -I. -O1 -pthread -o "$t/bench/load" bench/load.c
B=$t bench/run.py --parts direct --only loopback,nefia,wireproxy --cells 'up1;rr' --rounds 2 --seconds 0.1 \
	--name it --results "$t/results" >"$t/out" 2>"$t/err" || { cat "$t/out" "$t/err"; exit 1; }
python3 - "$t" <<'X'
import json, sys
sys.path.insert(0, "bench")
import run

r = json.load(open(sys.argv[1] + "/results/it.json"))
for key in ("cpu", "cores", "kernel", "commit", "avx512", "date"):
    assert r["machine"][key] not in ("", None), key
assert isinstance(r["versions"], dict)
assert r["flags"]["rounds"] == 2 and r["flags"]["cells"] == "up1;rr" and r["seconds"] == 0.1
assert r["took_s"]["direct"] > 0
samples = r["parts"]["direct"]
assert len(samples["loopback"]) == 2, "a sample for each round"
for s in samples["loopback"]:
    assert s["up1"]["gbps"] > 0 and s["rr"]["p50_us"] > 0 and s["rss_idle"]["mib"] == 0
# The first is not built in this place, the second not in anybody's; both say so, and neither stops the run.
assert set(r["skipped"]["direct"]) >= {"nefia"} and all(r["skipped"]["direct"].values()), r["skipped"]
text = open(sys.argv[1] + "/results/it.md").read()
assert "one flow up" in text and "skipped: nefia" in text, text

# A B C, then B C A: who comes first after a pause, or last when the machine has slowed down, is another one each time.
class Fake:
    def __init__(self, name):
        self.name = name
    def stop(self):
        pass
order = []
run.rounds_of([Fake(n) for n in "abc"], 3, "turns", lambda tool, i: order.append(tool.name), {}, {})
assert "".join(order) == "abcbcacab", order
# One that fails in its first round is not tried again; one that fails later is.
order = []
def fails(tool, i):
    order.append(tool.name)
    if (tool.name, i) in (("a", 0), ("b", 1)):
        raise OSError("on purpose")
skipped = {}
run.rounds_of([Fake(n) for n in "ab"], 3, "failures", fails, {}, skipped)
assert "".join(order) == "abbb" and list(skipped) == ["a"], (order, skipped)

# Medians, spread, and ours beside the best of the others: the greatest where more is better, else the least.
samples = {"nefia": [{"x": {"v": v}} for v in (9, 10, 30)], "p": [{"x": {"v": 4}}], "q": [{"x": {"v": 5}}]}
for more, ratio in ((True, "2.00x"), (False, "2.50x")):
    line = run.table("t", samples, ["nefia", "p", "q"], ["p", "q"], [("row", "x", "v", more)], "best").splitlines()[2]
    assert "10 (9-30)" in line and line.endswith(ratio + " |"), line

# The grid: each loss at each round trip, and no cell in place of another.
names = list(run.PATHS) + list(run.LONG_PATHS)
assert len(names) == len(set(names)), "two cells of one name"
for rtt in ("0.1", "2", "20", "50", "100"):
    for loss in ("0", "1e-5", "1e-4", "1e-3", "1e-2"):
        cell = run.LONG_PATHS[f"grid: {rtt} ms, loss {loss}"]
        assert cell.options == ["--delay", str(float(rtt) / 2), "--loss", loss], cell.options
X
