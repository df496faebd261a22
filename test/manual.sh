#!/usr/bin/env bash
# manual.sh - manual pages must be free of mandoc's errors.
cd "$(dirname "$0")/.." || exit 1
shopt -s nullglob
pages=(doc/*.[1-8])
[ ${#pages[@]} -gt 0 ] || { echo "no manual pages"; exit 77; }
command -v mandoc >/dev/null || { echo "mandoc is not installed"; exit 77; }
mandoc -T lint -W error "${pages[@]}"
