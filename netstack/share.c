/*
 * netstack/share.c - what counts against a remote address's share, by address, so that a SYN costs no walk.
 *
 * The key of the hash is secret: nobody can choose addresses that collide.
 *
 * How far away an address is, is remembered for a while when its last connection has ended: many that begin at once, on a busy
 * machine, delay each other, and a short path would look like a long one for as long as they last.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/net_internal.h"

#define N_KEPT 256
#define KEPT_FOR (600 * NSEC_PER_SEC)

static struct net_share **share_at(struct net_if *nif, const struct ip_addr *ip)
{
	struct ip_addr key = { .family = ip->family };
	struct net_share **at;
	uint64_t hash;

	memcpy(key.b, ip->b, ip->family == IP_V4 ? 4 : 16);
	crypto_shorthash((uint8_t *)&hash, (const uint8_t *)&key, sizeof(key), net_g.isn_key);
	at = &nif->shares[hash % NET_N_SHARES];
	while (*at && !ip_addr_equal(&(*at)->ip, ip))
		at = &(*at)->next;
	return at;
}

/* Nobody has it: out of the list, and free. */
static void forget(struct net_if *nif, struct net_share *s)
{
	struct net_share **at = share_at(nif, &s->ip);

	*at = s->next;
	list_del(&s->idle);
	nif->n_idle_shares--;
	free(s);
}

static void wake(struct net_if *nif, struct net_share *s)
{
	list_del(&s->idle);
	nif->n_idle_shares--;
	if (net_g.now - s->idle_since > KEPT_FOR)
		s->rtt_min = NSEC_NEVER;
}

struct net_share *net_share_take(struct net_if *nif, const struct ip_addr *ip)
{
	struct net_share **at = share_at(nif, ip);

	if (!*at) {
		*at = calloc(1, sizeof(**at));
		if (!*at)
			return NULL;
		(*at)->ip = *ip;
		(*at)->rtt_min = NSEC_NEVER;
		list_init(&(*at)->idle);
	}
	if ((*at)->n++ == 0 && !list_empty(&(*at)->idle))
		wake(nif, *at);
	return *at;
}

void net_share_give(struct net_if *nif, struct net_share *s)
{
	if (!s)
		return;
	ASSERT(s->n > 0);
	if (--s->n > 0)
		return;
	s->idle_since = net_g.now;
	list_add_tail(&nif->idle_shares, &s->idle);
	nif->n_idle_shares++;
	if (s->rtt_min == NSEC_NEVER)
		forget(nif, s);
	else if (nif->n_idle_shares > N_KEPT)
		forget(nif, container_of(list_first(&nif->idle_shares), struct net_share, idle));
}

void net_share_forget(struct net_if *nif)
{
	struct list *first;

	while ((first = list_first(&nif->idle_shares)))
		forget(nif, container_of(first, struct net_share, idle));
}
