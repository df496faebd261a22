#!/usr/bin/env bash
# fetch.sh - a right file is kept, a wrong one refused, each place is tried, an interrupted download leaves nothing
# that is taken for a file, and a file that is there is checked without asking anybody.
. "$(dirname "$0")/archive.bash"
echo right >"$archive/pool/main/x/good"
echo wrong >"$archive/pool/main/x/bad"
sum=$(sum "$archive/pool/main/x/good")
only() { [ "$(ls "$t/dl")" = "$*" ] || fail "left behind: $(ls "$t/dl")"; }

fetch "$t/dl/a" "$sum" main/x/good || fail "a right file was refused"
cmp "$t/dl/a" "$archive/pool/main/x/good"
refused "$t/dl/b" "$sum" main/x/bad
said 'wrong checksum; refused'
only a
fetch "$t/dl/c" "$sum" main/x/bad -u "$DEB_ARCHIVE/pool/main/x/good" || fail "the second place was not tried"
cmp "$t/dl/c" "$archive/pool/main/x/good"
mkdir -p "$archive/pool/universe/x"
cp "$archive/pool/main/x/good" "$archive/pool/universe/x/there"
fetch "$t/dl/d" "$sum" main/x/there || fail "universe was not tried"
DEB_ARCHIVE="file://$t/none/ file://$archive/" fetch "$t/dl/e" "$sum" main/x/good || fail "the second archive was not tried"
rm "$t/dl/c" "$t/dl/d" "$t/dl/e"

# The upstream release in another wrapping: the same files in the folders that count, and nothing else will do.
pack() { # FILE FLAGS CONTENT: a tarball with src/x.c, and beside it what does not count
	rm -rf "$t/tree"
	mkdir -p "$t/tree/top/src" "$t/tree/top/doc"
	printf '%s' "$3" >"$t/tree/top/src/x.c"
	echo "$1" >"$t/tree/top/doc/y"
	tar -C "$t/tree" "$2" -f "$1" top
}
pack "$archive/upstream.tar.gz" -cz 'int x;'
pack "$archive/other.tar.gz" -cz 'int y;'
tree=$(cd "$t" && mkdir -p src && printf 'int x;' >src/x.c && sha256sum src/x.c | sha256sum | cut -d' ' -f1)
fetch "$t/dl/f.tar.xz" "$sum" main/x/none -u "$DEB_ARCHIVE/upstream.tar.gz" -t "$tree" src || fail "the upstream tree was refused"
cmp "$t/dl/f.tar.xz" "$archive/upstream.tar.gz"
fetch "$t/dl/f.tar.xz" "$sum" main/x/none -t "$tree" src || fail "the upstream tree is not known again"
refused "$t/dl/g.tar.xz" "$sum" main/x/none -u "$DEB_ARCHIVE/other.tar.gz" -t "$tree" src
refused "$t/dl/g.tar.xz" "$sum" main/x/none -u "$DEB_ARCHIVE/pool/main/x/bad" -t "$tree" src
rm "$t/dl/f.tar.xz"

# A download that stops: killed in any way in the middle of it, or cut short by the other side.
mkdir "$t/bin"
cat >"$t/bin/curl" <<'X'
#!/bin/sh
# a curl that gets half of the file and then hangs (or ends, with CUT set)
while [ $# -gt 1 ]; do case $1 in -o) out=$2; shift ;; esac; shift; done
printf ri >"$out"
[ -n "${CUT:-}" ] && exit 0
echo $$ >"$STARTED"
exec sleep 30
X
chmod +x "$t/bin/curl"
for sig in KILL TERM INT; do
	STARTED=$t/started PATH=$t/bin:$PATH env --default-signal=INT third_party/fetch.sh "$t/dl/h" "$sum" main/x/good >"$t/out" 2>&1 &
	pid=$!
	for _ in $(seq 100); do [ -s "$t/started" ] && break; sleep 0.05; done
	[ -s "$t/started" ] || fail "the download did not start"
	kill -$sig $pid
	kill "$(cat "$t/started")" 2>/dev/null || true
	{ wait $pid; } 2>/dev/null || true
	rm "$t/started"
	[ ! -e "$t/dl/h" ] || fail "SIG$sig: half a file was taken"
	[ $sig = KILL ] || only a
done
CUT=1 PATH=$t/bin:$PATH refused "$t/dl/h" "$sum" main/x/good
fetch "$t/dl/h" "$sum" main/x/good || fail "after an interruption the file is refused"
cmp "$t/dl/h" "$archive/pool/main/x/good"
only "$(printf 'a\nh')"

# Offline, and what is there but wrong is named, not used.
rm -r "$archive"
fetch "$t/dl/a" "$sum" main/x/good || fail "the second run is not offline"
[ ! -s "$t/out" ] || fail "the second run did something"
echo tampered >"$t/dl/a"
refused "$t/dl/a" "$sum" main/x/good
said 'is not what the recipe pins'
refused "$t/dl/i" "$sum" main/x/good
said 'could not get i.*DEB_ARCHIVE'
