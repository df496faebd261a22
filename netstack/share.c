/*
 * netstack/share.c - what counts against a remote address's share, by address, so that a SYN costs no walk.
 *
 * The key of the hash is secret: nobody can choose addresses that collide.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/net_internal.h"

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

struct net_share *net_share_take(struct net_if *nif, const struct ip_addr *ip)
{
	struct net_share **at = share_at(nif, ip);

	if (!*at) {
		*at = calloc(1, sizeof(**at));
		if (!*at)
			return NULL;
		(*at)->ip = *ip;
		(*at)->rtt_min = NSEC_NEVER;
	}
	(*at)->n++;
	return *at;
}

void net_share_give(struct net_if *nif, const struct ip_addr *ip)
{
	struct net_share **at = share_at(nif, ip), *s = *at;

	ASSERT(s && s->n > 0);
	if (--s->n > 0)
		return;
	*at = s->next;
	free(s);
}

uint32_t net_share_count(struct net_if *nif, const struct ip_addr *ip)
{
	struct net_share *s = *share_at(nif, ip);

	return s ? s->n : 0;
}
