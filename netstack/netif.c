/*
 * netstack/netif.c - interfaces: packets in through the filter, packets out through the output function.
 *
 * A packet out is gathered as an iovec straight from lwIP's pbuf chain; no reference to it is kept. When the output
 * function says "blocked", lwIP hears ERR_WOULDBLOCK: the segment stays in the connection's queue, and net_if_resume() lets
 * those connections that were stopped go on, in that order (output.c).
 *
 * Several interfaces may carry one address: every PCB is bound to its interface, which decides on both ways.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "netstack/cc.h"
#include "netstack/net_internal.h"

#define N_IOV 64
#define FLUSH_EVERY 256 /* more than a turn of a writer on a short path (room.c) */

/* ---- out ---- */

static err_t output(struct net_if *nif, struct pbuf *p)
{
	static uint8_t flat[PKTBUF_DATA]; /* a segment of many small writes has a piece for each */
	const struct pbuf *whole = p;
	struct iovec iov[N_IOV];
	size_t len = p->tot_len;
	int n = 0;

	if (nif->closing)
		return ERR_OK;
	for (; p && n < N_IOV; p = p->next)
		if (p->len > 0)
			iov[n++] = (struct iovec){ p->payload, p->len };
	if (p && len > sizeof(flat))
		return ERR_BUF;
	if (p) {
		iov[0] = (struct iovec){ flat, pbuf_copy_partial(whole, flat, sizeof(flat), 0) };
		n = 1;
	}
	if (nif->cfg.output(nif->cfg.ctx, iov, n, len) == NET_OUTPUT_BLOCKED) {
		nif->blocked = true;
		net_g.stats.n_tx_blocked++;
		return ERR_WOULDBLOCK;
	}
	net_g.stats.n_tx++;
	return ERR_OK;
}

static err_t output4(struct netif *lw, struct pbuf *p, const ip4_addr_t *dst)
{
	return output(lw->state, p);
}

static err_t output6(struct netif *lw, struct pbuf *p, const ip6_addr_t *dst)
{
	return output(lw->state, p);
}

void net_if_resume(struct net_if *nif)
{
	nif->blocked = false;
	/* In the order in which they were stopped. */
	while (!list_empty(&nif->waiting)) {
		struct list *first = list_first(&nif->waiting);

		list_del(first);
		list_add_tail(&net_g.dirty, first);
	}
	net_flush();
}

bool net_congestion_is_known(const char *name)
{
	return net_cc_find(name) != NULL;
}

enum err net_if_set_congestion(struct net_if *nif, const char *name)
{
	const struct net_cc_ops *cc = net_cc_find(name);

	if (!cc)
		return ERR_INVALID;
	nif->cc = cc;
	return OK;
}

bool net_if_is_blocked(const struct net_if *nif)
{
	return nif->blocked;
}

/* ---- in ---- */

static void free_custom(struct pbuf *p)
{
	pktbuf_free(container_of((uint8_t(*)[PKTBUF_PRIV])p, struct pktbuf, priv));
}

struct pktbuf *net_unit_of(struct pbuf *p)
{
	if (!(p->flags & PBUF_FLAG_IS_CUSTOM) || ((struct pbuf_custom *)p)->custom_free_function != free_custom)
		return NULL;
	return container_of((uint8_t(*)[PKTBUF_PRIV])p, struct pktbuf, priv);
}

void net_if_inject(struct net_if *nif, struct pktbuf *pb)
{
	struct pbuf_custom *custom = (struct pbuf_custom *)pb->priv;
	struct pbuf *p;

	_Static_assert(sizeof(struct pbuf_custom) <= PKTBUF_PRIV, "fits beside the packet");
	custom->custom_free_function = free_custom;
	p = pbuf_alloced_custom(PBUF_RAW, pb->len, PBUF_REF, custom, pb->data + pb->off, pb->len);
	ASSERT(p);
	/* An interface has one IPv4 address in lwIP; the filter has checked that this one is ours too. */
	if (pb->data[pb->off] >> 4 == 4)
		memcpy(&ip_2_ip4(&nif->lw.lwip_ip_addr)->addr, pb->data + pb->off + 16, 4);
	if (nif->lw.input(p, &nif->lw) != ERR_OK)
		pbuf_free(p);
}

