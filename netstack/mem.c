/*
 * netstack/mem.c - lwIP's memory: the heap, with what was freed kept for the next.
 *
 * A segment out takes two allocations, one of a packet's size, and gives them back with its ACK. The heap merges and
 * splits such blocks each time, which was a tenth of all the time that a sender spent (doc/tcp.md). Here blocks come in steps
 * of 64 bytes, and up to CACHE_BYTES of free ones wait in lists. Sanitizers see every allocation.
 */
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "netstack/lwip/lwipopts.h"
#include "netstack/slot.h"

#define STEP 64
#define N_STEPS 28 /* up to 1,792 bytes */
#define CACHE_BYTES (2u << 20)

#ifdef SANITIZED
#define CACHE 0
#else
#define CACHE 1
#endif

/* In front of what lwIP gets; when free, the next free one stands behind it. */
struct block {
	_Alignas(16) size_t step; /* N_STEPS: of the heap's size */
};

static struct block *lists[N_STEPS];
static size_t cached_bytes;

static struct block **next_of(struct block *b)
{
	return (struct block **)(b + 1);
}

void *net_lwip_malloc(size_t size)
{
	size_t step = (size + STEP - 1) / STEP;
	struct block *b = CACHE && step < N_STEPS ? lists[step] : NULL;

	if (b) {
		lists[step] = *next_of(b);
		cached_bytes -= step * STEP;
		return b + 1;
	}
	step = MIN(step, (size_t)N_STEPS);
	b = malloc(sizeof(*b) + (step < N_STEPS ? MAX(step, (size_t)1) * STEP : size));
	if (!b)
		return NULL;
	b->step = step;
	return b + 1;
}

void net_lwip_free(void *p)
{
	struct block *b = p ? (struct block *)p - 1 : NULL;

	if (!b)
		return;
	if (b->step == MEM_OF_SLOT) {
		net_slot_free_seg((struct net_slot_mark *)b);
		return;
	}
	if (!CACHE || b->step == N_STEPS || cached_bytes + b->step * STEP > CACHE_BYTES) {
		free(b);
		return;
	}
	*next_of(b) = lists[b->step];
	lists[b->step] = b;
	cached_bytes += b->step * STEP;
}

void *net_lwip_calloc(size_t n, size_t size)
{
	void *p;

	if (size > 0 && n > SIZE_MAX / size)
		return NULL;
	p = net_lwip_malloc(n * size);
	return p ? memset(p, 0, n * size) : NULL;
}

void net_rest(void)
{
	for (size_t i = 0; i < N_STEPS; i++)
		while (lists[i]) {
			struct block *b = lists[i];

			lists[i] = *next_of(b);
			free(b);
		}
	cached_bytes = 0;
	net_slot_rest();
}
