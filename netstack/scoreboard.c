/* netstack/scoreboard.c - which bytes beyond the acknowledged ones have arrived (RFC 2018). */
#include <stdlib.h>
#include <string.h>

#include "netstack/scoreboard.h"

static bool reserve(struct net_scoreboard *b)
{
	uint16_t cap = b->cap ? (uint16_t)(b->cap * 2) : 8;
	struct seq_range *more;

	if (b->n < b->cap)
		return true;
	if (cap > NET_SACK_RANGES_MAX)
		return false;
	more = realloc(b->ranges, cap * sizeof(*more));
	if (!more)
		return false;
	b->ranges = more;
	b->cap = cap;
	return true;
}

static uint32_t sum(const struct net_scoreboard *b, uint16_t from, uint16_t to)
{
	uint32_t n = 0;

	for (uint16_t i = from; i < to; i++)
		n += b->ranges[i].to - b->ranges[i].from;
	return n;
}

/* The first range that does not end at or below @seq. */
static uint16_t find(const struct net_scoreboard *b, uint32_t seq)
{
	uint16_t low = 0, high = b->n;

	while (low < high) {
		uint16_t mid = (uint16_t)((low + high) / 2);

		if (SEQ_LEQ(b->ranges[mid].to, seq))
			low = (uint16_t)(mid + 1);
		else
			high = mid;
	}
	return low;
}

uint32_t net_scoreboard_add(struct net_scoreboard *b, uint32_t from, uint32_t to)
{
	uint16_t first = find(b, from - 1), end; /* one that ends where it begins is part of it */
	uint32_t before;

	for (end = first; end < b->n && SEQ_LEQ(b->ranges[end].from, to); end++) {
		if (SEQ_LT(b->ranges[end].from, from))
			from = b->ranges[end].from;
		if (SEQ_GT(b->ranges[end].to, to))
			to = b->ranges[end].to;
	}
	before = sum(b, first, end);
	if (first == end) {
		if (!reserve(b))
			return 0;
		memmove(b->ranges + first + 1, b->ranges + first, (b->n - first) * sizeof(b->ranges[0]));
		b->n++;
	} else {
		memmove(b->ranges + first + 1, b->ranges + end, (b->n - end) * sizeof(b->ranges[0]));
		b->n = (uint16_t)(b->n - (end - first - 1));
	}
	b->ranges[first] = (struct seq_range){ from, to };
	b->bytes += to - from - before;
	return to - from - before;
}

void net_scoreboard_trim(struct net_scoreboard *b, uint32_t una)
{
	uint16_t gone = 0;

	if (b->n == 0)
		return;
	while (gone < b->n && SEQ_LEQ(b->ranges[gone].to, una))
		gone++;
	b->bytes -= sum(b, 0, gone);
	b->n = (uint16_t)(b->n - gone);
	if (gone > 0)
		memmove(b->ranges, b->ranges + gone, b->n * sizeof(b->ranges[0]));
	if (b->n > 0 && SEQ_LT(b->ranges[0].from, una)) {
		b->bytes -= una - b->ranges[0].from;
		b->ranges[0].from = una;
	}
}

bool net_scoreboard_has(const struct net_scoreboard *b, uint32_t from, uint32_t to)
{
	uint16_t i = find(b, from);

	return i < b->n && SEQ_LEQ(b->ranges[i].from, from) && SEQ_GEQ(b->ranges[i].to, to);
}

bool net_scoreboard_gap(const struct net_scoreboard *b, uint32_t from, uint32_t to, struct seq_range *ret)
{
	uint16_t i = find(b, from);

	if (i < b->n && SEQ_LEQ(b->ranges[i].from, from))
		from = b->ranges[i++].to;
	if (SEQ_GEQ(from, to))
		return false;
	*ret = (struct seq_range){ from, i < b->n && SEQ_LT(b->ranges[i].from, to) ? b->ranges[i].from : to };
	return true;
}

void net_scoreboard_clear(struct net_scoreboard *b)
{
	b->n = 0;
	b->bytes = 0;
}

void net_scoreboard_fini(struct net_scoreboard *b)
{
	free(b->ranges);
	*b = (struct net_scoreboard){ 0 };
}
