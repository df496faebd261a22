#!/bin/bash
# What the tables of commands and options refuse, and what is named as probably meant.
cd "$(dirname "$0")/../../.." || exit 1
B=$(cd "${BUILD:-build}" && pwd)
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export NEFIA_HOME=$T/home
bad=0
refused() { # refused TEXT -- WORD...: exit 2, TEXT on standard error, nothing on standard output
	local text=$1 out err r
	shift 2
	out=$("$B/nefia" "$@" 2>"$T/err")
	r=$?
	err=$(cat "$T/err")
	[ $r = 2 ] && [ -z "$out" ] && case "$err" in *"$text"*) true ;; *) false ;; esac ||
		{ echo "'$*': exit $r, '$out', '$err'; expected '$text'"; bad=1; }
}
refused "no command 'exce'; did you mean 'exec'" -- exce
refused "no command 'hots'; did you mean 'host'" -- hots list
refused "no command 'qqqqqqqq'; see" -- qqqqqqqq
refused "no command 'status'; did you mean 'vpn status'" -- status
refused "no command 'hots'; did you mean 'host'" -- help hots
refused "nefia host: there is no command 'lsit'; did you mean 'list'" -- help host lsit
for words in "" exec "host add" "fs ls"; do
	[ "$("$B/nefia" help $words)" = "$("$B/nefia" $words --help)" ] || { echo "help $words is not what --help says"; bad=1; }
done
refused "is missing: nefia exec --target web -- COMMAND" -- exec web true
refused "no command 'lsit'; did you mean 'list'" -- host lsit
refused "no command 'stpo'; did you mean 'stop'" -- hub stpo
refused "no option '--tagret'; did you mean --target" -- exec --tagret web -- true
refused "no option '--jsn'; did you mean --json" -- host list --jsn
refused "no option '--pubic-key'; did you mean --public-key" -- host add web --pubic-key=x
refused "no option '--lvie'; did you mean --live" -- vpn status --lvie
refused "no option '--fdpas'; did you mean --fdpass" -- nc --fdpas web 22
refused "no option '-z'" -- exec -z
refused "no option '--zzzzzzz'" -- forward --zzzzzzz
refused "no option '--uapi-dri'; did you mean --uapi-dir" -- wg show --uapi-dri x
refused "no option '--x'" -- init --x
refused "--target needs a value: SELECTOR" -- exec --target
refused "--json takes no value" -- host list --json=1
refused "there is no option '-x'" -- fs rm -rx web:x
refused "'x' is not HOST:PATH" -- fs rm -rf x
refused "--timeout must be a duration" -- exec --timeout=soon --target web -- true
refused "expected: add, list, show, rename or remove" -- host
refused "expected: nefia host add [OPTION]... NAME" -- host add
refused "'y' is one argument too many" -- host show x y

# what would break a line of the configuration, or could be named by no selector, is refused where it was typed
refused "--group cannot have a comma or a control character in it" -- host add x --group $'a\nb'
refused "--group cannot have a comma" -- host add x --group a,b
refused "--tag cannot have a comma or a control character in it" -- host add x --tag good --tag $'\xff'
refused "--user and --identity cannot have a control character in them" -- host add x --user $'r\x1b[31m'
refused "--user and --identity cannot" -- host add x --identity $'~/.ssh/id\n'
refused "'now' is one argument too many" -- hub stop now
refused "expected: nefia fs put [OPTION]... LOCAL... HOST:[PATH]" -- fs put x
refused "a command is missing" -- exec --target web
refused "--target SELECTOR is missing" -- exec -- true
refused "-p must be a number from 1 to 1000" -- exec -p 0 -t web -- true
refused "expected: bash, zsh or fish" -- completion
refused "'x' is one argument too many" -- version x

# what is set by wg is looked at before anybody is asked; what is in a key's file is shown to nobody
refused "expected: nefia wg set" -- wg set nobody
refused "'65536' is not a port: 0 to 65535" -- wg set nobody listen-port 65536
refused "is not a port" -- wg set nobody listen-port $'1\nfoo=bar'
KEY=$(head -c 32 /dev/zero | base64)
refused "'70000' is not off, or seconds" -- wg set nobody peer "$KEY" persistent-keepalive 70000
refused "'web.example:1' is not ADDRESS:PORT, in numbers" -- wg set nobody peer "$KEY" endpoint web.example:1
refused "'192.0.2.1:0' is not ADDRESS:PORT" -- wg set nobody peer "$KEY" endpoint 192.0.2.1:0
refused "'10.0.0.0/33' is not ADDRESS/LENGTH" -- wg set nobody peer "$KEY" allowed-ips 10.0.0.0/33
refused "'nonsense' is not a key" -- wg set nobody peer nonsense
refused "cannot read the key file $T/none: not found" -- wg set nobody private-key "$T/none"
refused "cannot read the key file $T: is a folder" -- wg set nobody private-key "$T"
echo "${KEY}x secret" >"$T/almost"
refused "there is no key in $T/almost" -- wg set nobody private-key "$T/almost"
! grep -q AAAA "$T/err" || { echo "it shows what is in a key's file: $(cat "$T/err")"; bad=1; }

