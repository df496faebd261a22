#!/bin/bash
# nefia fs: looking and changing (ls, cat, rm, mkdir, mv, stat, chmod, df, find), whole files both ways, names of all kinds
. "$(dirname "$0")/lib.sh"
setup
start_hub
R=$T/far
mkdir "$R"
head -c 8000000 /dev/urandom >"$T/src"
expect 0 "put" nefia fs put "$T/src" "web:$T/dst"
check "put is whole" cmp "$T/src" "$T/dst"
expect 0 "get" nefia fs get "web:$T/dst" "$T/again"
check "get is whole" cmp "$T/src" "$T/again"
: >"$T/empty"
expect 0 "put of an empty file" nefia fs put "$T/empty" "web:$T/empty2"
check "it is there and empty" test -e "$T/empty2" -a ! -s "$T/empty2"
expect 0 "get of an empty file" nefia fs get "web:$T/empty2" "$T/empty3"
check "it is here and empty" test -e "$T/empty3" -a ! -s "$T/empty3"
chmod 640 "$T/src"
expect 0 "put again replaces" nefia fs put "$T/src" "web:$T/dst"
check "replaced" cmp "$T/src" "$T/dst"
expect 1 "get of a missing file" nefia fs get "web:$T/no-such" "$T/never"
check "its code" contains "$ERR" "Error: [E1042]"
check "no half file stays" test -z "$(ls "$T" | grep -e never -e part)"
expect 1 "put of a missing file" nefia fs put "$T/no-such" "web:$T/never"
expect 1 "put into a missing folder" nefia fs put "$T/src" "web:/proc/never/there"
check "it says why" contains "$ERR" Error:
expect 0 "a file that does not say its size" nefia fs cat web:/proc/self/status
check "it is read" contains "$OUT" "Name:"
expect 2 "no host" nefia fs ls "$T"

expect 2 "get from host to host" nefia fs get "web:$T/dst" "web:$T/dst2"
check "it says how" contains "$ERR" "copied between two by get and put"

# What is no file stays what it is: a copy would take its place.
mkfifo "$T/pipe"
mkdir "$T/pipes"
mkfifo "$T/pipes/src"
expect 1 "get to a pipe" nefia fs get "web:$T/dst" "$T/pipe"
check "it says what to do" contains "$ERR" "nefia fs cat HOST:PATH >"
expect 1 "get into a folder with a pipe of that name" nefia fs get "web:$T/src" "$T/pipes"
expect 1 "put to a pipe" nefia fs put "$T/src" "web:$T/pipe"
check "it says why" contains "$ERR" "device or a pipe"
check "both are pipes" test -p "$T/pipe" -a -p "$T/pipes/src" -a -z "$(ls "$T" "$T/pipes" | grep part)"

