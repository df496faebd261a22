#!/usr/bin/env bash
# Every function of a header that decodes, parses, loads or takes input is called by a fuzz target, or stands in test/fuzz/decoders.txt with
# the reason; every target has seeds.
cd "$(dirname "$0")/../../.." || exit 1
bad=0
complain() { echo "decoders: $*"; bad=1; }

declared=$(grep -hoE '\b[a-z][a-z0-9_]*_(decode|parse|load|input|filter|from_base64)\(' {base,os,wg,netstack,transport,enroll,tunnel,ssh,agent,operator,relay}/*.h 2>/dev/null |
	tr -d '(' | sort -u)
[ -n "$declared" ] || complain "no decoder found in the headers"
excused=$(sed -n 's/^\([a-z0-9_]*\)[[:blank:]].*/\1/p' test/fuzz/decoders.txt)
for f in $declared; do
	called=$(grep -lE "\\b$f\\(" test/fuzz/*_fuzz.c)
	listed=$(grep -xF "$f" <<<"$excused")
	[ -n "$called$listed" ] || complain "$f() has no fuzz target; write one, or say why not in test/fuzz/decoders.txt"
	[ -z "$called" ] || [ -z "$listed" ] || complain "$f() has a target: take it out of test/fuzz/decoders.txt"
done
for f in $excused; do
	grep -qxF "$f" <<<"$declared" || complain "$f is in test/fuzz/decoders.txt, but in no header"
done
for t in test/fuzz/*_fuzz.c; do
	n=$(basename "$t" _fuzz.c)
	[ -n "$(ls "test/fuzz/corpus/$n" 2>/dev/null)" ] || complain "$t has no seeds in test/fuzz/corpus/$n"
done
for d in test/fuzz/corpus/*/; do
	[ -e "test/fuzz/$(basename "$d")_fuzz.c" ] || complain "$d belongs to no target"
done
echo "$(wc -w <<<"$declared") decoders, $(ls test/fuzz/*_fuzz.c | wc -l) targets"
exit $bad
