/*
 * netstack/hole.c - paths that swallow large packets and say nothing (RFC 4821 section 7.7, RFC 8899 section 4.3).
 *
 * Outside, IPv4 datagrams may be cut by routers (os/udp.c), so a path with a small MTU mostly works by itself. It does not
 * where pieces are dropped too, and over IPv6 when "packet too big" is filtered: small packets pass, so that a connection
 * opens, and then nothing that is full arrives. Its sign is a segment larger than the small MTU allows that timed out twice
 * in a row. Then the connection's segments are made small: an inner packet of 1,200 bytes is one of 1,280 outside, which
 * every path of IPv6 must carry. What is queued and under way is cut anew and sent from the first byte that is missing.
 *
 * The remote address is remembered for ten minutes: other connections to it begin small. After that one of them tries the
 * full size again. An outage of the path has the same sign; then small segments cost two percent for as long.
 */
#include "netstack/loss.h"

#define SMALL_MTU 1200
#define REMEMBERED (600 * NSEC_PER_SEC)

static uint16_t small_mss(const struct tcp_pcb *pcb)
{
	return SMALL_MTU - (IP_IS_V6(&pcb->remote_ip) ? IP6_HLEN : IP_HLEN) - TCP_HLEN;
}

static struct net_hole *find(struct net_if *nif, const struct ip_addr *ip)
{
	for (size_t i = 0; i < ARRAY_SIZE(nif->holes); i++)
		if (nif->holes[i].until > net_g.now && ip_addr_equal(&nif->holes[i].ip, ip))
			return &nif->holes[i];
	return NULL;
}

static void remember(struct net_if *nif, const struct ip_addr *ip)
{
	struct net_hole *h = find(nif, ip);

	if (!h)
		h = &nif->holes[nif->next_hole++ % ARRAY_SIZE(nif->holes)];
	*h = (struct net_hole){ *ip, net_g.now + REMEMBERED };
}

void net_hole_connected(struct net_pcb *n)
{
	struct ip_addr ip;

	net_from_lwip(&n->pcb->remote_ip, &ip);
	if (find(n->nif, &ip))
		n->pcb->mss = MIN(n->pcb->mss, small_mss(n->pcb));
}

bool net_hole_suspected(const struct net_pcb *n)
{
	const struct tcp_seg *first = n->pcb->unacked;

	return n->snd->backoff > 0 && first && first->len > small_mss(n->pcb);
}

static void cut(struct tcp_pcb *pcb)
{
	struct tcp_seg *head = pcb->unsent;

	/* lwIP cuts the first of the queue: each is that for a moment. */
	for (struct tcp_seg *seg = head; seg; seg = seg->next) {
		pcb->unsent = seg;
		if (tcp_split_unsent_seg(pcb, pcb->mss) != ERR_OK)
			break;
	}
	pcb->unsent = head;
	pcb->unsent_oversize = 0;
}

bool net_hole_shrink(struct net_pcb *n)
{
	struct tcp_pcb *pcb = n->pcb;
	struct ip_addr ip;

	/* All that is under way goes back to the queue. */
	if (tcp_rexmit_rto_prepare(pcb) != ERR_OK)
		return false;
	net_from_lwip(&pcb->remote_ip, &ip);
	remember(n->nif, &ip);
	pcb->mss = small_mss(pcb);
	cut(pcb);
	net_g.stats.n_holes++;
	return true;
}
