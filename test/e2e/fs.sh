#!/bin/bash
# nefia fs put and get: whole files both ways, empty ones, missing ones
. "$(dirname "$0")/lib.sh"
setup
start_hub
head -c 8000000 /dev/urandom >"$T/src"
expect 0 "put" nefia fs put "$T/src" "web:$T/dst"
check "put is whole" cmp "$T/src" "$T/dst"
expect 0 "get" nefia fs get "web:$T/dst" "$T/again"
check "get is whole" cmp "$T/src" "$T/again"
: >"$T/empty"
expect 0 "put of an empty file" nefia fs put "$T/empty" "web:$T/empty2"
check "it is there and empty" test -e "$T/empty2" -a ! -s "$T/empty2"
chmod 640 "$T/src"
expect 0 "put again replaces" nefia fs put "$T/src" "web:$T/dst"
check "replaced" cmp "$T/src" "$T/dst"
nefia fs get "web:$T/no-such" "$T/never" >"$T/out" 2>"$T/err" && fail "get of a missing file succeeded"
check "no half file stays" test ! -e "$T/never"
nefia fs put "$T/no-such" "web:$T/never" >"$T/out" 2>"$T/err" && fail "put of a missing file succeeded"
nefia fs put "$T/src" "web:/proc/never/there" >"$T/out" 2>"$T/err" && fail "put into a missing folder succeeded"
check "it says why" contains "$(cat "$T/err")" Error:
done_all
