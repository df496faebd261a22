#!/bin/bash
# test/e2e/run.sh [NAME...] - run the end-to-end tests, each with its time. Exit 0 when none failed.
HERE=$(cd "$(dirname "$0")" && pwd)
all=$(cd "$HERE" && ls -- *.sh | sed 's/\.sh$//' | grep -vxE 'lib|run|drop')
names=${*:-${E2E_ONLY:-$all}}
failed=0
for name in $names; do
	begin=$(date +%s%3N)
	bash "$HERE/$name.sh"
	status=$?
	printf '%-10s %s %d ms\n' "$name" "$(case $status in 0) echo ok ;; 77) echo skipped ;; *) echo FAILED ;; esac)" \
		$(($(date +%s%3N) - begin))
	[ $status -eq 0 ] || [ $status -eq 77 ] || failed=1
done
exit $failed
