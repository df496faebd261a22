/*
 * netstack/link.c - slots that were read into become segments of lwIP's queue as they are.
 *
 * What tcp_write() does for copied bytes, without the copy: each whole slot is a segment with its header filled in but for what
 * is known when it leaves. They follow what is queued; a last segment there that has room keeps it empty, so only much is
 * queued like this.
 *
 * A turn of a short path is more than the first cache holds, so what leaves is fetched a segment ahead: the checksum, the first to
 * look at it, would wait for each line otherwise. What is no slot has other things behind it, and is left alone.
 */
#include "netstack/slot.h"

#define WORTH 8 /* segments */

static void build(const struct tcp_pcb *pcb, struct net_slot *s, uint32_t seq, uint16_t len, bool push)
{
	struct pbuf *p = net_slot_pbuf(s, len);
	struct tcp_hdr *h;

	ASSERT(p && pbuf_add_header(p, TCP_HLEN) == 0);
	h = p->payload;
	s->seg = (struct tcp_seg){ .p = p, .len = len, .tcphdr = h };
	h->src = lwip_htons(pcb->local_port);
	h->dest = lwip_htons(pcb->remote_port);
	h->seqno = lwip_htonl(seq);
	h->urgp = 0;
	TCPH_HDRLEN_FLAGS_SET(h, TCP_HLEN / 4, push ? TCP_PSH : 0);
}

static void append(struct tcp_pcb *pcb, struct tcp_seg *first, struct tcp_seg *last)
{
	if (pcb->unsent)
		pcb->unsent_tail->next = first;
	else
		pcb->unsent = first;
	pcb->unsent_tail = last;
	pcb->unsent_oversize = 0;
}

size_t net_slots_link(struct net_tcp *c, struct net_slot *const *slots, size_t len)
{
	struct tcp_pcb *pcb = c->pcb;
	uint16_t size = net_seg_size(pcb);
	size_t n = len / size;

	/* A slot holds a full segment: small ones would take many times their bytes. */
	if (n < WORTH || size < TCP_MSS / 2 || net_slots_are_wasted() || len > pcb->snd_buf || pcb->snd_queuelen + NET_SLOT_BUFFERS * n > TCP_SND_QUEUELEN)
		return 0;
	for (size_t i = 0; i < n; i++) {
		build(pcb, slots[i], pcb->snd_lbb + (uint32_t)(i * size), size, (i + 1) * size == len);
		if (i > 0)
			slots[i - 1]->seg.next = &slots[i]->seg;
	}
	append(pcb, &slots[0]->seg, &slots[n - 1]->seg);
	pcb->snd_lbb += (uint32_t)(n * size);
	pcb->snd_buf -= (tcpwnd_size_t)(n * size);
	pcb->snd_queuelen = (uint16_t)(pcb->snd_queuelen + NET_SLOT_BUFFERS * n);
	net_room_take(c, n * size);
	return n;
}

void net_lwip_prefetch(const void *seg)
{
	const struct net_slot_mark *mark = seg;
	const struct net_slot *s;

	if (!seg || mark[-1].step != MEM_OF_SLOT)
		return;
	s = container_of((const struct tcp_seg *)seg, struct net_slot, seg);
	for (size_t off = 0; off < sizeof(*s); off += 64)
		__builtin_prefetch((const uint8_t *)s + off);
	for (size_t off = 0; off < net_slot_size(s); off += 64)
		__builtin_prefetch(net_slot_payload(s) + off);
}
