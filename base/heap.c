/*
 * base/heap.c - see heap.h. M. Fredman and others, "The pairing heap" (1986), with melding in two passes: an insertion is one
 * comparison, a removal O(log n) in the mean of many. What is taken out leaves its children, which are melded anew.
 */
#include "base/heap.h"

static bool less(const struct heap_node *a, const struct heap_node *b)
{
	return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

/* Of two trees one: the greater root becomes the smaller one's first child. Whatever pointed to them is the caller's to mend. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
	if (!a || !b)
		return a ? a : b;
	if (less(b, a))
		return meld(b, a);
	b->next = a->child;
	if (b->next)
		b->next->at = &b->next;
	b->at = &a->child;
	a->child = b;
	return a;
}

/* Neighbours by two first, then each pair with all behind it: the second pass alone would leave one long row again. */
static struct heap_node *meld_all(struct heap_node *first)
{
	struct heap_node *pairs = NULL, *all = NULL;

	while (first) {
		struct heap_node *a = first, *b = a->next;

		first = b ? b->next : NULL;
		a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct heap_node *a = pairs;

		pairs = a->next;
		all = meld(all, a);
	}
	return all;
}

static void set_root(struct heap *h, struct heap_node *node)
{
	h->root = node;
	if (!node)
		return;
	node->at = &h->root;
	node->next = NULL;
}

void heap_set(struct heap *h, struct heap_node *node, uint64_t key)
{
	heap_remove(h, node);
	node->key = key;
	node->seq = h->next_seq++;
	node->child = NULL;
	set_root(h, meld(h->root, node));
}

void heap_remove(struct heap *h, struct heap_node *node)
{
	if (!heap_node_is_in(node))
		return;
	*node->at = node->next;
	if (node->next)
		node->next->at = node->at;
	node->at = NULL;
	set_root(h, meld(h->root, meld_all(node->child)));
}
