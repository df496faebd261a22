#!/bin/sh
# fetch.sh DEST SHA256 POOL-PATH [UPSTREAM-URL] - one pinned file, or nothing.
# The distribution's archive is derived from apt (or given in DEB_ARCHIVE); the upstream release is the second place.
set -eu
dest=$1 sha=$2 pool=$3 upstream=${4:-}
[ -f "$dest" ] && exit 0
mkdir -p "$(dirname "$dest")"
tmp=$dest.tmp.$$
trap 'rm -f "$tmp"' EXIT

archive() {
	[ -n "${DEB_ARCHIVE:-}" ] && { echo "$DEB_ARCHIVE"; return; }
	command -v apt-get >/dev/null 2>&1 || return 0
	apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		grep -m1 '/debian/$' | sed 's,/$,,' || true
}

download() {
	if command -v curl >/dev/null 2>&1; then
		curl -fsSL --retry 3 --connect-timeout 20 -o "$tmp" "$1" 2>/dev/null
	else
		wget -q -O "$tmp" "$1"
	fi
}

try() {
	printf '  %-7s %s\n' FETCH "$(basename "$dest") ($1)"
	download "$2" || return 1
	if printf '%s  %s\n' "$sha" "$tmp" | sha256sum -c --quiet >/dev/null 2>&1; then
		mv "$tmp" "$dest"
		exit 0
	fi
	echo "fetch.sh: $(basename "$dest") from the $1 has a wrong checksum; refused" >&2
	return 1
}

root=$(archive)
[ -n "$root" ] && try "distribution's archive" "$root/pool/$pool" || true
[ -n "$upstream" ] && try "upstream release" "$upstream" || true
echo "fetch.sh: could not get $(basename "$dest"). Put it into $(dirname "$dest")/ by hand (sha256 $sha), or set DEB_ARCHIVE." >&2
exit 1
