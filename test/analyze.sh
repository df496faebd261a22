#!/usr/bin/env bash
# analyze.sh CPPFLAGS... - cppcheck and clang-tidy over our own C, with what is quiet where nothing is wrong: a finding is to be
# mended, or its kind left out here with the reason. (clang's path analyzer and gcc's -fanalyzer take our lists, whose nodes
# stand within what they link, for leaks and uses after free: they are worth reading by hand, not here.)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

checks='-*,bugprone-*,cert-*,misc-*,performance-*'
# Taste, or what C is not written without: parameters of one type, integers that fit, arguments that a handler does not use, arrays
# of pointers, cases alike on purpose, macros that make tables, handles in pointers, numbers of the command line in benchmarks.
for c in bugprone-{easily-swappable-parameters,narrowing-conversions,implicit-widening-of-multiplication-result,sizeof-expression} \
	bugprone-{branch-clone,macro-parentheses,assignment-in-if-condition,reserved-identifier,misplaced-widening-cast} \
	bugprone-{not-null-terminated-result,suspicious-include,integer-division,suspicious-memory-comparison} \
	misc-{unused-parameters,no-recursion,static-assert} performance-no-int-to-ptr \
	cert-{err33-c,err34-c,exp42-c,flp37-c,env33-c,dcl03-c,dcl37-c,dcl51-cpp,msc32-c,msc51-cpp}; do
	checks+=,-$c
done
# Each seen to be wrong: what a call fills in, a key of bsearch() that is compared by one field, a loop downwards.
known=(uninitvar:wg/aead.c uninitvar:agent/config.c uninitvar:enroll/decide.c legacyUninitvar:lib/examples/run.c
	arrayIndexOutOfBounds:operator/cmd_export.c)

bad=0
for d in base os wg netstack tunnel enroll ssh agent operator lib; do
	cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance --max-configs=2 --std=c11 -D_GNU_SOURCE -I. \
		-Ibuild/gen -I/usr/include "--suppress=*:/usr/include/*" --suppress=missingInclude "${known[@]/#/--suppress=}" "$d" || bad=1
	clang-tidy --quiet --checks="$checks" --warnings-as-errors='*' "$d"/*.c -- "$@" 2>/dev/null || bad=1
done
exit $bad
