#!/bin/bash
# Every command and every long option that the programs tell of is in their manual page.
cd "$(dirname "$0")/../../.." || exit 1
B=${BUILD:-build}
bad=0
page_has() { # page_has PAGE WORD
	sed 's/\\-/-/g; s/Fl Fl /--/g; s/ Ns Op = Ns.*//' "doc/$1" | grep -qF -e "$2" || { echo "doc/$1 does not name $2"; bad=1; }
}
commands=$("$B/nefia" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
[ "$(wc -w <<<"$commands")" -ge 8 ] || { echo "no list of commands"; exit 1; }
for c in $commands; do
	page_has nefia.1 "Cm $c"
	for w in $("$B/nefia" "$c" --help | sed -n "s/^[U ].*nefia $c \([a-z]*\).*/\1/p" | grep -v '^$'); do page_has nefia.1 "Cm $c $w"; done
	for o in $("$B/nefia" "$c" --help | grep -oE -- '--[a-z][a-z-]+' | sort -u); do page_has nefia.1 "$o"; done
done
commands=$("$B/nefia-agent" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) *.*/\1/p' | grep .)
[ "$(wc -w <<<"$commands")" -ge 3 ] || { echo "no list of the agent's commands"; exit 1; }
for c in $commands; do
	page_has nefia-agent.1 "Cm $c"
	for o in $("$B/nefia-agent" "$c" --help | grep -oE -- '--[a-z][a-z-]+' | sort -u); do page_has nefia-agent.1 "$o"; done
done
for o in $("$B/nefia-agent" --help | grep -oE -- '--[a-z][a-z-]+' | sort -u); do page_has nefia-agent.1 "$o"; done
exit $bad