# Looking.
mkdir "$R/dir" "$R/.hidden"
printf 12345 >"$R/a.txt"
printf 1 >"$R/b.txt"
printf 1 >"$R/dir/c.txt"
printf 1 >"$R/.dot"
ln -s dir "$R/link"
ln -s nowhere "$R/dangling"
chmod 4751 "$R/b.txt"
touch -d '2001-02-03 04:05' "$R/a.txt"
expect 0 "ls" nefia fs ls "web:$R"
check "its names, sorted" equal "$OUT" "$(printf 'a.txt\nb.txt\ndangling\ndir\nlink')"
expect 0 "ls -a" nefia fs ls -a "web:$R"
check "names with a dot in front" contains "$OUT" .hidden
expect 0 "ls -l" nefia fs ls -l "web:$R"
check "mode, size, time" grep -qE "^-rw-r--r-- +[0-9]+ +[0-9]+ +5 2001-02-03 04:05 a.txt$" <<<"$OUT"
check "special bits" contains "$OUT" "-rwsr-x--x"
check "where links lead" contains "$OUT" "link -> dir"
expect 0 "ls of a link to a folder" nefia fs ls "web:$R/link"
check "what is in it" equal "$OUT" c.txt
expect 0 "ls -l of a link" nefia fs ls -l "web:$R/link"
check "the link itself" contains "$OUT" "-> dir"
expect 0 "ls -d" nefia fs ls -d "web:$R/dir"
check "the folder itself" equal "$OUT" "$R/dir"
expect 0 "ls of several" nefia fs ls "web:$R/a.txt" "web:$R/dir"
check "with headings" equal "$OUT" "$(printf '%s\n\n%s:\nc.txt' "$R/a.txt" "$R/dir")"
expect 0 "ls -r" nefia fs ls -r "web:$R"
check "everything below" contains "$OUT" dir/c.txt
check "nothing that is hidden" equal "$(grep -c hidden <<<"$OUT")" 0
expect 0 "ls --json" nefia fs ls --json "web:$R"
check "an object a line" equal "$(wc -l <<<"$OUT")" 5
check "of this form" contains "$OUT" "\"path\":\"$R/a.txt\",\"type\":\"file\",\"mode\":\"0644\",\"size\":5"
check "with targets" contains "$OUT" '"target":"dir"'
expect 1 "ls of what is not there" nefia fs ls "web:$R/none"
expect 0 "home" nefia fs ls -d web:
expect 0 "home by its name" nefia fs stat "web:~"
check "is a folder" contains "$OUT" "type:  dir"
expect 0 "stat" nefia fs stat "web:$R/b.txt"
check "mode" contains "$OUT" "mode:  4751"
expect 0 "stat of a link" nefia fs stat "web:$R/dangling"
check "its target" contains "$OUT" "dangling -> nowhere"
expect 0 "stat -L" nefia fs stat -L "web:$R/link"
check "what it leads to" contains "$OUT" "type:  dir"
expect 1 "stat -L of a dangling link" nefia fs stat -L "web:$R/dangling"
expect 0 "df" nefia fs df "web:$R"
check "its heading" contains "$OUT" Avail
expect 0 "df --json" nefia fs df --json "web:$R"
check "numbers" grep -qE '"avail":[0-9]+' <<<"$OUT"
expect 0 "find" nefia fs find "web:$R"
check "as find has it" equal "$(sort <<<"$OUT")" "$(find "$R" | sort)"
expect 0 "find --name --type" nefia fs find --name '*.txt' --type f "web:$R"
check "as find has it" equal "$(sort <<<"$OUT")" "$(find "$R" -name '*.txt' -type f | sort)"
expect 0 "find --max-depth" nefia fs find --max-depth 1 "web:$R"
check "as find has it" equal "$(sort <<<"$OUT")" "$(find "$R" -maxdepth 1 | sort)"
expect 0 "find --max-depth 0" nefia fs find --max-depth 0 "web:$R"
check "as find has it" equal "$OUT" "$(find "$R" -maxdepth 0)"
expect 2 "find of a type that there is not" nefia fs find --type x "web:$R"

# Patterns.
expect 0 "a pattern" nefia fs cat "web:$R/?.txt"
check "both in order" equal "$OUT" 123451
expect 0 "a pattern in the middle" nefia fs ls "web:$R/*/c.*"
check "through a link too" equal "$OUT" "$(printf '%s\n%s' "$R/dir/c.txt" "$R/link/c.txt")"
expect 1 "a pattern that matches nothing" nefia fs ls "web:$R/*.none"
check "is named" contains "$ERR" "*.none"
printf star >"$R/x*"
printf other >"$R/xy"
expect 0 "a quoted star" nefia fs cat "web:$R/x\\*"
check "is a star" equal "$OUT" star
expect 0 "--no-glob" nefia fs cat --no-glob "web:$R/x*"
check "takes it as it is" equal "$OUT" star
rm "$R"/x*

# Changing.
expect 0 "mkdir" nefia fs mkdir "web:$R/new"
expect 1 "mkdir of what is there" nefia fs mkdir "web:$R/new"
check "it says so" contains "$ERR" "is there already"
expect 0 "mkdir -p" nefia fs mkdir -p "web:$R/new/a/b" "web:$R/new"
check "made" test -d "$R/new/a/b"
expect 0 "mv" nefia fs mv "web:$R/a.txt" "web:$R/moved"
check "moved" equal "$(cat "$R/moved")" 12345
expect 0 "mv of several into a folder" nefia fs mv "web:$R/moved" "web:$R/b.*" "web:$R/new"
check "they are there" test -e "$R/new/moved" -a -e "$R/new/b.txt"
expect 1 "mv of several to what is no folder" nefia fs mv "web:$R/new/moved" "web:$R/new/b.txt" "web:$R/nothing"
printf old >"$R/old"
expect 1 "mv into a folder that is not there" nefia fs mv "web:$R/new/moved" "web:$R/nowhere/x"
check "both names are said" contains "$ERR" "moving $R/new/moved: no such file or folder (to $R/nowhere/x)"
expect 1 "mv -n" nefia fs mv -n "web:$R/new/moved" "web:$R/old"
check "left" equal "$(cat "$R/old")" old
expect 0 "mv replaces" nefia fs mv "web:$R/new/moved" "web:$R/old"
check "replaced" equal "$(cat "$R/old")" 12345
expect 0 "chmod" nefia fs chmod 600 "web:$R/old"
check "changed" equal "$(stat -c %a "$R/old")" 600
expect 0 "chmod by letters" nefia fs chmod u+x,go=r "web:$R/old"
check "changed" equal "$(stat -c %a "$R/old")" 744
mkdir -p "$R/tree/sub"
touch "$R/tree/f" "$R/tree/sub/g"
expect 0 "chmod -r" nefia fs chmod -r go-rwx,u+X "web:$R/tree"
check "all of them" equal "$(find "$R/tree" -printf '%m ' | tr ' ' '\n' | sort | uniq -c | tr -s ' \n' ' ')" " 2 600 2 700 "
expect 2 "a mode that is none" nefia fs chmod 999 "web:$R/old"
expect 0 "rm" nefia fs rm "web:$R/old"
check "gone" test ! -e "$R/old"
expect 1 "rm of what is not there" nefia fs rm "web:$R/old"
expect 0 "rm -f of what is not there" nefia fs rm -f "web:$R/old"
expect 1 "rm of a folder that is not empty" nefia fs rm "web:$R/new"
check "it says so" contains "$ERR" "a folder that is not empty: -r"
mkdir "$T/outside"
touch "$T/outside/kept"
ln -s "$T/outside" "$R/new/out"
expect 0 "rm -r" nefia fs rm -r "web:$R/new"
check "gone, and no link followed" test ! -e "$R/new" -a -e "$T/outside/kept"
expect 1 "rm -r of home" nefia fs rm -rf "web:"
for p in / . .. "$R/.."; do expect 1 "rm -r of $p" nefia fs rm -r "web:$p"; done

