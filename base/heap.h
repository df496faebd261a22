/*
 * base/heap.h - intrusive pairing heap, ordered by (key, seq): equal keys leave in the order they came.
 *
 * Embed a heap_node. It holds all that the heap needs, so nothing here can fail, and a heap needs no end; but it must
 * stay where it is while something is in it. Not thread-safe.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include "base/types.h"

struct heap_node {
	uint64_t key;
	uint64_t seq;
	struct heap_node *child; /* the first; the others follow by @next */
	struct heap_node *next;
	struct heap_node **at; /* what points here; NULL = not in a heap */
};

struct heap {
	struct heap_node *root;
	uint64_t next_seq;
};

static inline void heap_init(struct heap *h)
{
	*h = (struct heap){ 0 };
}

static inline void heap_node_init(struct heap_node *node)
{
	node->at = NULL;
}

static inline bool heap_node_is_in(const struct heap_node *node)
{
	return node->at;
}

/** heap_set() - insert @node, or move it, under @key */
void heap_set(struct heap *h, struct heap_node *node, uint64_t key);
/** heap_remove() - a node that is not in is left alone */
void heap_remove(struct heap *h, struct heap_node *node);

/** heap_first() - the smallest, or NULL */
static inline struct heap_node *heap_first(const struct heap *h)
{
	return h->root;
}

#endif
