/*
 * netstack/room.c - how much a connection may queue to be sent, and when.
 *
 * Twice what may be in flight: a window to be acknowledged, and as much again, ready to follow. On a short path (window.c) the
 * next ACK is never far, and what all connections together have under way is bounded: beyond some megabytes it only falls
 * out of the processor's caches. Equal shares of that for many would be small ones, each with a wake-up of the
 * programs at both ends. So there they take turns: who finds the bound reached waits in line, and gets room for TURN bytes at
 * once. A turn ends with its callback, what it leaves goes to the next. Who has nothing under way need not wait for its
 * first few bytes, so that a question beside full flows leaves at once.
 *
 * Nobody waits for the slow: what the other side's window does not let go is not counted, and neither is what was not
 * acknowledged for STUCK_AFTER, until it is.
 *
 * Who has room and finds no memory for it is starved: no ACK need be to come that would wake it, and turns would come without end.
 */
#include "netstack/slot.h"

#define LINE_BYTES (1280u << 10) /* 1.3 ms at 8 Gb/s: more only stands, less costs one flow speed */
#define TURN (256u << 10)
#define FIRST (16u << 10)        /* never refused to who has nothing under way */
#define WRITABLE_MIN (16u << 10) /* do not wake a writer for less */
#define STUCK_AFTER (10 * NSEC_PER_MSEC)
#define SMALL_SEGMENT 512
#define N_SMALL_MAX 1024 /* of those, in the queue of a connection */
#define N_BUFFERS_MAX (TCP_SND_QUEUELEN - 64)
#define STARVED_FOR (10 * NSEC_PER_MSEC)

/* ---- room ---- */

/* A peer may ask for segments of a byte, or never open its window: they take memory by their number, so there are few. */
static size_t room_by_number(const struct tcp_pcb *pcb)
{
	size_t size = net_seg_size(pcb), n = tcp_sndqueuelen(pcb);

	if (size < SMALL_SEGMENT)
		return n < N_SMALL_MAX ? (N_SMALL_MAX - n) * size : 0;
	return n < N_BUFFERS_MAX ? (N_BUFFERS_MAX - n) / NET_SLOT_BUFFERS * size : 0;
}

/* By its own queue, and by memory. */
static size_t own_room(const struct net_tcp *c)
{
	size_t room, budget, queue;

	if (!c->pcb || !c->connected || c->shut)
		return 0;
	/* A whole turn at least, whatever the congestion window: smaller turns for some would not be fair. */
	queue = MAX(net_pcb_queue_limit(c), net_window_is_short(c) ? (size_t)TURN : 0);
	queue = MIN(queue, (size_t)net_g.cfg.snd_bytes_max);
	room = MIN((size_t)c->pcb->snd_buf, queue - MIN(queue, c->tx_bytes));
	room = MIN(room, room_by_number(c->pcb));
	budget = net_g.cfg.mem_bytes_max > net_g.stats.mem_bytes ? net_g.cfg.mem_bytes_max - net_g.stats.mem_bytes : 0;
	/* Over the budget a connection still gets a little, or nothing would ever drain. */
	return MIN(room, MAX(budget, c->tx_bytes == 0 ? (size_t)FIRST : 0));
}

/* By what all have under way. */
static size_t shared_room(const struct net_tcp *c)
{
	const struct net_line *l = &net_g.line;
	size_t first = c->tx_bytes == 0 ? FIRST : 0;

	if (!net_window_is_short(c))
		return SIZE_MAX;
	if (c->turn_bytes > 0)
		return c->turn_bytes;
	/* A few bytes that are left are no room: what its own window holds back is not counted, so they would never be used up. */
	if (!list_empty(&l->waiting) || l->bytes + l->given + WRITABLE_MIN > LINE_BYTES)
		return first;
	return LINE_BYTES - l->bytes - l->given;
}

size_t net_tcp_writable(const struct net_tcp *c)
{
	return MIN(own_room(c), shared_room(c));
}

static bool is_worth_waking(const struct net_tcp *c)
{
	size_t room = net_tcp_writable(c);

	return c->tx_bytes == 0 ? room > 0 : room >= MIN((size_t)WRITABLE_MIN, (size_t)net_g.cfg.snd_bytes_max / 2 + 1);
}

static bool is_worth_a_turn(const struct net_tcp *c)
{
	size_t room = own_room(c);

	return c->tx_bytes == 0 ? room > 0 : room >= TURN;
}

