/*
 * wg/allowedips.h - which peer owns an address: longest prefix match, IPv4 and IPv6 (cryptokey routing, section 2).
 *
 * A value is an opaque non-NULL pointer (a peer). Host bits of a prefix are ignored.
 */
#ifndef WG_ALLOWEDIPS_H
#define WG_ALLOWEDIPS_H

#include "base/addr.h"

struct wg_trie_node;
struct wg_allowedips {
	struct wg_trie_node *root4, *root6;
	size_t n;
};

/** wg_allowedips_insert() - @p is @value's from now on; taken from whoever had exactly it. ERR_NOMEM: unchanged. */
MUST_CHECK enum err wg_allowedips_insert(struct wg_allowedips *t, const struct ip_prefix *p, void *value);
/** wg_allowedips_remove() - exactly @p, if it is @value's. Return: was it there? */
bool wg_allowedips_remove(struct wg_allowedips *t, const struct ip_prefix *p, const void *value);
/** wg_allowedips_remove_all() - every prefix of @value */
void wg_allowedips_remove_all(struct wg_allowedips *t, const void *value);
/** wg_allowedips_lookup() - the value of the longest prefix that contains @a, or NULL */
void *wg_allowedips_lookup(const struct wg_allowedips *t, const struct ip_addr *a);
/** wg_allowedips_list() - prefixes of @value in order of address, after skipping @skip; return: how many */
size_t wg_allowedips_list(const struct wg_allowedips *t, const void *value, size_t skip, struct ip_prefix *ret,
			  size_t max);
void wg_allowedips_fini(struct wg_allowedips *t);

#endif
