#!/usr/bin/env bash
# lint.sh - the rules between folders: who may include whom, where foreign headers may stand, what the pure
# core may call. Prints each breach; exit status 1 when there is one.
set -uo pipefail
cd "$(dirname "$0")/.."
B=${B:-build}
bad=0
complain() { echo "lint: $*"; bad=1; }

# may FOLDER ALLOWED...: includes of our own headers from FOLDER
may() {
	local from=$1 line dir
	shift
	compgen -G "$from/*.[ch]" >/dev/null || return 0
	while IFS= read -r line; do
		dir=$(sed -n 's/.*#include "\([a-z]*\)\/.*/\1/p' <<<"$line")
		case " $from lwip $* " in *" $dir "*) ;; *) complain "$line: $from/ may not include $dir/" ;; esac
	done < <(grep -nHE '^#include "[a-z]+/' "$from"/*.[ch])
}
may base
for f in os wg netstack transport; do may $f base; done
may netstack/stock base netstack
may enroll base wg # the Noise handshake and the hashes, nothing of the device
may ssh base os # the worker is a process with a loop of its own
LOW="base os wg netstack transport enroll"
may tunnel $LOW
may agent $LOW tunnel
may operator $LOW ssh tunnel agent
may lib $LOW ssh tunnel operator
# The library's users have its one header, and nothing else of ours.
for f in lib/nefia.h lib/examples/*.c; do
	if own=$(grep -nE '^#include "' "$f" | grep -v '"nefia.h"'); then complain "$f: $own: only nefia.h is public"; fi
done

# fence HEADER-REGEX ALLOWED...: a foreign header only in these folders
fence() {
	local header=$1 line
	shift
	while IFS= read -r line; do
		case " $* " in *" ${line%%/*} "*) ;; *) complain "$line: foreign header outside of: $*" ;; esac
	done < <(grep -nHE "^#include [<\"]$header" {base,os,wg,netstack,transport,enroll,ssh,tunnel,agent,operator,lib}/*.[ch] 2>/dev/null)
}
fence 'lwip/' netstack
fence 'libssh2' ssh
fence 'uv\.h' os
fence 'sodium\.h' base wg enroll netstack tunnel agent operator # keys, base64, wiping; never os/ or ssh/
fence 'jansson' base enroll operator agent lib
fence 'yaml\.h' base

# The WireGuard core is a machine without I/O: no socket, clock, randomness or output of its own.
if [ -f "$B/libwg.a" ]; then
	nm -u "$B/libwg.a" | sed -n 's/^ *U //p' | sort -u | grep -xE \
		'(socket|bind|connect|send|sendto|sendmsg|sendmmsg|recv|recvfrom|recvmsg|recvmmsg|open|openat|fopen|read|write|poll|select|epoll_.*|time|gettimeofday|clock_gettime|getrandom|getentropy|random|rand|printf|fprintf|puts|__printf_chk|__fprintf_chk|fork|system|sleep|usleep|nanosleep|getenv)' |
		sed "s,^,lint: wg/ calls ," >"$B/wg-calls"
	[ ! -s "$B/wg-calls" ] || { cat "$B/wg-calls"; bad=1; }
fi

# Nothing may lean on what is outside of the repository.
if out=$(git grep -nE '\.\./shared' -- ':!test/lint.sh' 2>/dev/null) && [ -n "$out" ]; then
	complain "outside reference: $out"
fi

# Report only: functions of more than 60 lines.
awk 'FNR == 1 { start = 0 } /^{/ { start = FNR } /^}/ { if (start && FNR - start > 60) print "lint: note: " FILENAME ":" start ": " FNR - start " lines"; start = 0 }' \
	{base,os,wg,netstack,transport,enroll,ssh,tunnel,agent,operator,lib}/*.c 2>/dev/null
exit $bad
