/*
 * netstack/sent.h - what was sent and is not yet acknowledged: one record a segment, in order of sequence numbers, and
 * of those in the network a list in order of time.
 */
#ifndef NETSTACK_SENT_H
#define NETSTACK_SENT_H

#include "base/err.h"
#include "base/types.h"

enum net_sent_state {
	NET_SENT_FLIGHT, /* in the network, as far as we know */
	NET_SENT_SACKED, /* arrived */
	NET_SENT_LOST,   /* to be sent again */
};

#define NET_SENT_NONE UINT64_MAX

struct net_sent {
	void *seg;         /* the stack's segment; it lives as long as the record */
	nsec_t at;         /* last sent */
	nsec_t first_at, delivered_at; /* for the delivery rate: when this sample began */
	uint64_t delivered;
	uint64_t older, newer;
	uint32_t from, to; /* to: one past, SYN and FIN counted */
	uint8_t state;
	bool resent, app_limited;
};

/* A ring; records are named by numbers that only grow. */
struct net_sent_log {
	struct net_sent *v;
	uint64_t head, tail;     /* [head, tail) are there */
	uint64_t oldest, newest; /* of the list by time; NET_SENT_NONE: empty */
	uint32_t cap;
};

void net_sent_init(struct net_sent_log *l);
void net_sent_fini(struct net_sent_log *l);
static inline struct net_sent *net_sent_at(const struct net_sent_log *l, uint64_t i)
{
	return &l->v[i & (l->cap - 1)];
}
static inline uint64_t net_sent_count(const struct net_sent_log *l)
{
	return l->tail - l->head;
}
/** net_sent_push() - a new segment, in the network from now on. Return: its record, or NULL: no memory. */
struct net_sent *net_sent_push(struct net_sent_log *l, uint32_t from, uint32_t to, nsec_t now);
/** net_sent_pop() - the first is acknowledged; memory goes with the last one */
void net_sent_pop(struct net_sent_log *l);
/** net_sent_find() - the first record that ends after @seq; tail when there is none */
uint64_t net_sent_find(const struct net_sent_log *l, uint32_t seq);
/** net_sent_set() - the state of record @i; one that goes into the network again is the newest there */
void net_sent_set(struct net_sent_log *l, uint64_t i, enum net_sent_state state);
/**
 * net_sent_revive() - lost ones that were not sent again are back in the network, at the time they were sent
 * @from: no record before it is lost
 * @lost: bytes of all that are; when they were seen it ends
 *
 * Return: bytes that are back
 */
uint32_t net_sent_revive(struct net_sent_log *l, uint64_t from, uint32_t lost);

#endif
