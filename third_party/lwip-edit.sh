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

# A segment that was queued while the window was shut is larger than half of the window that opens then; the next write
# met an assertion there. The segment keeps its size, and takes no more than the room that it has.
edit core/tcp_out.c 1 \
	'$n += s{    LWIP_ASSERT\("mss_local is too small"[^\n]*\n    space = (mss_local - \(([^)]*)\));\n}{    space = $2 < mss_local ? $1 : 0;\n    space = LWIP_MAX(space, pcb->unsent_oversize);\n}'

# After each segment that came, lwIP sends what it may: we do it once for a batch (net_lwip_input_done).
edit core/tcp_in.c 1 \
	'$n += s{(/\* Try to send something out\. \*/\n\s*)tcp_output\(pcb\);}{$1net_lwip_input_done(pcb);}'
# TIME_WAIT is short here (netstack/timer.c): whatever a peer sends again that takes sequence space starts it anew, not its FIN alone.
edit core/tcp_in.c 1 \
	'$n += s~(    \}\n  \} else if \()flags & TCP_FIN(\) \{\n    /\* - eighth)~${1}tcplen > 0$2~'
# Congestion control and loss recovery are ours (netstack/loss.c): lwIP only keeps the queues and the timer.
edit core/tcp_in.c 1 \
	'$n += s{if \(pcb->dupacks > 3\) \{.*?tcp_rexmit_fast\(pcb\);\s*\}}{}s'
edit core/tcp_in.c 1 \
	'$n += s{(variables \(cwnd and\s+ssthresh\)\. \*/\s+if \()pcb->state >= ESTABLISHED\)}{${1}0)}'

# Every control block has a part of ours (netstack/demux.c): allocated and freed with it.
edit include/lwip/tcp.h 1 \
	'$n += s~(  type \*next; /\* for the linked list \*/ \\\n)~$1  struct tcp_pcb **pprev; /* what points to us in that list */ \\\n~'
edit include/lwip/tcp.h 1 \
	'$n += s~(  struct tcp_seg \*unsent;[^\n]*\n)~  struct net_pcb *net;\n$1  struct tcp_seg *unsent_tail; /* last of unsent; valid while unsent is not NULL */\n~'
edit core/tcp.c 1 \
	'$n += s~(    memset\(pcb, 0, sizeof\(struct tcp_pcb\)\);\n)~$1    pcb->net = net_lwip_pcb_new(pcb);\n    if (pcb->net == NULL) {\n      memp_free(MEMP_TCP_PCB, pcb);\n      return NULL;\n    }\n~'
edit core/tcp.c 1 \
	'$n += s~(LWIP_ASSERT\("tcp_free: LISTEN", pcb->state != LISTEN\);\n)~$1  net_lwip_pcb_free(pcb->net);\n~'

# Lists that are left without a walk, and a hash of connections in place of a search through the lists.
edit include/lwip/priv/tcp_priv.h 1 \
	'$n += s~#else /\* LWIP_DEBUG \*/.*?#endif /\* LWIP_DEBUG \*/~#else /* LWIP_DEBUG */\n#define TCP_REG(pcbs, npcb) net_lwip_reg(pcbs, npcb)\n#define TCP_RMV(pcbs, npcb) net_lwip_rmv(npcb)\n#endif /* LWIP_DEBUG */~s'
edit core/tcp_in.c 1 \
	'$n += s~  prev = NULL;\n\n  for \(pcb = tcp_active_pcbs;.*?(    /\* Finally, if we still did not get a match)~  pcb = net_lwip_find(ip_data.current_input_netif, ip_current_dest_addr(), tcphdr->dest,\n                      ip_current_src_addr(), tcphdr->src);\n  if (pcb != NULL && pcb->state == TIME_WAIT) {\n    tcp_timewait_input(pcb);\n    pbuf_free(p);\n    return;\n  }\n  if (pcb == NULL) {\n$1~s'
edit core/tcp_in.c 1 \
	'$n += s~      if \(prev != NULL\) \{\n        \(\(struct tcp_pcb_listen \*\)prev\)->next = lpcb->next;.*?TCP_STATS_INC\(tcp.cachehit\);\n      \}\n~~s'

