/*
 * netstack/window.c - how much a connection may receive ahead of its reader.
 *
 * lwIP's receive window is a constant. A connection starts with 64 KiB of it; the rest is held back, and given out as the
 * reader proves that it drains what comes: three times what it took within a round trip. (Windows only grow: bytes
 * that were offered may be on their way.) The round trip is seen from the receiving side: data beyond the right edge that was offered
 * can only come after the other side has seen a newer offer.
 *
 * On a short path (below 2 ms) the windows of all connections together stay below what a socket's receive buffer holds:
 * there is no queue on such a path that would signal, only that buffer, and what overflows it is lost.
 *
 * What lies out of order occupies units of the pool, and the segment that fills the gap needs one: when units were
 * refused, the peer that holds most loses what it has out of order (its sender still has it; RFC 2018 section 8
 * allows it), or nobody would ever go on.
 */
#include "netstack/net_internal.h"

#define WND_START 65536u
#define SHORT_PATH (2 * NSEC_PER_MSEC)
#define SHORT_PATH_BYTES (2u << 20)
#define RTT_LEAST (20 * NSEC_PER_USEC)
#define GROW 3

void net_window_hold(struct net_tcp *c)
{
	struct tcp_pcb *pcb = c->pcb;

	if (pcb->rcv_wnd <= WND_START)
		return;
	c->wnd_held = pcb->rcv_wnd - WND_START;
	pcb->rcv_wnd = WND_START;
	pcb->rcv_ann_wnd = MIN(pcb->rcv_ann_wnd, (tcpwnd_size_t)WND_START);
	/* lwIP notes the whole window as offered by its SYN, whose field holds 65,535 at most. */
	pcb->rcv_ann_right_edge = pcb->rcv_nxt + MIN(pcb->rcv_ann_wnd, (tcpwnd_size_t)0xffff);
}

void net_window_start(struct net_tcp *c)
{
	c->wnd_max = net_g.cfg.wnd_bytes_max ? MIN(net_g.cfg.wnd_bytes_max, (uint32_t)TCP_WND) : (uint32_t)TCP_WND;
	c->wnd_max = MAX(c->wnd_max, WND_START);
	net_window_hold(c);
	/* Includes what the other side did before it answered; later samples are better. */
	c->rtt_min = MAX(net_g.now - c->rtt_since, RTT_LEAST);
	c->rtt_edge = c->pcb->rcv_ann_right_edge;
	c->rtt_since = c->drain_since = net_g.now;
}

/* Data came in order. */
void net_window_note(struct net_tcp *c)
{
	if (!TCP_SEQ_GT(c->pcb->rcv_nxt, c->rtt_edge))
		return;
	c->rtt_min = nsec_min(c->rtt_min, MAX(net_g.now - c->rtt_since, RTT_LEAST));
	c->rtt_edge = c->pcb->rcv_ann_right_edge;
	c->rtt_since = net_g.now;
}

static size_t window_limit(const struct net_tcp *c)
{
	size_t limit = c->wnd_max;

	/* A quarter of the memory for one; what is nearly used up makes no window grow. */
	limit = MIN(limit, (size_t)(net_g.cfg.mem_bytes_max / 4));
	if (net_g.stats.mem_bytes > net_g.cfg.mem_bytes_max / 4 * 3)
		return 0;
	if (c->rtt_min < SHORT_PATH)
		limit = MIN(limit, (size_t)(SHORT_PATH_BYTES / MAX(net_g.stats.n_tcp, 1u)));
	return limit;
}

/* The reader took @len bytes. Return: by how much the window grows beside that. */
size_t net_window_drained(struct net_tcp *c, size_t len)
{
	nsec_t took = net_g.now - c->drain_since;
	size_t now, want, grow;

	c->drained += len;
	if (c->wnd_held == 0 || took < c->rtt_min)
		return 0;
	now = TCP_WND - c->wnd_held;
	want = (size_t)((double)c->drained * (double)c->rtt_min / (double)took * GROW);
	c->drained = 0;
	c->drain_since = net_g.now;
	want = MIN(want, window_limit(c));
	if (want <= now)
		return 0;
	grow = MIN(want - now, c->wnd_held);
	c->wnd_held -= grow;
	return grow;
}

static const struct pktowner *holder(const struct tcp_pcb *pcb)
{
	struct pbuf *p = pcb->ooseq ? pcb->ooseq->p : NULL;
	const struct pktbuf *pb;

	if (!p || !(p->flags & PBUF_FLAG_IS_CUSTOM))
		return NULL;
	pb = container_of((uint8_t(*)[PKTBUF_PRIV])p, struct pktbuf, priv);
	return pb->owner;
}

void net_window_relieve(void)
{
	const struct pktowner *most = NULL;
	struct pktpool_stats s;

	if (!net_g.cfg.pool)
		return;
	pktpool_get_stats(net_g.cfg.pool, &s);
	if (s.n_refused == net_g.n_refused_seen)
		return;
	net_g.n_refused_seen = s.n_refused;
	for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next) {
		const struct pktowner *o = holder(pcb);

		if (o && (!most || o->n_units > most->n_units))
			most = o;
	}
	for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb && most; pcb = pcb->next) {
		if (holder(pcb) != most)
			continue;
		tcp_free_ooseq(pcb); /* and the SACKs that tell of it */
		net_g.stats.n_reneged++;
	}
}
