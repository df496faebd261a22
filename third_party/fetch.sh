#!/bin/sh
# fetch.sh DEST SHA256 POOL-PATH [-u URL] [-t TREE-SHA256 DIRS] [-r SOURCE UPSTREAM-VERSION]
#
# One pinned file, or nothing. Where it comes from does not matter; what it is does:
#   1. the distribution's archive, which apt is asked for (DEB_ARCHIVE="URL..." overrides): POOL-PATH by its SHA256;
#   2. -u: the upstream release. It has the same SHA256, or, where the distribution packed it anew, -t: the files in
#      DIRS below its top folder have the pinned TREE-SHA256 (see tree_sum);
#   3. -r: when the pinned package revision has vanished from the archive, the newest one of the same upstream
#      version, named by a package list whose signature the archive's keyring verifies (InRelease, Sources, file).
#      It is said aloud, and DEST.signed keeps what was taken.
# A DEST that is there is checked again and nothing is fetched.
# Exit status: 0, DEST is there and verified; 1, it could not be had; 2, called wrongly.
set -eu
usage() { sed -n '2s/^# //p' "$0" >&2; exit 2; }
[ $# -ge 3 ] || usage
dest=$1 sha=$2 pool=$3 upstream='' tree='' dirs='' source='' version=''
shift 3
while [ $# -gt 0 ]; do
	case $1 in
	-u) upstream=$2; shift 2 ;;
	-t) tree=$2 dirs=$3; shift 3 ;;
	-r) source=$2 version=$3; shift 3 ;;
	*) usage ;;
	esac
done
name=$(basename "$dest")
say() { printf '  %-7s %s\n' FETCH "$*"; }
warn() { echo "fetch.sh: $*" >&2; }

sum_of() { sha256sum <"$1" | cut -d' ' -f1; }

# tree_sum TARBALL: one SHA-256 over the sorted sha256sum lines of the files in DIRS, below the top folder
tree_sum() {
	rm -rf "$work/tree" && mkdir "$work/tree"
	tar -xf "$1" -C "$work/tree" --strip-components=1 2>/dev/null || return 1
	# shellcheck disable=SC2086 # a list of folders
	(cd "$work/tree" && find $dirs -type f -exec sha256sum {} + 2>/dev/null | LC_ALL=C sort -k2 | sum_of /dev/stdin)
}

# is_pinned FILE: the pinned bytes, or the pinned tree in another wrapping
is_pinned() {
	[ "$(sum_of "$1")" = "$sha" ] && return 0
	[ -n "$tree" ] && [ "$(tree_sum "$1")" = "$tree" ]
}

mkdir -p "$(dirname "$dest")"
work=$dest.part.$$
# What a killed run left is of no use: nothing was verified.
for old in "$dest".part.*; do
	[ -e "$old" ] && ! kill -0 "${old##*.}" 2>/dev/null && rm -rf "$old"
done
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work"

if [ -f "$dest" ]; then
	is_pinned "$dest" && exit 0
	[ -n "$source" ] && [ -f "$dest.signed" ] && [ "$(cut -d' ' -f1 <"$dest.signed")" = "$(sum_of "$dest")" ] && exit 0
	warn "$dest is not what the recipe pins (sha256 $sha). Remove it and try again."
	exit 1
fi

download() { # URL FILE
	rm -f "$2"
	if command -v curl >/dev/null 2>&1; then
		curl -fsSL --retry 2 --connect-timeout 20 --speed-limit 1000 --speed-time 30 -o "$2" "$1" 2>/dev/null
	else
		wget -q --tries=2 --timeout=30 -O "$2" "$1"
	fi
}

# The archives that apt uses, Debian's and Ubuntu's own only; known without any "apt-get update".
archives() {
	if [ -n "${DEB_ARCHIVE:-}" ]; then
		printf '%s\n' $DEB_ARCHIVE | sed 's,/*$,,'
	elif command -v apt-get >/dev/null 2>&1; then
		apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
			sed -n 's,/*$,,; s,^file:/*,file:///,; \,/\(debian\|debian-security\|ubuntu\|ubuntu-ports\)$,p' | awk '!seen[$0]++'
	fi
}

