#!/usr/bin/env bash
# clang.sh - the sources compile under clang without a warning.
cd "$(dirname "$0")/.." || exit 1
command -v clang >/dev/null || { echo "clang is not installed"; exit 77; }
exec make --no-print-directory clang-check
