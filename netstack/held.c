/*
 * netstack/held.c - bytes that wait a moment for those behind them before their reader is told.
 *
 * What many flows bring comes in slices: some dozen packets of one, then of the next. A reader that is told of each slice passes
 * each to a program that went to sleep since the last one, and waking that costs more than the bytes. So on a short path (window.c),
 * where a sender's turn is near its end when it has begun, a segment without PSH, which says that its sender had more to send,
 * waits: until one with PSH comes, or as much as makes a large piece, or HOLD_TIME has passed. A question, an answer and the
 * end of a file have PSH or FIN; they never wait. ACKs do not wait either.
 */
#include "netstack/net_internal.h"

#define HOLD_BYTES (128u << 10)
#define HOLD_TIME (250 * NSEC_PER_USEC)

/* Never so much that the other side's window is shut by what it waits for. */
static uint32_t most(const struct net_tcp *c)
{
	return MIN(HOLD_BYTES, (TCP_WND - c->wnd_held) / 2);
}

bool net_held_wait(struct net_tcp *c, const struct pbuf *p)
{
	if (p->flags & PBUF_FLAG_PUSH || c->rx_bytes >= most(c) || !net_window_is_short(c))
		return false;
	if (c->held)
		return true;
	/* About to be told of something anyway. */
	if (!list_empty(&c->ready))
		return false;
	list_add_tail(&net_g.held, &c->ready);
	c->held = true;
	c->held_us = (uint32_t)(net_g.now / NSEC_PER_USEC);
	return true;
}

static struct net_tcp *first_held(void)
{
	struct list *first = list_first(&net_g.held);

	return first ? container_of(first, struct net_tcp, ready) : NULL;
}

nsec_t net_held_deadline(void)
{
	const struct net_tcp *c = first_held();

	return c ? net_g.now - (uint32_t)(net_g.now / NSEC_PER_USEC - c->held_us) * NSEC_PER_USEC + HOLD_TIME : NSEC_NEVER;
}

void net_held_expire(void)
{
	while (net_held_deadline() <= net_g.now)
		net_tcp_raise(first_held(), NET_TCP_READABLE);
}
