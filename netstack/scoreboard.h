/* netstack/scoreboard.h - which bytes beyond the acknowledged ones the other side has told to have (RFC 2018). */
#ifndef NETSTACK_SCOREBOARD_H
#define NETSTACK_SCOREBOARD_H

#include "base/types.h"
#include "netstack/seq.h"

struct seq_range {
	uint32_t from, to; /* to: one past */
};

/* Disjoint ranges in order. */
struct net_scoreboard {
	struct seq_range *ranges;
	uint16_t n, cap;
	uint32_t bytes;
};

#define NET_SACK_RANGES_MAX 1024

/** net_scoreboard_add() - the range was received. Return: how many bytes of it are news (0 too when full of larger ones). */
uint32_t net_scoreboard_add(struct net_scoreboard *b, uint32_t from, uint32_t to);
/** net_scoreboard_trim() - everything below @una was acknowledged */
void net_scoreboard_trim(struct net_scoreboard *b, uint32_t una);
/** net_scoreboard_gap() - the first part of [from, to) that is not known to be received; false: there is none */
bool net_scoreboard_gap(const struct net_scoreboard *b, uint32_t from, uint32_t to, struct seq_range *ret);
void net_scoreboard_clear(struct net_scoreboard *b);
void net_scoreboard_fini(struct net_scoreboard *b);

#endif
