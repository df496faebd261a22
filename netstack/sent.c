/*
 * netstack/sent.c - see sent.h.
 *
 * Records are 72 bytes in one array, so that looking one up by its sequence number is a binary search and walking costs no
 * cache misses. The list by time makes loss detection cost what is lost, not what is in flight (RFC 8985 section 6.2 walks
 * in that order too). An idle connection keeps no memory here.
 */
#include "netstack/sent.h"

#include <stdlib.h>

#include "netstack/seq.h"

#define CAP_FIRST 16
#define CAP_MAX (1u << 17)

void net_sent_init(struct net_sent_log *l)
{
	*l = (struct net_sent_log){ .oldest = NET_SENT_NONE, .newest = NET_SENT_NONE };
}

void net_sent_fini(struct net_sent_log *l)
{
	free(l->v);
	net_sent_init(l);
}

static bool grow(struct net_sent_log *l)
{
	uint32_t cap = l->cap ? l->cap * 2 : CAP_FIRST;
	struct net_sent *v;

	if (net_sent_count(l) < l->cap)
		return true;
	if (cap > CAP_MAX)
		return false;
	v = malloc(cap * sizeof(*v));
	if (!v)
		return false;
	for (uint64_t i = l->head; i != l->tail; i++)
		v[i & (cap - 1)] = *net_sent_at(l, i);
	free(l->v);
	l->v = v;
	l->cap = cap;
	return true;
}

/* ---- the list by time ---- */

static void unlink_record(struct net_sent_log *l, struct net_sent *s)
{
	if (s->older == NET_SENT_NONE)
		l->oldest = s->newer;
	else
		net_sent_at(l, s->older)->newer = s->newer;
	if (s->newer == NET_SENT_NONE)
		l->newest = s->older;
	else
		net_sent_at(l, s->newer)->older = s->older;
}

/* Behind the last one that is not newer; mostly that is the end. */
static void link_record(struct net_sent_log *l, uint64_t i)
{
	struct net_sent *s = net_sent_at(l, i);
	uint64_t after = l->newest;

	while (after != NET_SENT_NONE && net_sent_at(l, after)->at > s->at)
		after = net_sent_at(l, after)->older;
	s->older = after;
	s->newer = after == NET_SENT_NONE ? l->oldest : net_sent_at(l, after)->newer;
	if (after == NET_SENT_NONE)
		l->oldest = i;
	else
		net_sent_at(l, after)->newer = i;
	if (s->newer == NET_SENT_NONE)
		l->newest = i;
	else
		net_sent_at(l, s->newer)->older = i;
}

/* ---- records ---- */

struct net_sent *net_sent_push(struct net_sent_log *l, uint32_t from, uint32_t to, nsec_t now)
{
	struct net_sent *s;

	if (!grow(l))
		return NULL;
	s = net_sent_at(l, l->tail);
	*s = (struct net_sent){ .from = from, .to = to, .at = now, .state = NET_SENT_FLIGHT };
	link_record(l, l->tail++);
	return s;
}

void net_sent_pop(struct net_sent_log *l)
{
	struct net_sent *s = net_sent_at(l, l->head);

	if (s->state == NET_SENT_FLIGHT)
		unlink_record(l, s);
	if (++l->head == l->tail)
		net_sent_fini(l);
}

uint64_t net_sent_find(const struct net_sent_log *l, uint32_t seq)
{
	uint64_t low = l->head, high = l->tail;

	while (low != high) {
		uint64_t mid = low + (high - low) / 2;

		if (SEQ_LEQ(net_sent_at(l, mid)->to, seq))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void net_sent_set(struct net_sent_log *l, uint64_t i, enum net_sent_state state)
{
	struct net_sent *s = net_sent_at(l, i);

	if (s->state == NET_SENT_FLIGHT)
		unlink_record(l, s);
	s->state = state;
	if (state == NET_SENT_FLIGHT)
		link_record(l, i);
}

uint32_t net_sent_revive(struct net_sent_log *l)
{
	uint32_t bytes = 0;

	for (uint64_t i = l->head; i != l->tail; i++) {
		struct net_sent *s = net_sent_at(l, i);

		if (s->state != NET_SENT_LOST || s->resent)
			continue;
		net_sent_set(l, i, NET_SENT_FLIGHT);
		bytes += s->to - s->from;
	}
	return bytes;
}