# Names that a terminal would obey, that shells split, that are no UTF-8.
names=("with space" $'new\nline' $'esc\e[31m' $'\xff\xfe' "-dash" "quote'\"" 'back\slash' 'täst' $'c1\xc2\x9b31m' $'bidi\xe2\x80\xaegpj')
for i in "${!names[@]}"; do
	printf "n$i" >"$T/one"
	expect 0 "put of a name" nefia fs put "$T/one" "web:$R/${names[i]}"
	check "it has that very name" equal "$(cat "$R/${names[i]}")" "n$i"
	expect 0 "get of it" nefia fs get --no-glob "web:$R/${names[i]}" "$T/back"
	check "the same" equal "$(cat "$T/back")" "n$i"
done
expect 0 "JSON" nefia fs ls --json "web:$R"
check "control characters in JSON's own form" contains "$OUT" 'new\nline'
check "bytes that are no UTF-8 in base64" contains "$OUT" "\"path_base64\":\"$(printf "$R/\xff\xfe" | base64 -w0)\""
check "other characters as they are" contains "$OUT" 'täst'
check "a CSI of Latin-1 as an escape" contains "$OUT" 'c1\u009B31m'
check "a turned line too" contains "$OUT" 'bidi\u202Egpj'
check "none of them raw" test -z "$(printf %s "$OUT" | LC_ALL=C grep -aP '\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]')"
expect 1 "an error with such a name" nefia fs ls --json "web:$R/c"$'\xe2\x80\xae\xc2\x9b'
check "no control character there either" contains "$ERR" 'far/c?????:'
expect 0 "ls into a pipe" nefia fs ls "web:$R"
check "raw bytes" contains "$OUT" $'\e[31m'
script -qec "\"$NEFIA\" fs ls \"web:$R\"" /dev/null >"$T/tty" </dev/null
check "escaped on a terminal" contains "$(cat "$T/tty")" 'esc\x1b[31m'
check "and a newline" contains "$(cat "$T/tty")" 'new\nline'
expect 0 "find -0" nefia fs find -0 --type f "web:$R"
nefia fs find -0 --type f "web:$R" | sort -z >"$T/zero"
find "$R" -type f -print0 | sort -z | check "every name, whole" cmp - "$T/zero"
expect 0 "rm of them all" nefia fs rm -r "web:$R"
check "gone" test ! -e "$R"

# What is no file stays what it is, under whatever name it is reached.
mkdir "$R"
mkfifo "$R/pipe"
ln -s pipe "$R/to-pipe"
mkdir "$T/named"
printf x >"$T/named/pipe"
for to in "$R/pipe" "$R/" "$R"; do
	expect 1 "put to $to" nefia fs put "$T/named/pipe" "web:$to"
	check "it says why" contains "$ERR" "which a copy would replace"
	check "a pipe still" test -p "$R/pipe"
done
check "nothing beside it" equal "$(ls -A "$R")" "$(printf 'pipe\nto-pipe')"
expect 1 "put to a link that leads to one" nefia fs put "$T/named/pipe" "web:$R/to-pipe"
check "both are as they were" test -p "$R/pipe" -a -L "$R/to-pipe"
mkdir "$R/pipe2"
expect 0 "put into a folder" nefia fs put "$T/named/pipe" "web:$R/pipe2"
done_all