# The end of the unsent queue is kept, not sought.
edit core/tcp_out.c 1 \
	'$n += s~for \(last_unsent = pcb->unsent; last_unsent->next != NULL;\s*last_unsent = last_unsent->next\);\n\n    /\* Usable~last_unsent = pcb->unsent_tail;\n\n    /* Usable~'
edit core/tcp_out.c 1 \
	'$n += s~(    last_unsent->next = queue;\n  \}\n)~$1  if (queue != NULL) {\n    pcb->unsent_tail = prev_seg;\n  }\n~'
edit core/tcp_out.c 1 \
	'$n += s~for \(useg = pcb->unsent; useg->next != NULL; useg = useg->next\);\n    useg->next = seg;\n  \}\n~pcb->unsent_tail->next = seg;\n  }\n  pcb->unsent_tail = seg;\n~'
edit core/tcp_out.c 1 \
	'$n += s~(  seg->next = useg->next;\n  useg->next = seg;\n)~$1  if (seg->next == NULL) {\n    pcb->unsent_tail = seg;\n  }\n~'
edit core/tcp_out.c 1 \
	'$n += s~(  seg->next = pcb->unsent;\n)~$1  if (seg->next == NULL) {\n    pcb->unsent_tail = seg;\n  }\n~'
edit core/tcp_out.c 1 \
	'$n += s~(  seg->next = \*cur_seg;\n  \*cur_seg = seg;\n#if TCP_OVERSIZE\n  if \(seg->next == NULL\) \{\n)~$1    pcb->unsent_tail = seg;\n~'
# A segment that is split kept its FIN in both halves.
edit core/tcp_out.c 1 \
	'$n += s~TCPH_SET_FLAG\(useg->tcphdr, split_flags\);~TCPH_FLAGS_SET(useg->tcphdr, split_flags);~'

# While a segment is at work the next one is fetched into the caches.
edit core/tcp_out.c 1 \
	'$n += s~(    err = )(tcp_output_segment\(seg, pcb, netif\);)~    net_lwip_prefetch(seg->next);\n$1$2~'
# What netstack/ calls: one segment out, a FIN that could not be queued before.
edit core/tcp_out.c 2 \
	'$n += s~static (err_t\s+tcp_output_segment\()~$1~g'
edit core/tcp.c 2 \
	'$n += s~static (err_t\s+tcp_close_shutdown_fin\()~$1~g'

# Out-of-order segments: netstack/ooseq.c in place of walks over every one of them.
edit core/tcp_in.c 1 \
	'$n += s~        /\* We queue the segment on the ->ooseq queue. \*/\n        if \(pcb->ooseq == NULL\) \{.*?#endif /\* TCP_OOSEQ_BYTES_LIMIT \|\| TCP_OOSEQ_PBUFS_LIMIT \*/\n~        net_lwip_out_of_order(pcb, &inseg);\n~s'

# Bytes that came a second time are told as such (RFC 2883): netstack/ooseq.c sends the ACK.
edit core/tcp_in.c 1 \
	'$n += s~(    \} else \{\n      /\* The incoming segment is not within the window\. \*/\n      )tcp_send_empty_ack\(pcb\);~$1net_lwip_outside(pcb, seqno, inseg.len);~'

# An ACK whose segment is too old to tell the window leaves the window's right edge where it was; lwIP moved it along.
edit core/tcp_in.c 1 \
	'$n += s~(      pcb->dupacks = 0;\n      pcb->lastack = ackno;\n)~$1      if (TCP_SEQ_LT(pcb->snd_wl2, ackno)) {\n        u32_t edge = pcb->snd_wl2 + pcb->snd_wnd;\n        pcb->snd_wnd = TCP_SEQ_GT(edge, ackno) ? edge - ackno : 0;\n        pcb->snd_wl2 = ackno;\n      }\n~'
# An old ACK, and a segment that is sent again, tell no window of today (RFC 9293 section 3.10.7.4: SND.UNA =< SEG.ACK).
edit core/tcp_in.c 1 \
	'$n += s~if \((TCP_SEQ_LT\(pcb->snd_wl1, seqno\) \|\|.*?> pcb->snd_wnd\))\) \{~if (TCP_SEQ_GEQ(ackno, pcb->lastack) && ($1)) {~s'
edit core/tcp_in.c 1 \
	'$n += s~(\n      pcb->snd_wl1 = )seqno;~$1TCP_SEQ_LT(pcb->snd_wl1, seqno) ? seqno : pcb->snd_wl1;~'
