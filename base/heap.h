/*
 * base/heap.h - intrusive binary min-heap, ordered by (key, seq): equal keys leave in the order they came.
 *
 * Embed a heap_node; the heap holds an array of pointers and grows it. Not thread-safe.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include "base/err.h"
#include "base/types.h"

struct heap_node {
	uint64_t key;
	uint64_t seq;
	size_t index; /* HEAP_NONE = not in a heap */
};

#define HEAP_NONE SIZE_MAX

struct heap {
	struct heap_node **nodes;
	size_t n, cap;
	uint64_t next_seq;
};

static inline void heap_node_init(struct heap_node *node)
{
	node->index = HEAP_NONE;
}

void heap_init(struct heap *h);
void heap_fini(struct heap *h);
/** heap_reserve() - room for @n nodes in all: heap_set() does not fail up to there */
MUST_CHECK enum err heap_reserve(struct heap *h, size_t n);
/** heap_set() - insert @node, or move it, under @key. ERR_NOMEM: as it was. */
MUST_CHECK enum err heap_set(struct heap *h, struct heap_node *node, uint64_t key);
/** heap_remove() - a node that is not in is left alone */
void heap_remove(struct heap *h, struct heap_node *node);
/** heap_first() - the smallest, or NULL */
struct heap_node *heap_first(const struct heap *h);

#endif
