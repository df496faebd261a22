#!/usr/bin/env bash
# lwip-edit.sh DIR - our changes to lwIP's sources at build time. Each fails when its place is not found.
set -euo pipefail
cd "$1/src"

# edit FILE COUNT PERL-EXPRESSION: the substitution must happen exactly COUNT times
edit() {
	perl -0pi -e "my \$n = 0; $3; if (\$n != $2) { print STDERR \"lwip-edit: $1: \$n places instead of $2\\n\"; exit 1 }" "$1"
}

# tcp_output walks the whole list of unacknowledged segments at every call: keep its tail instead.
edit include/lwip/tcp.h 1 \
	'$n += s{(  struct tcp_seg \*unacked;[^\n]*\n)}{$1  struct tcp_seg *unacked_tail; /* last of unacked; valid while unacked is not NULL */\n}'
edit core/tcp_out.c 1 \
	'$n += s{for \(; useg->next != NULL; useg = useg->next\);}{useg = pcb->unacked_tail;}'
edit core/tcp_out.c 2 \
	'$n += s{(pcb->unacked = seg;\n\s*useg = seg;)}{$1\n          pcb->unacked_tail = seg;}; $n += s{(useg->next = seg;\n\s*useg = useg->next;)}{$1\n            pcb->unacked_tail = useg;}'
