#!/bin/bash
# The known defects of libssh2: those that are closed by its version have their patch in what we build; those that are closed by
# not using the part are not in the program. doc/ssh.md tells the whole list.
cd "$(dirname "$0")/../../.." || exit 1
B=${BUILD:-build}
bad=0
src=$(sed -n 's/^LIBSSH2_VERSION := //p' third_party/libssh2.mk)
dir=build/src/libssh2-$src
[ "$(printf '%s\n' 1.11.1 "$src" | sort -V | head -1)" = 1.11.1 ] || { echo "libssh2 $src is older than strict key exchange"; bad=1; }
for cve in CVE-2025-15661 CVE-2026-7598 CVE-2026-55199 CVE-2026-55200 CVE-2026-58050 CVE-2026-58051 \
	CVE-2026-66032 CVE-2026-66033 CVE-2026-66034 CVE-2026-66035; do
	grep -q "^$cve.patch" "$dir/debian/patches/series" || { echo "the sources have no patch for $cve"; bad=1; }
	grep -q "$cve" doc/ssh.md || { echo "doc/ssh.md does not name $cve"; bad=1; }
done
if used=$(nm "$B/nefia" | grep -E ' [TtDd] libssh2_(sftp|scp|publickey|agent|knownhost)'); then
	echo "parts of libssh2 that are not to be in the program: $used"
	bad=1
fi
# What the edits do is in the sources that were built.
grep -q 'exit_status = -1' "$dir/src/channel.c" || { echo "a missing exit status would be success"; bad=1; }
# No call of ours logs in by password; only forwards that a person asks for open a listener.
if grep -nE 'libssh2_(userauth_(password|keyboard|hostbased)|sftp|scp|publickey)' ssh/*.c ||
	grep -nE 'libssh2_channel_forward' ssh/*.c | grep -v '^ssh/listen\.c:'; then
	echo "a part of libssh2 is used whose defects doc/ssh.md says cannot reach us"
	bad=1
fi
exit $bad
