#!/bin/bash
# What nefia-agent refuses: exit 2 for a wrong call, 1 for what is missing, each with the thing and the next step by name.
cd "$(dirname "$0")/../../.." || exit 1
B=$(cd "${BUILD:-build}" && pwd)
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
bad=0
says() { # says STATUS TEXT -- WORD...: the status, TEXT on standard error, nothing on standard output
	local status=$1 text=$2 out err r
	shift 3
	out=$(HOME=$T timeout 10 "$B/nefia-agent" "$@" 2>"$T/err" </dev/null)
	r=$?
	err=$(cat "$T/err")
	[ $r = "$status" ] && [ -z "$out" ] && case "$err" in *"$text"*) true ;; *) false ;; esac ||
		{ echo "'$*': exit $r, '$out', '$err'; expected $status, '$text'"; bad=1; }
}
says 2 "there is no command 'wol'; see 'nefia-agent --help'" -- wol
says 2 "there is no command '--zzz'" -- --zzz
says 2 "there is no command 'wol'" -- help wol
says 2 "there is no command 'wol'" -- wol --help
for words in "" run enroll; do
	[ "$("$B/nefia-agent" help $words)" = "$("$B/nefia-agent" $words --help)" ] || { echo "help $words is not what --help says"; bad=1; }
done
says 2 "unrecognized option '--zzz'" -- run --zzz
says 2 "'run' takes no argument 'extra'" -- run extra
says 2 "--log-max-size: a number from 0 to 999999 is expected, not 'x'" -- run --log-max-size x
says 2 "--log-level must be debug, info, warn or error" -- run --log-level loud
says 2 "--config needs a path" -- run --config
says 2 "a token is needed: --token-file FILE" -- enroll
says 2 "exclude each other" -- enroll --token a --token-file b
says 2 "--listen-port: a port from 1 to 65535 is expected, not 'x'" -- enroll --token a --listen-port x
says 2 "--listen-port: a port from 1 to 65535 is expected, not '65536'" -- enroll --token a --listen-port 65536
says 2 "'enroll' takes no argument 'eyJo'; the token comes by --token-file" -- enroll --token-file - eyJo
says 2 "'status' does not know '--zzz'" -- status --zzz
says 2 "nobody can be asked here: give --yes" -- uninstall-service
says 1 "Try: nefia-agent enroll --token-file -" -- run
says 1 "$T/none: not found" -- run --config "$T/none"
says 1 "Try: Check the path and its permissions" -- enroll --token-file "$T/none"
says 1 "Try: Copy the full token again." -- enroll --token nonsense
says 1 "no health report there. Is the agent running" -- status
says 1 '{"error":{"file":"'"$T/.nefia/agent-health.json"'","message":"no health report there","try":"' -- status --json

# a user of a container: no HOME, and in no user database
stranger() { env -i setpriv --reuid 64877 --regid 64877 --clear-groups -- "$B/nefia-agent" "$@" </dev/null; }
if [ "$(id -u)" = 0 ] && ! getent passwd 64877 >/dev/null && stranger --version >/dev/null 2>&1; then
	for c in run status install-service "enroll --token x"; do
		stranger $c >"$T/out" 2>&1 && { echo "$c without a home succeeded"; bad=1; }
		grep -q 'HOME is not set' "$T/out" && grep -q -- '--config PATH' "$T/out" || { echo "$c without a home: $(cat "$T/out")"; bad=1; }
	done
	stranger run --config "$T/none" 2>&1 | grep -q "$T/none: " || { echo "a named file without a home"; bad=1; }
	stranger keygen | grep -q '^Public key: ' || { echo "keygen without a home"; bad=1; }
fi
exit $bad
