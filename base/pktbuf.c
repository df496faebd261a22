/*
 * base/pktbuf.c - see pktbuf.h.
 *
 * Units live in slabs of 64 that are allocated when the free list is empty and kept for ever: the pool's
 * size follows the peak, which the limit bounds. All units are linked in their slab, so that an owner that
 * goes away can be struck from those it still holds.
 */
#include "base/pktbuf.h"

#include <stdlib.h>

#define SLAB_UNITS 64
#define OWNER_MIN_UNITS 64

struct slab {
	struct slab *next;
	struct pktbuf *units; /* SLAB_UNITS of them */
};

struct pktpool {
	struct slab *slabs;
	struct pktbuf *free;
	uint32_t n_max, n_slab_units, n_used, n_peak;
	uint64_t n_refused;
};

struct pktpool *pktpool_new(uint32_t n_max)
{
	struct pktpool *pool = calloc(1, sizeof(*pool));

	if (pool)
		pool->n_max = n_max;
	return pool;
}

void pktpool_free(struct pktpool *pool)
{
	if (!pool)
		return;
	ASSERT(pool->n_used == 0);
	while (pool->slabs) {
		struct slab *s = pool->slabs;

		pool->slabs = s->next;
		free(s->units);
		free(s);
	}
	free(pool);
}

static bool grow(struct pktpool *pool)
{
	struct slab *s = malloc(sizeof(*s));

	if (!s)
		return false;
	s->units = aligned_alloc(64, SLAB_UNITS * sizeof(struct pktbuf));
	if (!s->units) {
		free(s);
		return false;
	}
	s->next = pool->slabs;
	pool->slabs = s;
	for (unsigned i = 0; i < SLAB_UNITS; i++) {
		s->units[i].owner = NULL;
		s->units[i].pool = pool;
		s->units[i].next = pool->free;
		pool->free = &s->units[i];
	}
	pool->n_slab_units += SLAB_UNITS;
	return true;
}

static bool over_share(const struct pktpool *pool, const struct pktowner *owner)
{
	uint32_t left;

	if (!owner || owner->n_units < OWNER_MIN_UNITS)
		return false;
	left = pool->n_max - (pool->n_used - owner->n_units);
	return owner->n_units >= left / 2;
}

struct pktbuf *pktbuf_alloc(struct pktpool *pool, struct pktowner *owner)
{
	struct pktbuf *pb;

	if (pool->n_used >= pool->n_max || over_share(pool, owner) || (!pool->free && !grow(pool))) {
		pool->n_refused++;
		return NULL;
	}
	pb = pool->free;
	pool->free = pb->next;
	pb->next = NULL;
	pb->owner = owner;
	pb->off = pb->len = 0;
	pb->flags = 0;
	if (owner)
		owner->n_units++;
	if (++pool->n_used > pool->n_peak)
		pool->n_peak = pool->n_used;
	return pb;
}

void pktbuf_free(struct pktbuf *pb)
{
	struct pktpool *pool = pb->pool;

	if (pb->owner)
		pb->owner->n_units--;
	pb->owner = NULL;
	pb->next = pool->free;
	pool->free = pb;
	pool->n_used--;
}

void pktbuf_disown_all(struct pktpool *pool, struct pktowner *owner)
{
	for (struct slab *s = pool->slabs; s && owner->n_units > 0; s = s->next)
		for (unsigned i = 0; i < SLAB_UNITS; i++)
			if (s->units[i].owner == owner) {
				s->units[i].owner = NULL;
				owner->n_units--;
			}
}

void pktpool_get_stats(const struct pktpool *pool, struct pktpool_stats *ret)
{
	*ret = (struct pktpool_stats){ pool->n_max, pool->n_used, pool->n_peak, pool->n_refused };
}
