#!/bin/bash
# nefia fs put and get of trees: contents, times, modes, links, circles, sparse files, targets, names that try to leave
. "$(dirname "$0")/lib.sh"
# Folders that may not be written to are among what is copied.
more_cleanup() { chmod -R u+rwx "$T"; }
setup
start_hub
umask 022
same() { diff -r --no-dereference "$1" "$2" && diff <(shape "$1") <(shape "$2"); }
# The times of links themselves are not carried: SFTP 3 cannot set them.
shape() { (cd "$1" && find . -mindepth 1 \( -type l -printf '%p %y %l\n' -o -printf '%p %y %m %Ts\n' \) | sort); }

S=$T/tree
mkdir -p "$S/a/b/c" "$S/empty" "$S/.dot" "$S/with space"
head -c 3000000 /dev/urandom >"$S/a/large"
for i in $(seq 200); do printf "content $i" >"$S/a/b/f$i"; done
: >"$S/a/b/c/nothing"
printf x >"$S/.dot/hidden"
printf y >"$S/with space/new
line"
printf z >"$S/$(printf 'bad\xff')"
ln -s a/large "$S/link"
ln -s a "$S/dirlink"
ln -s nowhere "$S/dangling"
ln -s /etc/passwd "$S/absolute"
chmod 750 "$S/a/b/f1"
chmod 4755 "$S/a/b/f2"
touch -d '2003-04-05 06:07:08' "$S/a/b/f3" "$S/a/large"
chmod 555 "$S/a/b"
touch -d '2002-03-04 05:06:07' "$S/empty" "$S/a/b" "$S/a"
chmod 755 "$S/a/b/f2"

expect 1 "a folder without -r" nefia fs put "$S" "web:$T/no"
check "it says what to do" contains "$ERR" "-r copies it"
expect 0 "put -r" nefia fs put -r "$S" "web:$T/far"
check "the same tree" same "$S" "$T/far"
expect 0 "get -r" nefia fs get -r "web:$T/far" "$T/near"
check "the same tree" same "$S" "$T/near"
mkdir "$T/into"
expect 0 "get -r into a folder that is there" nefia fs get -r "web:$T/far" "$T/into"
check "under its own name" same "$S" "$T/into/far"
expect 0 "get -r again, over it" nefia fs get -r "web:$T/far" "$T/into"
check "the same tree" same "$S" "$T/into/far"
expect 0 "put -r again, over it" nefia fs put -r "$S/." "web:$T/far"
check "the same tree" same "$S" "$T/far"
check "no partial file is left" test -z "$(find "$T" -name '*.part')"
mkdir "$T/dots"
expect 0 "get of what is in a folder" nefia fs get -r "web:$T/far/." "$T/dots"
check "the same tree" same "$S" "$T/dots"
expect 0 "several into one" nefia fs get "web:$T/far/a/b/f[12]" "web:$T/far/a/large" "$T/into"
check "all there" test -e "$T/into/f1" -a -e "$T/into/f2" -a -e "$T/into/large"
expect 1 "several to what is no folder" nefia fs get "web:$T/far/a/b/f[12]" "$T/none"
expect 0 "several put into one" nefia fs put "$S/a/b/f1" "$S/a/b/f2" "web:$T/into"
expect 1 "several put to what is no folder" nefia fs put "$S/a/b/f1" "$S/a/b/f2" "web:$T/none"
expect 1 "one of several is missing" nefia fs put "$S/a/b/f3" "$S/none" "web:$T/into"
check "the other is there" test -e "$T/into/f3"
expect 0 "put --json" nefia fs put --json "$S/a/b/f4" "web:$T/into"
check "an object a file" equal "$OUT" "{\"host\":\"web\",\"remote\":\"$T/into/f4\",\"local\":\"$S/a/b/f4\",\"bytes\":9}"
expect 1 "put -n" nefia fs put -n "$S/a/large" "web:$T/into/f4"
check "left" equal "$(cat "$T/into/f4")" "content 4"

# Times and modes are not kept when not wanted.
expect 0 "put --no-preserve" nefia fs put --no-preserve "$S/a/b/f3" "web:$T/fresh"
check "a new time" test "$(stat -c %Y "$T/fresh")" -gt "$(date -d 2020-01-01 +%s)"
expect 0 "get --no-preserve" nefia fs get --no-preserve "web:$S/a/b/f1" "$T/fresh2"
check "a mode by the umask" equal "$(stat -c %a "$T/fresh2")" 755
expect 0 "get of a set-uid file" nefia fs get web:/usr/bin/su "$T/su"
check "no set-uid bit comes along" equal "$(stat -c %a "$T/su")" "$(printf %o $((0$(stat -Lc %a /usr/bin/su) & 0777)))"

