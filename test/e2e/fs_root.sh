#!/bin/bash
# ssh.session_root and ssh.max_file_size_bytes on every command of nefia fs
. "$(dirname "$0")/lib.sh"
setup
R=$T/root
mkdir -p "$R/sub" "$T/outside"
printf in >"$R/sub/file"
printf secret >"$T/outside/secret"
ln -s ../outside "$R/link"
ln -s /etc/passwd "$R/abs"
grep -q '^ssh:' "$NEFIA_HOME/nefia.yaml" || echo 'ssh:' >>"$NEFIA_HOME/nefia.yaml"
sed -i "/^ssh:/a\\  session_root: $R\n  max_file_size_bytes: 1000000" "$NEFIA_HOME/nefia.yaml"
start_hub

expect 0 "ls of home" nefia fs ls web:
check "is the root" equal "$OUT" "$(printf 'abs\nlink\nsub')"
expect 0 "cat inside" nefia fs cat web:sub/file
check "its bytes" equal "$OUT" in
expect 0 "a whole path inside" nefia fs cat "web:$R/sub/file"
for path in link/secret abs ../outside/secret "$T/outside/secret" sub/../../outside/secret; do
	expect 1 "cat of $path" nefia fs cat "web:$path"
	check "it says why" contains "$ERR" "ssh.session_root"
	check "nothing came" test -z "$OUT"
	expect 1 "get of $path" nefia fs get "web:$path" "$T/got"
	check "nothing is here" test ! -e "$T/got"
	[ "$path" = abs ] || expect 1 "put to $path" nefia fs put "$R/sub/file" "web:$path.new"
	expect 1 "stat of $path" nefia fs stat -L "web:$path"
done
for cmd in "ls web:link/" "ls web:.." "find web:../outside" "rm -r web:link/secret" "mkdir web:link/x" "mkdir -p web:../x/y" "mv web:sub/file web:link/x" \
	"mv web:link/secret web:x" "chmod 777 web:link/secret" "df web:link/secret"; do
	expect 1 "$cmd" nefia fs $cmd
	check "it says why" contains "$ERR" "ssh.session_root"
done
mkdir "$T/tree"
ln -s /etc "$T/tree/out"
printf x >"$T/tree/file"
expect 1 "put -r with a link that leads out" nefia fs put -r "$T/tree" web:
check "the rest is there" test -e "$R/tree/file" -a ! -e "$R/tree/out"
expect 1 "put -r into a link" nefia fs put -r "$T/tree" web:link/
expect 1 "get -rL does not follow out" nefia fs get -rL web:. "$T/followed"
check "no secret" test -z "$(grep -rl secret "$T/followed" 2>/dev/null)"
expect 0 "get -r copies links as links" nefia fs get -r web:. "$T/copied"
check "as they are" equal "$(readlink "$T/copied/link")" ../outside
check "outside is as it was" equal "$(ls "$T/outside") $(cat "$T/outside/secret") $(stat -c %a "$T/outside/secret")" "secret secret $(stat -c %a "$T/outside/secret")"
expect 0 "rm of a link" nefia fs rm web:link
check "what it led to is there" test -e "$T/outside/secret"

# The limit of the size, on every way that reads.
head -c 1000001 /dev/urandom >"$R/large"
head -c 1000000 "$R/large" >"$R/fits"
mkdir "$R/many"
cp "$R/large" "$R/many/large"
cp "$R/fits" "$R/many/fits"
for cmd in "cat web:large" "get web:large $T/large" "get --resume web:large $T/large" "get -r web:many $T/many" "get -rL web:many $T/many2"; do
	expect 1 "$cmd" nefia fs $cmd
	check "it names the limit" contains "$ERR" ssh.max_file_size_bytes
done
check "nothing of it is here" test -z "$(find "$T" -maxdepth 2 -name 'large*' ! -path "$R/*")"
check "the other is" cmp "$R/fits" "$T/many/fits"
expect 0 "get of what fits" nefia fs get web:fits "$T/fits"
check "whole" cmp "$R/fits" "$T/fits"

# Names that a host lists, on every way that asks for them.
mkdir -p "$R/wide/a" "$R/wide/b"
(cd "$R/wide" && touch $(seq 60) a/x b/x)
sed -i "s|^  session_root:|  max_list_entries: 50\n&|" "$NEFIA_HOME/nefia.yaml"
expect 0 "reload" nefia hub reload
for cmd in "ls web:wide" "ls -r web:wide" "find web:wide" "get -r web:wide $T/wide" "rm -r web:wide" "ls web:wide/[1-9]*"; do
	expect 1 "$cmd" nefia fs $cmd
	check "its code" contains "$ERR" "Error: [E1045]"
	check "the limit: $ERR" contains "$ERR" "more than 50 names were listed (ssh.max_list_entries)"
done
expect 0 "less than that" nefia fs ls web:wide/a
sed -i "s|max_list_entries: 50|max_list_entries: 0|" "$NEFIA_HOME/nefia.yaml"
expect 0 "reload" nefia hub reload
expect 0 "no limit" nefia fs rm -r web:wide
check "all is gone" test ! -e "$R/wide"

# A host may have a root of its own, or none; a change takes effect at once.
sed -i "s|^\( *\)- id: web|&\n\1  session_root: $T/outside|" "$NEFIA_HOME/nefia.yaml"
expect 0 "reload" nefia hub reload
expect 0 "another root" nefia fs ls web:
check "what is in it" equal "$OUT" secret
sed -i "s|^\(    *\)session_root: .*outside|\1session_root: /|" "$NEFIA_HOME/nefia.yaml"
expect 0 "reload" nefia hub reload
expect 0 "no root" nefia fs cat "web:$T/outside/secret"
sed -i "s|session_root: /$|session_root: relative/path|" "$NEFIA_HOME/nefia.yaml"
expect 1 "a root that is none" nefia fs ls web:
check "where" contains "$ERR" "session_root must be an absolute path"
done_all
