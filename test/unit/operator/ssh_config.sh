#!/bin/bash
# nefia ssh-config --install: one line in somebody's file, everything else as it was
cd "$(dirname "$0")/../../.." || exit 1
N=$PWD/${BUILD:-build}/nefia
[ "${BUILD:-}" = "${BUILD#/}" ] || N=$BUILD/nefia
command -v ssh >/dev/null || { echo "no ssh client on this machine"; exit 77; }
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export NEFIA_HOME="$T/a [b] 100%/nefia"
mkdir -p "$NEFIA_HOME"
bad=0
wrong() { echo "$*"; bad=1; }
"$N" init >/dev/null || exit 1
C=$T/dot/config
run() { "$N" ssh-config "$@" --ssh-config "$C" >"$T/out" 2>"$T/err"; }

# made where nothing was, and gone again
run --install || wrong "install: $(cat "$T/err")"
[ "$(stat -c %a "$C" "$T/dot" "$NEFIA_HOME/ssh_config" | xargs)" = "600 700 600" ] || wrong "modes: $(stat -c %a "$C" "$T/dot")"
ssh -G -F "$C" x.nefia | grep -qx 'proxyusefdpass yes' || wrong "ssh does not find the snippet in an odd folder"
ssh -G -F "$C" x.example | grep -qx 'proxyusefdpass yes' && wrong "other hosts are touched"
run --uninstall || wrong "uninstall: $(cat "$T/err")"
[ ! -e "$C" ] && [ ! -e "$NEFIA_HOME/ssh_config" ] || wrong "something is left"

# an existing file: byte for byte, its mode, idempotent
printf 'Host a\r\n  User x\n\n# end without a newline' >"$C"
chmod 640 "$C"
cp "$C" "$T/before"
run --install && run --install || wrong "install into a file: $(cat "$T/err")"
[ "$(grep -c '^Include' "$C")" = 1 ] || wrong "the line stands there $(grep -c '^Include' "$C") times"
tail -n +2 "$C" | cmp -s - "$T/before" || wrong "the rest was changed"
[ "$(stat -c %a "$C")" = 640 ] || wrong "its mode was changed"
inode=$(stat -c %i "$C")
run --install
[ "$(stat -c %i "$C")" = "$inode" ] || wrong "an installed line was written again"
# moved by hand below a Host line, where it counts for that host alone
{ tail -n +2 "$C"; printf '\n'; head -1 "$C"; } >"$T/moved"
cat "$T/moved" >"$C"
run --install
[ "$(grep -n '^Include' "$C" | cut -d: -f1)" = 1 ] || wrong "a line that did not count was not moved up"
cp "$T/before" "$C"
run --install && run --uninstall || wrong "uninstall from a file: $(cat "$T/err")"
cmp -s "$C" "$T/before" || wrong "uninstall did not give the file back"

# symbolic links stay
mkdir "$T/dotfiles"
mv "$C" "$T/dotfiles/real"
ln -s dotfiles/real "$T/second"
ln -s ../second "$C"
run --install || wrong "install through links: $(cat "$T/err")"
[ -L "$C" ] && [ -L "$T/second" ] && grep -q ^Include "$T/dotfiles/real" || wrong "a link was replaced"
run --uninstall
cmp -s "$T/dotfiles/real" "$T/before" || wrong "uninstall through links"

# refused, with the reason, and unchanged
refused() { # refused WHAT REASON
	run --install && wrong "$1 was accepted"
	grep -q "E1044" "$T/err" && grep -q "$2" "$T/err" || wrong "$1: $(cat "$T/err")"
}
chmod 666 "$T/dotfiles/real"
refused "a file that others may write" "chmod 600"
rm "$T/dotfiles/real"
refused "a link to nowhere" "leads nowhere"
rm "$C" && mkdir "$C"
refused "a folder" "is no file"
rmdir "$C"
if [ "$(id -u)" != 0 ]; then
	echo 'Host a' >"$C"
	chmod 500 "$T/dot"
	refused "a folder that we may not write" "permission"
	chmod 700 "$T/dot"
	rm "$C"
fi
HOME=$T "$N" ssh-config --install >"$T/out" 2>"$T/err" && wrong "HOME is not ssh's, and it was written somewhere"
grep -q -- --ssh-config "$T/err" || wrong "another HOME: $(cat "$T/err")"
[ ! -e "$T/.ssh" ] || wrong "another HOME was written"

# many at once, and killed in between: whole, and the line there at most once
printf 'Host a\n  User x\n' >"$C"
cp "$C" "$T/before"
for i in 1 2 3 4 5 6; do "$N" ssh-config --install --ssh-config "$C" >/dev/null 2>&1 & p[i]=$!; done
kill -9 "${p[2]}" "${p[5]}" 2>/dev/null
wait 2>/dev/null
run --install || wrong "install after kills: $(cat "$T/err")"
tail -n +2 "$C" | cmp -s - "$T/before" || wrong "the file after kills: $(cat "$C")"

"$N" ssh-config --suffix 'a b' >/dev/null 2>&1 && wrong "a bad suffix"
"$N" ssh-config --host nobody >/dev/null 2>"$T/err" && wrong "an unknown host"
grep -q E1021 "$T/err" || wrong "an unknown host: $(cat "$T/err")"
exit $bad