# Links that are named, and followed; circles.
expect 0 "get of a link" nefia fs get "web:$S/link" "$T/by-link"
check "what it leads to" cmp "$S/a/large" "$T/by-link"
expect 0 "put of a link" nefia fs put "$S/link" "web:$T/by-link2"
check "what it leads to" cmp "$S/a/large" "$T/by-link2"
rm "$S/dangling" "$S/absolute"
expect 0 "put -rL" nefia fs put -rL "$S" "web:$T/followed"
check "no link is there" test -z "$(find "$T/followed" -type l)"
check "folders behind links are" test -e "$T/followed/dirlink/b/f9"
expect 0 "get -rL" nefia fs get -rL "web:$S" "$T/followed2"
check "no link is here" test -z "$(find "$T/followed2" -type l)"
check "folders behind links are" cmp "$S/a/large" "$T/followed2/dirlink/large"
mkdir -p "$T/round/x" "$T/round/y"
ln -s ../y "$T/round/x/toy"
ln -s ../x "$T/round/y/tox"
ln -s .. "$T/round/x/up"
printf 1 >"$T/round/x/file"
expect 1 "put -rL of a circle" timeout 20 "$NEFIA" fs put -rL "$T/round" "web:$T/round2"
check "the rest is there" test -e "$T/round2/x/file" -a -e "$T/round2/y/tox/file"
expect 1 "get -rL of a circle" timeout 20 "$NEFIA" fs get -rL "web:$T/round" "$T/round3"
check "it says why" contains "$ERR" circle
check "the rest is here" test -e "$T/round3/x/file" -a -e "$T/round3/y/tox/file"
expect 0 "get -r of a circle" nefia fs get -r "web:$T/round" "$T/round4"
check "its links are links" same "$T/round" "$T/round4"

# Sparse files stay small.
truncate -s 300M "$T/sparse"
printf mid | dd of="$T/sparse" bs=1 seek=100000000 conv=notrunc 2>/dev/null
expect 0 "put of a sparse file" nefia fs put "$T/sparse" "web:$T/sparse2"
check "whole" cmp "$T/sparse" "$T/sparse2"
check "small there" test "$(du -k "$T/sparse2" | cut -f1)" -lt 1000
expect 0 "get of a sparse file" nefia fs get "web:$T/sparse2" "$T/sparse3"
check "whole" cmp "$T/sparse" "$T/sparse3"
check "small here" test "$(du -k "$T/sparse3" | cut -f1)" -lt 1000

# Links that are here already, or that the server sends, lead nobody out of the target folder.
mkdir -p "$T/evil/sub" "$T/target/evil" "$T/elsewhere"
printf pwned >"$T/evil/sub/file"
ln -s "$T/elsewhere" "$T/target/evil/sub"
expect 1 "a folder that is a link here" nefia fs get -r "web:$T/evil" "$T/target"
check "nothing went through it" test -z "$(ls "$T/elsewhere")"
printf new >"$T/evil/victim"
printf kept >"$T/elsewhere/victim"
ln -s "$T/elsewhere/victim" "$T/target/evil/victim"
nefia fs get -r "web:$T/evil/victim" "$T/target/evil" >/dev/null 2>&1
check "a link in the place of a file is replaced, not followed" equal "$(cat "$T/elsewhere/victim") $(cat "$T/target/evil/victim")" "kept new"

# What is no file.
mkfifo "$T/evil/pipe"
expect 1 "get -r with a pipe" timeout 20 "$NEFIA" fs get -r "web:$T/evil" "$T/nopipe"
check "it is named" contains "$ERR" "pipe is no file"
check "the rest is here" test -e "$T/nopipe/victim"
expect 1 "put of a pipe" timeout 20 "$NEFIA" fs put "$T/evil/pipe" "web:$T/nopipe2"

# On a terminal: how far, how fast, how long; else, and with -q, nothing.
head -c 30000000 /dev/urandom >"$T/big"
script -qec "\"$NEFIA\" fs put \"$T/big\" \"web:$T/big2\"" /dev/null >"$T/tty" </dev/null
check "a rate" grep -qE '29 MiB of 29 MiB  100 %  .*/s  in ' "$T/tty"
script -qec "\"$NEFIA\" fs put -q \"$T/big\" \"web:$T/big2\"" /dev/null >"$T/tty" </dev/null
check "-q is quiet" test ! -s "$T/tty"
expect 0 "not on a terminal" nefia fs put "$T/big" "web:$T/big2"
check "quiet" test -z "$OUT$ERR"
done_all
