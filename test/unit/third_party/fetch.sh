#!/usr/bin/env bash
# fetch.sh - a right download is kept, a corrupted one refused, the second place tried, the second run is offline.
set -euo pipefail
cd "$(dirname "$0")/../../.."
command -v curl >/dev/null || { echo "curl is not installed"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
mkdir -p "$t/archive/pool/x"
echo right >"$t/archive/pool/x/good"
echo wrong >"$t/archive/pool/x/bad"
sum=$(sha256sum <"$t/archive/pool/x/good" | cut -d' ' -f1)
export DEB_ARCHIVE=file://$t/archive
fetch() { third_party/fetch.sh "$@" >"$t/out" 2>&1; }

fetch "$t/dl/a" "$sum" x/good || { echo "a right file was refused"; exit 1; }
cmp "$t/dl/a" "$t/archive/pool/x/good"
if fetch "$t/dl/b" "$sum" x/bad; then echo "a corrupted file was taken"; exit 1; fi
grep -q 'wrong checksum; refused' "$t/out" || { echo "the refusal was not said"; exit 1; }
[ -z "$(ls "$t/dl" | grep -v '^a$')" ] || { echo "something was left behind"; exit 1; }
fetch "$t/dl/c" "$sum" x/bad "file://$t/archive/pool/x/good" || { echo "the second place was not tried"; exit 1; }
cmp "$t/dl/c" "$t/archive/pool/x/good"
rm -r "$t/archive"
fetch "$t/dl/a" "$sum" x/good || { echo "the second run is not offline"; exit 1; }
[ ! -s "$t/out" ] || { echo "the second run did something"; exit 1; }
