/* netstack/udp.c - datagram sockets on an interface. What comes in is told straight from the filter; lwIP sends. */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "netstack/net_internal.h"

#define HEADER_LEN 8

static struct net_udp *udp_find(struct net_if *nif, uint16_t port)
{
	list_for_each(it, &nif->udps) {
		struct net_udp *u = container_of(it, struct net_udp, link);

		if (u->pcb->local_port == port)
			return u;
	}
	return NULL;
}

void net_udp_input(struct net_if *nif, const struct net_packet *pkt)
{
	struct endpoint from = { pkt->src, get_be16(pkt->l4), 0 };
	struct net_udp *u = udp_find(nif, get_be16(pkt->l4 + 2));

	if (u)
		u->fn(u->ctx, u, &from, (struct bytes){ pkt->l4 + HEADER_LEN, pkt->l4_len - HEADER_LEN });
}

enum err net_udp_open(struct net_if *nif, uint16_t port, net_udp_fn fn, void *ctx, struct net_udp **ret)
{
	struct net_udp *u = calloc(1, sizeof(*u));
	struct udp_pcb *pcb = u ? udp_new_ip_type(IPADDR_TYPE_ANY) : NULL;

	if (!pcb) {
		free(u);
		return ERR_NOMEM;
	}
	for (int tries = 0; tries < 64; tries++) {
		uint16_t want = port ? port : (uint16_t)(1024 + rng_below(net_g.cfg.rng, 64512));

		if (udp_find(nif, want))
			continue;
		udp_bind_netif(pcb, &nif->lw);
		ip_set_option(pcb, SOF_REUSEADDR);
		if (udp_bind(pcb, IP_ANY_TYPE, want) == ERR_OK)
			break;
	}
	if (pcb->local_port == 0) {
		udp_remove(pcb);
		free(u);
		return ERR_IN_USE;
	}
	*u = (struct net_udp){ .nif = nif, .pcb = pcb, .fn = fn, .ctx = ctx };
	list_add_tail(&nif->udps, &u->link);
	net_g.stats.n_udp++;
	*ret = u;
	return OK;
}

enum err net_udp_send(struct net_udp *u, const struct endpoint *to, const void *buf, size_t len)
{
	const struct ip_addr *from = u->nif ? net_if_addr(u->nif, to->ip.family) : NULL;
	struct pbuf *p;
	ip_addr_t dst, src;
	err_t err;

	if (!from)
		return ERR_NO_ROUTE;
	if (len + (to->ip.family == IP_V6 ? 48u : 28u) > u->nif->cfg.mtu)
		return ERR_TOO_LONG;
	p = pbuf_alloc(PBUF_TRANSPORT, (u16_t)len, PBUF_RAM);
	if (!p)
		return ERR_NOMEM;
	if (len > 0)
		memcpy(p->payload, buf, len);
	net_to_lwip(&to->ip, &dst);
	net_to_lwip(from, &src);
	err = udp_sendto_if_src(u->pcb, p, &dst, to->port, &u->nif->lw, &src);
	pbuf_free(p);
	return err == ERR_WOULDBLOCK ? ERR_AGAIN : net_from_lwip_err(err);
}

void net_udp_close(struct net_udp *u)
{
	if (!u)
		return;
	if (u->pcb)
		udp_remove(u->pcb);
	list_del(&u->link);
	net_g.stats.n_udp--;
	free(u);
}
