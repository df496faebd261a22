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

/* In front of @newer; NET_SENT_NONE: at the end. */
static void link_record(struct net_sent_log *l, uint64_t i, uint64_t newer)
{
	struct net_sent *s = net_sent_at(l, i);
	uint64_t *to_older = newer == NET_SENT_NONE ? &l->newest : &net_sent_at(l, newer)->older;

	s->older = *to_older;
	s->newer = newer;
	*to_older = i;
	if (s->older == NET_SENT_NONE)
		l->oldest = i;
	else
		net_sent_at(l, s->older)->newer = i;
}

/* ---- records ---- */

struct net_sent *net_sent_push(struct net_sent_log *l, uint32_t from, uint32_t to, nsec_t now)
{
	struct net_sent *s;

	if (!grow(l))
		return NULL;
	s = net_sent_at(l, l->tail);
	*s = (struct net_sent){ .from = from, .to = to, .at = now, .state = NET_SENT_FLIGHT };
	link_record(l, l->tail++, NET_SENT_NONE);
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
		link_record(l, i, NET_SENT_NONE);
}

/* Did record @i leave before @other did? What left in one instant left in order. */
static bool left_before(const struct net_sent_log *l, uint64_t i, uint64_t other)
{
	nsec_t at = net_sent_at(l, i)->at, at_other = net_sent_at(l, other)->at;

	return at != at_other ? at < at_other : i < other;
}

/*
 * What was sent once left in order of sequence numbers, so one pass finds all places. It begins at the oldest: lost is what is older
 * than something that arrived, so little stands in front of it.
 */
uint32_t net_sent_revive(struct net_sent_log *l, uint64_t from, uint32_t lost)
{
	uint64_t place = l->oldest;
	uint32_t bytes = 0;

	for (uint64_t i = from; lost > 0 && i != l->tail; i++) {
		struct net_sent *s = net_sent_at(l, i);

		if (s->state != NET_SENT_LOST)
			continue;
		lost -= s->to - s->from;
		if (s->resent)
			continue;
		while (place != NET_SENT_NONE && left_before(l, place, i))
			place = net_sent_at(l, place)->newer;
		s->state = NET_SENT_FLIGHT;
		link_record(l, i, place);
		bytes += s->to - s->from;
	}
	return bytes;
}
