/*
 * netstack/window.c - how much a connection may receive ahead of its reader.
 *
 * lwIP's receive window is a constant. A connection starts with 64 KiB of it; the rest is held back, and given out as the
 * reader proves that it drains what comes: three times what it took within a round trip. (Windows only grow: bytes
 * that were offered may be on their way.) The round trip is seen from the receiving side: data beyond the right edge that was offered
 * can only come after the other side has seen a newer offer.
 *
 * On a short path (below 2 ms, and taken for that long) the windows of all connections that drain much, together, stay below SHORT_PATH_BYTES: there is no
 * queue on such a path that would signal, only the socket's receive buffer, and what overflows it is lost. Each has an
 * equal share, and who has more gives it up as its reader drains. So that a window takes a whole turn of a sender (room.c),
 * a share is SHARE_LEAST at least, as long as all shares stay below SHARES_BYTES. How far away the other side is, is known for
 * its address, from the least round trip of all its connections until the path changes: under load each round trip looks
 * longer, by what these very windows hold.
 *
 * A peer may come from another address with every packet. So that no walk over its connections follows, a path has a number,
 * and what was learned holds for the one that it was learned on.
 */
#include "netstack/net_internal.h"

#define WND_START 65536u
#define SHORT_PATH (2 * NSEC_PER_MSEC)
#define SHORT_PATH_BYTES (2u << 20)
#define SHARE_LEAST (256u << 10) /* on a short path, as long as all together stay below SHARES_BYTES */
#define SHARES_BYTES (8u << 20)
#define BUSY_SPAN (20 * NSEC_PER_MSEC)
#define BUSY_BYTES 16384 /* in a span: it drains much */
#define MANY 4 /* that drain much */
#define MUCH (5u << 20) /* of all in a span: 2 Gb/s */
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

static void note_rtt(struct net_tcp *c, nsec_t rtt)
{
	struct net_share *s = c->share;

	c->rtt_min = nsec_min(c->rtt_min, MAX(rtt, RTT_LEAST));
	s->rtt_min = s->path == c->nif->path ? nsec_min(s->rtt_min, c->rtt_min) : c->rtt_min;
	s->path = c->nif->path;
}

/* Another path since the last look? The sample under way began on the old one. */
static void look_at_path(struct net_tcp *c)
{
	if (c->path == c->nif->path)
		return;
	c->path = c->nif->path;
	c->rtt_min = NSEC_NEVER;
	c->rtt_edge = c->pcb->rcv_ann_right_edge;
	c->rtt_since = net_g.now;
}

void net_window_start(struct net_tcp *c)
{
	net_window_hold(c);
	c->rtt_min = NSEC_NEVER;
	c->path = c->nif->path;
	/* Includes what the other side did before it answered; later samples are better. */
	note_rtt(c, net_g.now - c->rtt_since);
	c->rtt_edge = c->pcb->rcv_ann_right_edge;
	c->rtt_since = c->drain_since = net_g.now;
}

/* Data came in order. */
void net_window_note(struct net_tcp *c)
{
	look_at_path(c);
	if (!TCP_SEQ_GT(c->pcb->rcv_nxt, c->rtt_edge))
		return;
	note_rtt(c, net_g.now - c->rtt_since);
	c->rtt_edge = c->pcb->rcv_ann_right_edge;
	c->rtt_since = net_g.now;
}

/* Among how many is the budget of short paths shared? Counts @c in. */
static uint32_t n_busy(struct net_tcp *c, size_t len)
{
	struct net_busy *b = &net_g.busy;

	if (net_g.now - b->since >= BUSY_SPAN) {
		b->n_last = net_g.now - b->since < 2 * BUSY_SPAN ? b->n : 0;
		b->bytes_last = b->bytes;
		b->n = 0;
		b->bytes = 0;
		b->since = net_g.now;
		b->span++;
	}
	if (c->busy_span != b->span) {
		c->busy_span = b->span;
		c->busy_bytes = 0;
	}
	b->n += c->busy_bytes < BUSY_BYTES && c->busy_bytes + len >= BUSY_BYTES;
	c->busy_bytes += (uint32_t)len;
	b->bytes += len;
	return MAX(MAX(b->n, b->n_last), 1u);
}

bool net_many_drain_much(void)
{
	const struct net_busy *b = &net_g.busy;

	return net_g.now - b->since < 2 * BUSY_SPAN && b->n_last >= MANY && b->bytes_last >= MUCH;
}

bool net_window_is_short(const struct net_tcp *c)
{
	return c->share->rtt_min < SHORT_PATH && c->nif && c->share->path == c->nif->path;
}

/* An even share, but enough for one turn of a sender (room.c). */
static size_t short_path_share(uint32_t n_sharing)
{
	size_t least = MIN(SHARE_LEAST, SHARES_BYTES / n_sharing);

	return MAX(MAX((size_t)SHORT_PATH_BYTES / n_sharing, least), (size_t)WND_START);
}

static size_t window_limit(const struct net_tcp *c, uint32_t n_sharing)
{
	size_t limit = net_g.cfg.wnd_bytes_max ? MIN(net_g.cfg.wnd_bytes_max, (uint32_t)TCP_WND) : (uint32_t)TCP_WND;

	/* A quarter of the memory for one; what is nearly used up makes no window grow. */
	limit = MIN(MAX(limit, (size_t)WND_START), (size_t)(net_g.cfg.mem_bytes_max / 4));
	if (net_g.stats.mem_bytes > net_g.cfg.mem_bytes_max / 4 * 3)
		return 0;
	return net_window_is_short(c) ? MIN(limit, short_path_share(n_sharing)) : limit;
}

static size_t grow(struct net_tcp *c, size_t now, size_t limit)
{
	nsec_t took = net_g.now - c->drain_since;
	size_t want;

	if (c->wnd_held == 0 || took < c->rtt_min)
		return 0;
	/* On a short path what is on the way takes as long as the queues at both ends make it, readers that wait (held.c) among them. */
	want = (size_t)((double)c->drained * (double)(net_window_is_short(c) ? SHORT_PATH : c->rtt_min) / (double)took * GROW);
	c->drained = 0;
	c->drain_since = net_g.now;
	want = MIN(want, limit);
	return want > now ? MIN(want - now, (size_t)c->wnd_held) : 0;
}

size_t net_window_drained(struct net_tcp *c, size_t len)
{
	size_t limit = window_limit(c, net_window_is_short(c) ? n_busy(c, len) : 1), now = TCP_WND - c->wnd_held, more, back = 0;

	look_at_path(c);
	c->drained += len;
	more = grow(c, now, limit);
	/* Never what was offered already: only what the reader gives back now. */
	if (net_window_is_short(c) && now > limit && limit > 0)
		back = MIN(len, now - limit);
	c->wnd_held = (uint32_t)(c->wnd_held + back - more);
	return len + more - back;
}

void net_if_path_changed(struct net_if *nif)
{
	nif->path++;
}
