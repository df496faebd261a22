/*
 * base/pktbuf.c - see pktbuf.h.
 *
 * Units live in slabs of 64 that are allocated when the free list is empty; the pool's size follows the peak, which
 * the limit bounds, until somebody trims it. All units are linked in their slab, so that an owner that goes away can be
 * struck from those it still holds. Slabs are held in order of address, so that a unit's is found by halving.
 *
 * A sanitizer sees whoever looks into a unit that is free: what its holders write in is poisoned meanwhile.
 */
#include "base/pktbuf.h"

#include <stdlib.h>
#include <string.h>

#ifdef SANITIZED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, len) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(p, len) ((void)0)
#endif

#define SLAB_UNITS 64
#define OWNER_MIN_UNITS 64

struct slab {
	struct pktbuf *units; /* SLAB_UNITS of them */
	uint32_t n_free;      /* while trimming */
};

struct pktpool {
	struct slab *slabs; /* by address */
	size_t n_slabs, slabs_cap;
	struct pktbuf *free;
	uint32_t n_max, n_used, n_peak;
	uint64_t n_refused, n_empty;
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
	for (size_t i = 0; i < pool->n_slabs; i++)
		free(pool->slabs[i].units);
	free(pool->slabs);
	free(pool);
}

/* The place of the first slab whose units begin after @p. */
static size_t slab_after(const struct pktpool *pool, const struct pktbuf *p)
{
	size_t low = 0, high = pool->n_slabs;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (pool->slabs[mid].units > p)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static bool reserve_slab(struct pktpool *pool)
{
	size_t cap = pool->slabs_cap ? 2 * pool->slabs_cap : 16;
	struct slab *more;

	if (pool->n_slabs < pool->slabs_cap)
		return true;
	more = realloc(pool->slabs, cap * sizeof(*more));
	if (!more)
		return false;
	pool->slabs = more;
	pool->slabs_cap = cap;
	return true;
}

static bool grow(struct pktpool *pool)
{
	struct pktbuf *units = reserve_slab(pool) ? aligned_alloc(64, SLAB_UNITS * sizeof(*units)) : NULL;
	size_t at;

	if (!units)
		return false;
	at = slab_after(pool, units);
	memmove(&pool->slabs[at + 1], &pool->slabs[at], (pool->n_slabs - at) * sizeof(pool->slabs[0]));
	pool->slabs[at] = (struct slab){ .units = units };
	pool->n_slabs++;
	for (unsigned i = 0; i < SLAB_UNITS; i++) {
		units[i].owner = NULL;
		units[i].pool = pool;
		units[i].next = pool->free;
		pool->free = &units[i];
	}
	return true;
}

/* ---- giving back ---- */

static struct slab *slab_of(const struct pktpool *pool, const struct pktbuf *pb)
{
	return &pool->slabs[slab_after(pool, pb) - 1];
}

/* Takes the units of slabs that are wholly free out of the free list. */
static void unlink_idle(struct pktpool *pool)
{
	struct pktbuf **link = &pool->free;

	while (*link) {
		if (slab_of(pool, *link)->n_free == SLAB_UNITS)
			*link = (*link)->next;
		else
			link = &(*link)->next;
	}
}

void pktpool_trim(struct pktpool *pool)
{
	size_t kept = 0;

	for (size_t i = 0; i < pool->n_slabs; i++)
		pool->slabs[i].n_free = 0;
	for (const struct pktbuf *pb = pool->free; pb; pb = pb->next)
		slab_of(pool, pb)->n_free++;
	unlink_idle(pool);
	for (size_t i = 0; i < pool->n_slabs; i++) {
		if (pool->slabs[i].n_free == SLAB_UNITS)
			free(pool->slabs[i].units);
		else
			pool->slabs[kept++] = pool->slabs[i];
	}
	pool->n_slabs = kept;
}

/* ---- units ---- */

static void hide(struct pktbuf *pb)
{
	ASAN_POISON_MEMORY_REGION(pb->priv, PKTBUF_PRIV);
	ASAN_POISON_MEMORY_REGION(pb->data, PKTBUF_DATA);
}

static void show(struct pktbuf *pb)
{
	ASAN_UNPOISON_MEMORY_REGION(pb->priv, PKTBUF_PRIV);
	ASAN_UNPOISON_MEMORY_REGION(pb->data, PKTBUF_DATA);
}

uint32_t pktpool_share(const struct pktpool *pool, const struct pktowner *owner)
{
	uint32_t left = pool->n_max - (pool->n_used - owner->n_units);

	return MAX(left / 2, (uint32_t)OWNER_MIN_UNITS);
}

/* Return: is there one for @owner? */
static bool reserve(struct pktpool *pool, const struct pktowner *owner)
{
	bool over = owner && owner->n_units >= pktpool_share(pool, owner);

	if (pool->n_used < pool->n_max && (over || pool->free || grow(pool)))
		return !over;
	pool->n_empty++;
	return false;
}

struct pktbuf *pktbuf_alloc(struct pktpool *pool, struct pktowner *owner)
{
	struct pktbuf *pb;

	if (!reserve(pool, owner)) {
		pool->n_refused++;
		return NULL;
	}
	pb = pool->free;
	pool->free = pb->next;
	show(pb);
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
	hide(pb);
	pool->n_used--;
}

void pktbuf_disown_all(struct pktpool *pool, struct pktowner *owner)
{
	for (size_t s = 0; s < pool->n_slabs && owner->n_units > 0; s++)
		for (unsigned i = 0; i < SLAB_UNITS; i++)
			if (pool->slabs[s].units[i].owner == owner) {
				pool->slabs[s].units[i].owner = NULL;
				owner->n_units--;
			}
}

void pktpool_get_stats(const struct pktpool *pool, struct pktpool_stats *ret)
{
	*ret = (struct pktpool_stats){ pool->n_max, pool->n_used, pool->n_peak,
					(uint32_t)pool->n_slabs * SLAB_UNITS, pool->n_refused, pool->n_empty };
}
