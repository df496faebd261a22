#!/bin/sh
# test/e2e/drop.sh SCRIPT [ARG...] - run SCRIPT as an ordinary user without any capability.
#
# As an ordinary user: runs it at once. As root: in a private mount namespace whose /etc/passwd has one more user
# (nothing on this machine changes), with the programs copied to a folder of that user's, all capabilities dropped
# and no way to get one back. sshd then logs in that same user, so it needs no privilege either.
#
# Root without the right to make a mount namespace, as in a container by docker's defaults: the demo runs as that root, our
# programs without any capability (sshd keeps what the container has); all other scripts, some of which are hostile, skip.
# BUILD names the folder with nefia and nefia-agent. Used by demo.sh and run.sh.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "${BUILD:-$HERE/../../build}" && pwd)
export BUILD
if [ "$(id -u)" -ne 0 ]; then
	export NEFIA_TEST_USER="${NEFIA_TEST_USER:-$(id -un)}"
	exec "$@"
fi
for tool in unshare setpriv; do
	command -v "$tool" >/dev/null || { echo "drop.sh: $tool (util-linux) is needed to leave root" >&2; exit 1; }
done
uid=$((63000 + $$ % 1800)) # two at once do not see each other's processes as their own
while getent passwd "$uid" >/dev/null || getent group "$uid" >/dev/null; do uid=$((uid + 1)); done
base=$(mktemp -d /tmp/nefia-user.XXXXXX)
trap 'rm -rf "$base"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$base/home" "$base/bin" "$base/test" "$base/small"
cp "$BUILD/nefia" "$BUILD/nefia-agent" "$base/bin/"
[ ! -d "$BUILD/stock" ] || { mkdir "$base/bin/stock"; cp "$BUILD/stock/nefia" "$BUILD/stock/nefia-agent" "$base/bin/stock/"; }
[ ! -d "$BUILD/examples" ] || cp -r "$BUILD"/libnefia.a "$BUILD"/libnefia.so* "$BUILD/examples" "$base/bin/"
cp "$HERE"/*.sh "$HERE"/../lib/clock.sh "$HERE"/../lib/failure.sh "$HERE"/../lib/*.py "$base/test/"
[ ! -f "$HERE/../demo.sh" ] || cp "$HERE/../demo.sh" "$base/"
{ cat /etc/passwd; echo "nefia-test:x:$uid:$uid:nefia test user:$base/home:/bin/sh"; } >"$base/passwd"
# Without a group tty, sshd may give a terminal to the user that it runs as.
{ grep -v '^tty:' /etc/group; echo "nefia-test:x:$uid:"; } >"$base/group"
chown -R "$uid:$uid" "$base/home" "$base/bin" "$base/test"
chown "$uid:$uid" "$base"
chmod 755 "$base"
if ! unshare -m sh -c 'mount --make-rprivate / && mount --bind "$0" "$0"' "$base" 2>"$base/why"; then
	case $1 in
	*/demo.sh) ;;
	*)
		echo "SKIP $(basename "$1" .sh): root may not make a mount namespace here (in a container? try an ordinary user): $(cat "$base/why")"
		exit 77
		;;
	esac
	chown -R 0:0 "$base/home"
	for program in nefia nefia-agent; do
		mkdir -p "$base/bin/real"
		mv "$base/bin/$program" "$base/bin/real/"
		printf '#!/bin/sh\nexec setpriv --inh-caps=-all --bounding-set=-all --no-new-privs "%s" "$@"\n' \
			"$base/bin/real/$program" >"$base/bin/$program"
		chmod 755 "$base/bin/$program"
	done
	env -i PATH="$PATH" HOME="$base/home" USER=root LOGNAME=root TMPDIR="$base/home" LANG=C.UTF-8 BUILD="$base/bin" \
		NEFIA_TEST_USER=root NEFIA_LIB="$base/test/lib.sh" bash "$base/demo.sh"
	exit
fi
script=$1
shift
case $script in
*/e2e/*) script=$base/test/$(basename "$script") ;;
*) script=$base/$(basename "$script") ;;
esac
env -i PATH="$PATH" HOME="$base/home" USER=nefia-test LOGNAME=nefia-test TMPDIR="$base/home" LANG=C.UTF-8 \
	BUILD="$base/bin" NEFIA_TEST_USER=nefia-test E2E_ONLY="${E2E_ONLY:-}" E2E_KEEP_GOING="${E2E_KEEP_GOING:-}" \
	TEST_LANE="${TEST_LANE:-0}" LONG="${LONG:-}" DRAIN_LONG="${DRAIN_LONG:-}" NEFIA_LIB="$base/test/lib.sh" ASAN_OPTIONS="${ASAN_OPTIONS:-}" \
	unshare -m sh -c '
		mount --make-rprivate / && mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group || {
			echo "drop.sh: no private mount namespace here" >&2; exit 1; }
		# a disk that is soon full
		mount -t tmpfs -o size=512k,mode=700,uid="$2",gid="$2" none "$1/small" && export NEFIA_SMALL_DISK="$1/small"
		uid=$2; shift 2
		cd "$HOME"
		exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all --ambient-caps=-all \
			--bounding-set=-all --no-new-privs "$@"' sh "$base" "$uid" bash "$script" "$@"
