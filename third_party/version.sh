#!/bin/sh
# version.sh FILE VERSION - write the header with version, commit and build date; an unchanged file keeps its time.
# The date is SOURCE_DATE_EPOCH's or the commit's, so that the same sources give the same bytes.
set -eu
out=$1 version=$2
commit=${NEFIA_COMMIT:-$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
date=$(date -u -d "@${epoch:-0}" +%Y-%m-%d)
mkdir -p "$(dirname "$out")"
cat >"$out.tmp" <<X
#define NEFIA_VERSION "$version"
#define NEFIA_COMMIT "$commit"
#define NEFIA_BUILD_DATE "$date"
X
if cmp -s "$out.tmp" "$out"; then rm "$out.tmp"; else mv "$out.tmp" "$out"; fi