# flags that stand together are letters, not another option; a letter is shown whole
refused "-r takes no value" -- fs rm -r- web:x
refused "-r takes no value" -- fs rm -r-force web:x
refused "there is no option '-é'" -- fs rm -é web:x
refused "there is no option '-é'" -- fs rm -ré web:x
refused "--max-depth must be a number from 0 to 2147483647" -- fs find --max-depth 99999999999 web:x
refused "there is no option '--zzz'; see 'nefia --help'" -- --zzz host list
refused "--config needs a file" -- --config
refused "--config needs a file" -- --config '' host list
refused "--config needs a file" -- --config= host list

# what is no file is not told to be closed to others: who does as told would close a folder of the system
failed() { # failed TEXT -- WORD...
	local text=$1
	shift 2
	"$B/nefia" "$@" >"$T/out" 2>&1 && { echo "'$*' succeeded"; bad=1; }
	grep -qF "$text" "$T/out" && ! grep -q chmod "$T/out" || { echo "'$*': $(cat "$T/out"); expected '$text'"; bad=1; }
}
failed "/: is a folder" -- --config / host list
failed "/dev/null:1:1: a mapping with version" -- --config /dev/null host list
failed "/etc/passwd/x: a part of the path is no folder" -- --config /etc/passwd/x host list
NEFIA_HOME=/etc/passwd/x failed "/etc/passwd/x: a part of the path is no folder" -- init

# a user of a container: no HOME, and in no user database
stranger() { env -i setpriv --reuid 64877 --regid 64877 --clear-groups -- "$B/nefia" "$@" </dev/null; }
if [ "$(id -u)" = 0 ] && ! getent passwd 64877 >/dev/null && stranger version >/dev/null 2>&1; then
	for words in "init" "host list" "vpn status" "hub stop" "exec -t web -- true"; do
		stranger $words >"$T/out" 2>&1 && { echo "$words without a home succeeded"; bad=1; }
		grep -q 'E1008' "$T/out" && grep -q 'HOME is not set to an absolute path' "$T/out" && grep -q 'NEFIA_HOME' "$T/out" || { echo "$words without a home: $(cat "$T/out")"; bad=1; }
	done
	stranger version | grep -q '^nefia v' || { echo "version without a home"; bad=1; }
	stranger exec --help | grep -q '^Usage' || { echo "--help without a home"; bad=1; }
fi

# What is asked as JSON is answered as JSON, errors too.
for words in "host list --json" "host show x --json" "vpn status --json" "exec --json -t x -- true" "fs ls --json x:" "fs stat --json x:y" \
	"forward --json x 0:localhost:22"; do
	NEFIA_HOME=$T/none "$B/nefia" $words >"$T/out" 2>"$T/err" && { echo "$words without a configuration succeeded"; bad=1; }
	[ ! -s "$T/out" ] && grep -q '^{"error":{"code":"E1001",.*"try":".*"}}$' "$T/err" || { echo "$words: $(cat "$T/err")"; bad=1; }
done

for c in $("$B/nefia" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'); do
	"$B/nefia" "$c" --help | grep -q "nefia $c" || { echo "no help for $c"; bad=1; }
done
"$B/nefia" hub --help | grep -qE -- '--transient|--report-fd' && { echo "hub shows options of our own"; bad=1; }
NEFIA_HOME=$T/none "$B/nefia" exec --target web ls -h >"$T/out" 2>&1
grep -q Usage "$T/out" && { echo "exec takes the -h of the command it runs"; bad=1; }
"$B/nefia" exec --target web --help | grep -q -- '--timeout' || { echo "exec --help after an option"; bad=1; }
for a in -tweb --target=web '-t web'; do # the same three ways; the host is not there
	NEFIA_HOME=$T/none "$B/nefia" exec $a -- true 2>&1 | grep -q E1001 || { echo "exec $a"; bad=1; }
done
"$B/nefia" host add x --help | grep -q 'Usage: nefia host add ' || { echo "help of a small word"; bad=1; }
"$B/nefia" --version | grep -q '^nefia v' || { echo "--version"; bad=1; }
exit $bad
