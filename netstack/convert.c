/* netstack/convert.c - our types and lwIP's. */
#include <string.h>

#include "netstack/net_internal.h"

void net_to_lwip(const struct ip_addr *a, ip_addr_t *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (a->family == IP_V6) {
		memcpy(ip_2_ip6(ret)->addr, a->b, 16);
		IP_SET_TYPE(ret, IPADDR_TYPE_V6);
	} else {
		memcpy(&ip_2_ip4(ret)->addr, a->b, 4);
		IP_SET_TYPE(ret, IPADDR_TYPE_V4);
	}
}

void net_from_lwip(const ip_addr_t *a, struct ip_addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (IP_IS_V6(a)) {
		ret->family = IP_V6;
		memcpy(ret->b, ip_2_ip6(a)->addr, 16);
	} else {
		ret->family = IP_V4;
		memcpy(ret->b, &ip_2_ip4(a)->addr, 4);
	}
}

enum err net_from_lwip_err(err_t e)
{
	switch (e) {
	case ERR_OK:
		return OK;
	case ERR_MEM:
	case ERR_BUF:
		return ERR_NOMEM;
	case ERR_RTE:
		return ERR_NO_ROUTE;
	case ERR_RST:
		return ERR_RESET;
	case ERR_ABRT:
		return ERR_TIMEOUT;
	case ERR_CLSD:
		return ERR_CLOSED;
	case ERR_USE:
		return ERR_IN_USE;
	default:
		return ERR_INTERNAL;
	}
}

const struct ip_addr *net_if_addr(const struct net_if *nif, uint8_t family)
{
	for (size_t i = 0; i < nif->cfg.n_addrs; i++)
		if (nif->cfg.addrs[i].ip.family == family)
			return &nif->cfg.addrs[i].ip;
	return NULL;
}