/* Return: may lwIP have it? When not, it was dealt with, but not freed unless @ret_kept. */
static bool admit(struct net_if *nif, struct pktbuf *pb, bool *ret_kept)
{
	struct net_packet pkt;
	enum net_verdict v = net_filter(pb->data + pb->off, pb->len, nif->cfg.addrs, nif->cfg.n_addrs, &pkt);

	*ret_kept = false;
	switch (v) {
	case NET_PASS_TCP:
		/* SYN with FIN or RST: nobody means well with that. */
		if ((pkt.l4[13] & 0x02) && (pkt.l4[13] & 0x05)) {
			net_g.stats.n_filtered++;
			return false;
		}
		/* SYN without ACK: perhaps a listener's to decide. */
		if ((pkt.l4[13] & 0x12) == 0x02)
			*ret_kept = net_listen_input(nif, pb, &pkt);
		return !*ret_kept;
	case NET_PASS_ECHO_REQUEST:
		return nif->cfg.answer_echo && net_echo_admit(nif, &pkt.src);
	case NET_PASS_ECHO_REPLY:
		net_echo_reply(nif, &pkt);
		return false;
	case NET_PASS_UDP:
		/* Past lwIP, which would send "port unreachable" by its own routing: perhaps to another tunnel. */
		net_udp_input(nif, &pkt);
		return false;
	case NET_PASS_ICMP_ERROR:
		return true;
	default:
		net_g.stats.n_filtered++;
		return false;
	}
}

void net_if_input(struct net_if *nif, struct pktbuf **pbs, size_t n)
{
	bool kept = false;

	net_enter();
	for (size_t i = 0; i < n; i++) {
		net_g.stats.n_rx++;
		if (nif->closing)
			pktbuf_free(pbs[i]);
		else if (admit(nif, pbs[i], &kept))
			net_if_inject(nif, pbs[i]);
		else if (!kept)
			pktbuf_free(pbs[i]);
		/* ACKs go once for so many packets: often enough that the other side's window keeps moving. */
		if (i % FLUSH_EVERY == FLUSH_EVERY - 1)
			net_flush();
	}
	net_flush();
	net_leave();
}

/* ---- life ---- */

static err_t if_init(struct netif *lw)
{
	struct net_if *nif = lw->state;

	lw->name[0] = 'w';
	lw->name[1] = 'g';
	lw->mtu = nif->cfg.mtu;
	lw->output = output4;
	lw->output_ip6 = output6;
	return ERR_OK;
}

static void set_addresses(struct net_if *nif)
{
	s8_t slot = 0;

	for (size_t i = 0; i < nif->cfg.n_addrs; i++) {
		ip_addr_t a;

		if (nif->cfg.addrs[i].ip.family != IP_V6 || slot >= LWIP_IPV6_NUM_ADDRESSES)
			continue;
		net_to_lwip(&nif->cfg.addrs[i].ip, &a);
		netif_ip6_addr_set(&nif->lw, slot, ip_2_ip6(&a));
		netif_ip6_addr_set_state(&nif->lw, slot++, IP6_ADDR_PREFERRED);
	}
}

enum err net_if_open(const struct net_if_config *cfg, struct net_if **ret)
{
	const struct net_cc_ops *cc = net_cc_find(cfg->congestion ? cfg->congestion : "cubic");
	struct net_if *nif = cc ? calloc(1, sizeof(*nif)) : NULL;
	ip4_addr_t ip = { 0 }, mask = { 0 }, gw = { 0 };
	const struct ip_addr *v4;

	if (!nif)
		return cc ? ERR_NOMEM : ERR_INVALID;
	nif->cfg = *cfg;
	if (!nif->cfg.mtu)
		nif->cfg.mtu = 1420;
	list_init(&nif->tcps);
	list_init(&nif->listeners);
	list_init(&nif->udps);
	list_init(&nif->waiting);
	list_init(&nif->idle_shares);
	nif->cc = cc;
	nif->rto_min = cfg->rto_min;
	v4 = net_if_addr(nif, IP_V4);
	if (v4)
		memcpy(&ip.addr, v4->b, 4);
	if (!netif_add(&nif->lw, &ip, &mask, &gw, nif, if_init, ip_input)) {
		free(nif);
		return ERR_FULL;
	}
	set_addresses(nif);
	netif_set_up(&nif->lw);
	netif_set_link_up(&nif->lw);
	list_add_tail(&net_g.ifs, &nif->link);
	*ret = nif;
	return OK;
}