/* Who had a turn and wants another does not take the few bytes that are never refused instead. */
static bool must_stand_in_line(const struct net_tcp *c)
{
	return net_window_is_short(c) && !list_empty(&net_g.line.waiting);
}

/* ---- what is under way ---- */

static void count(struct net_tcp *c, size_t n)
{
	net_g.line.bytes += n - c->line_bytes;
	c->line_bytes = n;
	list_del(&c->holds);
	if (n == 0)
		return;
	list_add_tail(&net_g.line.holders, &c->holds);
	c->moved_at = net_g.now;
}

static void recount(struct net_tcp *c)
{
	count(c, c->pcb && net_window_is_short(c) ? MIN(c->tx_bytes, (size_t)c->pcb->snd_wnd) : 0);
}

/* The holder that has not moved for longest, if that is too long. */
static struct net_tcp *stuck_holder(void)
{
	struct list *first = list_first(&net_g.line.holders);
	struct net_tcp *c = first ? container_of(first, struct net_tcp, holds) : NULL;

	return c && net_g.now - c->moved_at >= STUCK_AFTER ? c : NULL;
}

/* ---- the line ---- */

static void give_turns(void)
{
	struct net_line *l = &net_g.line;
	struct list *first;

	while ((first = list_first(&l->waiting)) && l->bytes + l->given + TURN <= LINE_BYTES) {
		struct net_tcp *c = container_of(first, struct net_tcp, in_line);

		list_del(first);
		/* Its own window is shut: it comes back when that opens. */
		if (!is_worth_a_turn(c))
			continue;
		c->turn_bytes = TURN;
		l->given += TURN;
		c->want_write = false;
		net_tcp_raise(c, NET_TCP_WRITABLE);
	}
}

void net_room_end_turn(struct net_tcp *c)
{
	net_g.line.given -= c->turn_bytes;
	c->turn_bytes = 0;
	give_turns();
}

void net_room_ask(struct net_tcp *c)
{
	c->want_write = true;
	if (list_empty(&c->in_line) && net_window_is_short(c) && is_worth_a_turn(c))
		list_add_tail(&net_g.line.waiting, &c->in_line);
}

void net_room_starve(struct net_tcp *c)
{
	c->want_write = true;
	if (list_empty(&net_g.line.starved))
		net_g.line.again_at = net_g.now + STARVED_FOR;
	list_add_tail(&net_g.line.starved, &c->in_line);
}

void net_room_take(struct net_tcp *c, size_t n)
{
	size_t of_turn = MIN(n, c->turn_bytes);

	c->tx_bytes += n;
	net_g.stats.mem_bytes += n;
	c->turn_bytes -= of_turn;
	net_g.line.given -= of_turn;
	recount(c);
}

void net_room_give_back(struct net_tcp *c, size_t n)
{
	n = MIN(n, c->tx_bytes);
	c->tx_bytes -= n;
	net_g.stats.mem_bytes -= n;
	recount(c);
	if (c->want_write && !must_stand_in_line(c) && is_worth_waking(c)) {
		c->want_write = false;
		net_tcp_raise(c, NET_TCP_WRITABLE);
	} else if (c->want_write) {
		net_room_ask(c);
	}
	give_turns();
}

void net_room_leave(struct net_tcp *c)
{
	net_g.stats.mem_bytes -= c->tx_bytes;
	c->tx_bytes = 0;
	count(c, 0);
	list_del(&c->in_line);
	net_room_end_turn(c);
}

nsec_t net_room_deadline(void)
{
	struct list *first = list_first(&net_g.line.holders);
	nsec_t at = list_empty(&net_g.line.starved) ? NSEC_NEVER : net_g.line.again_at;

	if (!first || list_empty(&net_g.line.waiting))
		return at;
	return nsec_min(at, container_of(first, struct net_tcp, holds)->moved_at + STUCK_AFTER);
}

static void feed_starved(void)
{
	struct list *first;

	while (net_g.now >= net_g.line.again_at && (first = list_first(&net_g.line.starved))) {
		struct net_tcp *c = container_of(first, struct net_tcp, in_line);

		list_del(first);
		c->want_write = false;
		net_tcp_raise(c, NET_TCP_WRITABLE);
	}
}

void net_room_expire(void)
{
	struct net_tcp *c;

	feed_starved();
	while ((c = stuck_holder()))
		count(c, 0);
	give_turns();
}
