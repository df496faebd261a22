/* base/heap.c - see heap.h. */
#include "base/heap.h"

#include <stdlib.h>

void heap_init(struct heap *h)
{
	*h = (struct heap){ 0 };
}

void heap_fini(struct heap *h)
{
	free(h->nodes);
	heap_init(h);
}

static bool less(const struct heap_node *a, const struct heap_node *b)
{
	return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static void place(struct heap *h, size_t i, struct heap_node *node)
{
	h->nodes[i] = node;
	node->index = i;
}

static void sift_up(struct heap *h, size_t i)
{
	struct heap_node *node = h->nodes[i];

	while (i > 0 && less(node, h->nodes[(i - 1) / 2])) {
		place(h, i, h->nodes[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(h, i, node);
}

static void sift_down(struct heap *h, size_t i)
{
	struct heap_node *node = h->nodes[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < h->n && less(h->nodes[child + 1], h->nodes[child]))
			child++;
		if (child >= h->n || !less(h->nodes[child], node))
			break;
		place(h, i, h->nodes[child]);
		i = child;
	}
	place(h, i, node);
}

enum err heap_reserve(struct heap *h, size_t n)
{
	size_t cap = MAX(h->cap ? h->cap * 2 : (size_t)16, n);
	struct heap_node **nodes;

	if (n <= h->cap)
		return OK;
	nodes = realloc(h->nodes, cap * sizeof(*nodes));
	if (!nodes)
		return ERR_NOMEM;
	h->nodes = nodes;
	h->cap = cap;
	return OK;
}

enum err heap_set(struct heap *h, struct heap_node *node, uint64_t key)
{
	if (node->index == HEAP_NONE) {
		if (heap_reserve(h, h->n + 1) != OK)
			return ERR_NOMEM;
		place(h, h->n++, node);
	}
	node->key = key;
	node->seq = h->next_seq++;
	sift_up(h, node->index);
	sift_down(h, node->index);
	return OK;
}

void heap_remove(struct heap *h, struct heap_node *node)
{
	size_t i = node->index;

	if (i == HEAP_NONE)
		return;
	node->index = HEAP_NONE;
	if (i == --h->n)
		return;
	place(h, i, h->nodes[h->n]);
	sift_up(h, i);
	sift_down(h, h->nodes[i]->index);
}

struct heap_node *heap_first(const struct heap *h)
{
	return h->n ? h->nodes[0] : NULL;
}