/* Closing connections that no handle names any more. */
static void abort_leftovers(struct tcp_pcb **list, u8_t index)
{
	struct tcp_pcb *pcb = *list;

	while (pcb) {
		struct tcp_pcb *next = pcb->next;

		if (pcb->netif_idx == index) {
			tcp_abort(pcb);
			next = *list;
		}
		pcb = next;
	}
}

/* lwIP aborts every connection with a removed address, of other interfaces too: so it finds none to remove. */
static void forget_addresses(struct netif *lw)
{
	ip_addr_set_zero_ip4(&lw->lwip_ip_addr);
	for (int i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
		lw->ip6_addr_state[i] = IP6_ADDR_INVALID;
}

void net_enter(void)
{
	net_g.n_busy++;
}

void net_leave(void)
{
	if (--net_g.n_busy > 0)
		return;
	list_for_each_safe(it, &net_g.ifs) {
		struct net_if *nif = container_of(it, struct net_if, link);

		if (nif->closing) {
			list_del(it);
			free(nif);
		}
	}
}

static void close_udps(struct net_if *nif)
{
	list_for_each_safe(it, &nif->udps) {
		struct net_udp *u = container_of(it, struct net_udp, link);

		udp_remove(u->pcb);
		u->pcb = NULL;
		u->nif = NULL;
		list_del(it);
	}
}

static void close_tcp(struct net_tcp *c)
{
	struct tcp_pcb *pcb = c->pcb;

	net_tcp_fail(c, ERR_CLOSED);
	if (!pcb)
		return;
	tcp_arg(pcb, NULL);
	tcp_abort(pcb);
}

static bool is_among(const struct ip_prefix *addrs, size_t n, const struct ip_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (ip_addr_equal(&addrs[i].ip, a))
			return true;
	return false;
}

/* Connections without a handle, on an address that goes. */
static void abort_strays(struct net_if *nif, const struct ip_prefix *addrs, size_t n)
{
	u8_t index = netif_get_index(&nif->lw);
	struct tcp_pcb *pcb = tcp_active_pcbs;

	while (pcb) {
		struct tcp_pcb *next = pcb->next;
		struct ip_addr local;

		net_from_lwip(&pcb->local_ip, &local);
		if (pcb->netif_idx == index && !is_among(addrs, n, &local)) {
			tcp_abort(pcb);
			next = tcp_active_pcbs;
		}
		pcb = next;
	}
}

void net_if_set_addrs(struct net_if *nif, const struct ip_prefix *addrs, size_t n)
{
	const struct ip_addr *v4;

	ASSERT(n <= ARRAY_SIZE(nif->cfg.addrs));
	net_enter();
	/* Their resets leave from the old addresses. */
	list_for_each_safe(it, &nif->tcps) {
		struct net_tcp *c = container_of(it, struct net_tcp, link);

		if (!is_among(addrs, n, &c->local.ip))
			close_tcp(c);
	}
	abort_strays(nif, addrs, n);
	memcpy(nif->cfg.addrs, addrs, n * sizeof(*addrs));
	nif->cfg.n_addrs = n;
	forget_addresses(&nif->lw);
	v4 = net_if_addr(nif, IP_V4);
	if (v4)
		memcpy(&ip_2_ip4(&nif->lw.lwip_ip_addr)->addr, v4->b, 4);
	set_addresses(nif);
	net_tcp_tell_all();
	net_leave();
}

void net_if_close(struct net_if *nif)
{
	/* Of connections whose owners have not heard of it yet: they may ask for room. */
	static struct net_share nowhere = { .rtt_min = NSEC_NEVER };
	u8_t index;

	if (!nif || nif->closing)
		return;
	net_enter();
	nif->closing = true;
	index = netif_get_index(&nif->lw);
	net_listen_close_if(nif);
	list_for_each_safe(it, &nif->tcps) {
		struct net_tcp *c = container_of(it, struct net_tcp, link);

		close_tcp(c);
		net_share_give(nif, c->share);
		c->share = &nowhere;
		c->nif = NULL;
		list_del(&c->link);
	}
	net_share_forget(nif);
	close_udps(nif);
	abort_leftovers(&tcp_active_pcbs, index);
	abort_leftovers(&tcp_tw_pcbs, index);
	forget_addresses(&nif->lw);
	netif_remove(&nif->lw);
	net_tcp_tell_all();
	net_leave();
}
