#!/bin/bash
# An operator moves to another machine: the old one is retired, the new one reaches the hosts at once.
. "$(dirname "$0")/lib.sh"
TEST_NAME=export
setup
expect 0 "exec before" nefia exec --target web -- echo here
wait_until 3 test ! -S "$NEFIA_HOME/run/hub.sock"
echo 'correct horse' >"$T/pass"
echo 'wrong horse' >"$T/wrong"
echo short >"$T/short"

start_hub
expect 1 "not under a running hub" nefia export "$T/moved" --passphrase-file "$T/pass"
check "not under a running hub" contains "$ERR" E1012
stop_pid "$HUB_PID"
expect 2 "a short passphrase" nefia export "$T/moved" --passphrase-file "$T/short"
expect 1 "a file that cannot be" nefia export "$T/no/such/folder" --passphrase-file "$T/pass"
check "nothing is retired by a failure" test -f "$NEFIA_HOME/nefia.yaml"
if [ "$(id -u)" != 0 ]; then
	chmod 000 "$NEFIA_HOME/known_hosts"
	expect 1 "host keys that cannot be read" nefia export "$T/moved" --passphrase-file "$T/pass"
	check "which file: $ERR" contains "$ERR" "$NEFIA_HOME/known_hosts: permission denied"
	check "nothing is left behind" test -f "$NEFIA_HOME/nefia.yaml" -a ! -e "$T/moved"
	chmod 600 "$NEFIA_HOME/known_hosts"
fi
expect 0 "export" nefia export "$T/moved" --passphrase-file "$T/pass"
check "mode" equal "$(stat -c %a "$T/moved")" 600
check "no key in it" equal "$(grep -c private_key "$T/moved")" 0
expect 255 "the old one is retired" nefia exec --target web -- true
check "the old one is retired" test ! -f "$NEFIA_HOME/nefia.yaml" -a -f "$NEFIA_HOME/nefia.yaml.retired"

cp "$NEFIA_HOME/nefia.yaml.retired" "$T/first"
sed 's/^version: 1$/&\n# another/' "$T/first" >"$NEFIA_HOME/nefia.yaml" && chmod 600 "$NEFIA_HOME/nefia.yaml"
expect 0 "export of another" nefia export "$T/moved2" --passphrase-file "$T/pass"
check "it names the file: $OUT" contains "$OUT" nefia.yaml.retired.2
check "the first one's stays" cmp "$T/first" "$NEFIA_HOME/nefia.yaml.retired"
check "the second's beside it" grep -q '^# another' "$NEFIA_HOME/nefia.yaml.retired.2"

old=$NEFIA_HOME
export NEFIA_HOME=$T/new
expect 1 "another passphrase" nefia import "$T/moved" --passphrase-file "$T/wrong"
check "another passphrase" contains "$ERR" E1055
head -c 200 "$T/moved" >"$T/cut"
expect 1 "a cut file" nefia import "$T/cut" --passphrase-file "$T/pass"
expect 1 "no export at all" nefia import "$T/id.pub" --passphrase-file "$T/pass"
check "nothing was made" test ! -e "$NEFIA_HOME/nefia.yaml"
expect 0 "import" nefia import "$T/moved" --passphrase-file "$T/pass"
check "the same file" cmp "$NEFIA_HOME/nefia.yaml" "$old/nefia.yaml.retired"
check "mode" equal "$(stat -c %a "$NEFIA_HOME/nefia.yaml")" 600
expect 0 "exec after" nefia exec --target web -- echo there
check "exec after" equal "$OUT" there
expect 1 "import twice" nefia import "$T/moved" --passphrase-file "$T/pass"
check "import twice" contains "$ERR" E1005
done_all
