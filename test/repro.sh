#!/usr/bin/env bash
# repro.sh - two builds in two folders (paths of different length) give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
NEFIA_COMMIT=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)
export NEFIA_COMMIT SOURCE_DATE_EPOCH
for d in "$work/a" "$work/a-much-longer/path"; do
	mkdir -p "$d"
	tar -c --exclude=./build --exclude=./.git --exclude=./third_party/dl . | tar -x -C "$d"
	make -C "$d" --no-print-directory DL="$PWD/third_party/dl" programs >"$work/log" 2>&1 || { tail -n 30 "$work/log"; exit 1; }
done
for p in nefia nefia-agent; do
	cmp "$work/a/build/$p" "$work/a-much-longer/path/build/$p"
	sha256sum "$work/a/build/$p" | sed "s,  .*,  $p,"
done
echo "the same bytes in both folders"
