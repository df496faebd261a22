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

# A connection that we have half-closed, and still read from, asks after its other end as well.
edit core/tcp.c 1 \
	'$n += s{(\(\(pcb->state == ESTABLISHED\) \|\|\n\s*\(pcb->state == CLOSE_WAIT\))(\)\) \{)}{$1 || (pcb->state == FIN_WAIT_2)$2}'
# Without memory for a PCB, tcp_alloc would kill a live connection: it gets none instead.
edit core/tcp.c 3 \
	'$n += s{\n\s*tcp_kill_prio\(prio\);}{}g; $n += s{\n\s*tcp_kill_state\((?:LAST_ACK|CLOSING)\);}{}g'
# A TCP option cut off at the end of the option area was read past it (upstream 3d896ba): those bytes are 0 now.
edit core/tcp_in.c 1 \
	'$n += s{(  u16_t optidx = tcp_optidx\+\+;\n)}{$1  if (optidx >= tcphdr_optlen) {\n    return 0;\n  }\n}'

# After each segment that came, lwIP sends what it may: we do it once for a batch (net_lwip_input_done).
edit core/tcp_in.c 1 \
	'$n += s{(/\* Try to send something out\. \*/\n\s*)tcp_output\(pcb\);}{$1net_lwip_input_done(pcb);}'
# Congestion control and loss recovery are ours (netstack/loss.c): lwIP only keeps the queues and the timer.
edit core/tcp_in.c 1 \
	'$n += s{if \(pcb->dupacks > 3\) \{.*?tcp_rexmit_fast\(pcb\);\s*\}}{}s'
edit core/tcp_in.c 1 \
	'$n += s{(variables \(cwnd and\s+ssthresh\)\. \*/\s+if \()pcb->state >= ESTABLISHED\)}{${1}0)}'