# Ubuntu keeps in universe what Debian has in main.
pool_paths() { echo "$pool"; case $pool in main/*) echo "universe/${pool#main/}" ;; esac; }

# keep FILE: it was verified, and becomes DEST in one step
keep() { mv "$1" "$dest"; exit 0; }

take_pinned() { # PLACE URL
	download "$2" "$work/file" || return 1
	say "$name ($1)"
	is_pinned "$work/file" && keep "$work/file"
	warn "$name from the $1 has a wrong checksum; refused"
	return 1
}

# --- the newest revision of the same upstream version, by the archive's signature

keyrings() {
	for k in ${DEB_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/ubuntu-archive-keyring.gpg}; do
		[ -f "$k" ] && printf ' --keyring %s' "$k"
	done
	return 0
}

# suites ROOT: those of this machine, then the archive's by their roles (Debian) or names (Ubuntu has no roles)
suites() {
	if [ -n "${DEB_SUITES:-}" ]; then
		printf '%s\n' $DEB_SUITES
		return
	fi
	{
		! command -v apt-get >/dev/null 2>&1 ||
			apt-get indextargets --no-release-info --format '$(RELEASE)' 'Created-By: Packages' 2>/dev/null
		case $1 in
		*/debian) printf '%s\n' stable stable-updates oldstable testing unstable ;;
		*/debian-security) printf '%s\n' stable-security oldstable-security ;;
		*) for s in resolute questing plucky; do printf '%s\n' $s-security $s-updates $s; done; echo devel ;;
		esac
	} | awk '!seen[$0]++'
}

# release ROOT SUITE: the suite's index into $work/release, when a key of the archive signed it and it has not expired
release() {
	download "$1/dists/$2/InRelease" "$work/inrelease" || return 1
	rm -f "$work/release"
	# shellcheck disable=SC2046 # a list of options
	if ! gpgv --quiet $(keyrings) --output "$work/release" "$work/inrelease" 2>/dev/null || [ ! -s "$work/release" ]; then
		warn "the index of $2 is not signed by a key of the archive; refused"
		return 1
	fi
	until=$(sed -n 's/^Valid-Until: //p' "$work/release")
	if [ -n "$until" ] && [ "$(date -d "$until" +%s)" -lt "$(date +%s)" ]; then
		warn "the index of $2 has expired on $until; refused"
		return 1
	fi
}

# sources ROOT SUITE COMPONENT: the list of source packages into $work/sources, by the checksum in $work/release
sources() {
	for ext in xz gz; do
		want=$(awk -v f="$3/source/Sources.$ext" '/^[^ ]/ { on = /^SHA256:/ } on && $3 == f { print $1; exit }' "$work/release")
		[ -n "$want" ] || continue
		for path in "by-hash/SHA256/$want" "Sources.$ext"; do
			download "$1/dists/$2/$3/source/$path" "$work/list" || continue
			if [ "$(sum_of "$work/list")" != "$want" ]; then
				warn "the package list of $2/$3 has a wrong checksum; refused"
				continue
			fi
			case $ext in xz) xz -dc <"$work/list" ;; gz) gzip -dc <"$work/list" ;; esac >"$work/sources"
			return 0
		done
	done
	return 1
}

# candidates ROOT SUITE: a line "VERSION SHA256 URL SUITE" for each revision in $work/sources
candidates() {
	awk -v name="$source" -v up="$version-" -v like="${name##*.}" -v root="$1" -v suite="$2" '
		function flush() {
			if (pkg == name && index(ver, up) == 1 && file != "") print ver, sum, root "/" dir "/" file, suite
			pkg = ver = dir = file = sum = ""
		}
		/^$/ { flush() }
		/^[^ ]/ { on = /^Checksums-Sha256:/ }
		/^Package: / { pkg = $2 }
		/^Version: / { ver = $2 }
		/^Directory: / { dir = $2 }
		on && $3 ~ ("\\.debian\\.tar\\." like "$") { sum = $1; file = $3 }
		END { flush() }' "$work/sources"
}

newest_revision() {
	if ! command -v gpgv >/dev/null 2>&1 || [ -z "$(keyrings)" ]; then
		warn "the pinned revision of $source is not to be had, and without gpgv and the archive's keyring no other is taken"
		return 1
	fi
	say "$name has vanished; looking for the newest revision of $source $version"
	: >"$work/found"
	for root in $(archives); do
		for suite in $(suites "$root"); do
			release "$root" "$suite" || continue
			for component in main universe; do
				sources "$root" "$suite" "$component" && candidates "$root" "$suite" >>"$work/found"
			done
		done
	done
	LC_ALL=C sort -k1,1Vr -u "$work/found" >"$work/sorted"
	while read -r rev sum url suite; do
		download "$url" "$work/file" || continue
		if [ "$(sum_of "$work/file")" != "$sum" ]; then
			warn "$(basename "$url") is not what the signed list of $suite says; refused"
			continue
		fi
		say "$source $rev of $suite instead of the pinned $name, signed by the archive (sha256 $sum)"
		printf '%s %s %s %s\n' "$sum" "$source" "$rev" "$suite" >"$dest.signed"
		keep "$work/file"
	done <"$work/sorted"
	return 1
}

for root in $(archives); do
	for path in $(pool_paths); do
		take_pinned "distribution's archive" "$root/pool/$path" || true
	done
done
[ -z "$upstream" ] || take_pinned "upstream release" "$upstream" || true
[ -z "$source" ] || newest_revision || true
warn "could not get $name. Put it into $(dirname "$dest")/ by hand (sha256 $sha), or set DEB_ARCHIVE."
exit 1
