/*
 * wg/allowedips.c - a path-compressed binary trie for each family.
 *
 * Every node carries a masked prefix; a child's prefix extends its parent's. A node without a value exists only as a
 * fork with two children, so there are at most twice as many nodes as prefixes, and a look-up visits at most
 * one node a bit. Recursion is bounded by 128 levels.
 */
#include "wg/allowedips.h"

#include <stdlib.h>
#include <string.h>

struct wg_trie_node {
	struct ip_prefix prefix;
	void *value;
	struct wg_trie_node *child[2];
};

static unsigned bit_at(const struct ip_addr *a, unsigned i)
{
	return a->b[i / 8] >> (7 - i % 8) & 1;
}

static unsigned common_bits(const struct ip_prefix *a, const struct ip_prefix *b)
{
	unsigned max = MIN(a->bits, b->bits), n = 0;

	while (n + 8 <= max && a->ip.b[n / 8] == b->ip.b[n / 8])
		n += 8;
	while (n < max && bit_at(&a->ip, n) == bit_at(&b->ip, n))
		n++;
	return n;
}

static struct wg_trie_node **root_of(const struct wg_allowedips *t, uint8_t family)
{
	return (struct wg_trie_node **)(family == IP_V6 ? &t->root6 : &t->root4);
}

static struct wg_trie_node *node_new(const struct ip_prefix *p, unsigned bits, void *value)
{
	struct wg_trie_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->prefix = *p;
	n->prefix.bits = (uint8_t)bits;
	ip_prefix_mask(&n->prefix);
	n->value = value;
	return n;
}

/* Puts @p where it leaves @at's prefix after @common bits: above it, or beside it under a fork. */
static enum err insert_split(struct wg_allowedips *t, struct wg_trie_node **at, const struct ip_prefix *p,
			     unsigned common, void *value)
{
	struct wg_trie_node *old = *at, *leaf = node_new(p, p->bits, value), *fork;

	if (!leaf)
		return ERR_NOMEM;
	if (common == p->bits) {
		leaf->child[bit_at(&old->prefix.ip, common)] = old;
		*at = leaf;
	} else {
		fork = node_new(p, common, NULL);
		if (!fork) {
			free(leaf);
			return ERR_NOMEM;
		}
		fork->child[bit_at(&old->prefix.ip, common)] = old;
		fork->child[bit_at(&p->ip, common)] = leaf;
		*at = fork;
	}
	t->n++;
	return OK;
}

enum err wg_allowedips_insert(struct wg_allowedips *t, const struct ip_prefix *prefix, void *value)
{
	struct ip_prefix p = *prefix;
	struct wg_trie_node **at = root_of(t, p.ip.family);

	ip_prefix_mask(&p);
	while (*at) {
		unsigned common = common_bits(&(*at)->prefix, &p);

		if (common < (*at)->prefix.bits)
			return insert_split(t, at, &p, common, value);
		if (common == p.bits) {
			t->n += (*at)->value == NULL;
			(*at)->value = value;
			return OK;
		}
		at = &(*at)->child[bit_at(&p.ip, common)];
	}
	*at = node_new(&p, p.bits, value);
	if (!*at)
		return ERR_NOMEM;
	t->n++;
	return OK;
}

/* A node that lost its value goes away unless it is still a fork. */
static void collapse(struct wg_trie_node **at)
{
	struct wg_trie_node *n = *at;

	if (!n || n->value || (n->child[0] && n->child[1]))
		return;
	*at = n->child[0] ? n->child[0] : n->child[1];
	free(n);
}

bool wg_allowedips_remove(struct wg_allowedips *t, const struct ip_prefix *prefix, const void *value)
{
	struct ip_prefix p = *prefix;
	struct wg_trie_node **at = root_of(t, p.ip.family), **parent = NULL;

	ip_prefix_mask(&p);
	while (*at && (*at)->prefix.bits < p.bits && ip_prefix_contains(&(*at)->prefix, &p.ip)) {
		parent = at;
		at = &(*at)->child[bit_at(&p.ip, (*at)->prefix.bits)];
	}
	if (!*at || (*at)->prefix.bits != p.bits || !ip_addr_equal(&(*at)->prefix.ip, &p.ip) ||
	    (*at)->value != value)
		return false;
	(*at)->value = NULL;
	t->n--;
	collapse(at);
	if (parent)
		collapse(parent);
	return true;
}

static void remove_below(struct wg_allowedips *t, struct wg_trie_node **at, const void *value)
{
	if (!*at)
		return;
	remove_below(t, &(*at)->child[0], value);
	remove_below(t, &(*at)->child[1], value);
	if ((*at)->value == value) {
		(*at)->value = NULL;
		t->n--;
	}
	collapse(at);
}

void wg_allowedips_remove_all(struct wg_allowedips *t, const void *value)
{
	remove_below(t, &t->root4, value);
	remove_below(t, &t->root6, value);
}

void *wg_allowedips_lookup(const struct wg_allowedips *t, const struct ip_addr *a)
{
	const struct wg_trie_node *n = *root_of(t, a->family);
	unsigned max = ip_addr_bits(a);
	void *best = NULL;

	while (n && ip_prefix_contains(&n->prefix, a)) {
		if (n->value)
			best = n->value;
		if (n->prefix.bits == max)
			break;
		n = n->child[bit_at(a, n->prefix.bits)];
	}
	return best;
}

struct listing {
	const void *value;
	size_t skip, n, max;
	struct ip_prefix *ret;
};

static void list_below(const struct wg_trie_node *n, struct listing *l)
{
	if (!n || l->n == l->max)
		return;
	if (n->value == l->value && l->skip > 0)
		l->skip--;
	else if (n->value == l->value)
		l->ret[l->n++] = n->prefix;
	list_below(n->child[0], l);
	list_below(n->child[1], l);
}

size_t wg_allowedips_list(const struct wg_allowedips *t, const void *value, size_t skip, struct ip_prefix *ret,
			  size_t max)
{
	struct listing l = { value, skip, 0, max, ret };

	list_below(t->root4, &l);
	list_below(t->root6, &l);
	return l.n;
}

static void free_below(struct wg_trie_node *n)
{
	if (!n)
		return;
	free_below(n->child[0]);
	free_below(n->child[1]);
	free(n);
}

void wg_allowedips_fini(struct wg_allowedips *t)
{
	free_below(t->root4);
	free_below(t->root6);
	*t = (struct wg_allowedips){ 0 };
}
