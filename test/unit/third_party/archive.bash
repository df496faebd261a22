# lib.sh - what the tests of fetch.sh share; sourced. $t is a scratch folder, DEB_ARCHIVE a made-up archive in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
command -v curl >/dev/null || { echo "curl is not installed"; exit 77; }
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
archive=$t/archive
mkdir -p "$archive/pool/main/x"
export DEB_ARCHIVE=file://$archive

fail() { echo "$*"; echo "--- fetch.sh said:"; cat "$t/out"; exit 1; }
fetch() { third_party/fetch.sh "$@" >"$t/out" 2>&1; }
refused() { ! fetch "$@" || fail "taken, but should have been refused: $*"; }
said() { grep -q -- "$1" "$t/out" || fail "not said: $1"; }
sum() { sha256sum <"$1" | cut -d' ' -f1; }
