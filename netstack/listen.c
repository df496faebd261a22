/*
 * netstack/listen.c - SYNs that wait for a decision.
 *
 * lwIP would answer a SYN at once. Here the packet itself is kept until the owner of the port accepts it (it is then given
 * to lwIP as if it had just come) or refuses it (a reset leaves). So the owner can first see whether what the
 * connection is for can be had at all.
 *
 * Thousands may be held, so that each SYN is looked up among them by its ends. The key of the hash is secret.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "netstack/net_internal.h"
#include "netstack/seq.h"

static struct net_listener *listener_find(struct net_if *nif, uint16_t port)
{
	list_for_each(it, &nif->listeners) {
		struct net_listener *l = container_of(it, struct net_listener, link);

		if (l->port == port)
			return l;
	}
	return NULL;
}

static void send_reset(struct net_if *nif, const struct endpoint *local, const struct endpoint *remote, uint32_t seq)
{
	ip_addr_t lip, rip;

	net_to_lwip(&local->ip, &lip);
	net_to_lwip(&remote->ip, &rip);
	tcp_rst_netif(&nif->lw, 0, seq + 1, &lip, &rip, local->port, remote->port);
}

/* ---- those that are held ---- */

static struct net_syn **syn_at(struct net_listener *l, const struct endpoint *remote, const struct endpoint *local)
{
	uint8_t key[2 * 16 + 2] = { 0 };
	struct net_syn **at;
	uint64_t hash;

	memcpy(key, remote->ip.b, remote->ip.family == IP_V4 ? 4 : 16);
	memcpy(key + 16, local->ip.b, local->ip.family == IP_V4 ? 4 : 16);
	put_be16(key + 32, remote->port);
	crypto_shorthash((uint8_t *)&hash, key, sizeof(key), net_g.isn_key);
	at = &l->by_ends[hash % NET_N_SYNS];
	while (*at && !(endpoint_equal(&(*at)->remote, remote) && endpoint_equal(&(*at)->local, local)))
		at = &(*at)->next;
	return at;
}

static void syn_free(struct net_syn *syn)
{
	*syn->at = syn->next;
	if (syn->next)
		syn->next->at = syn->at;
	list_del(&syn->link);
	syn->listener->n_used--;
	net_share_give(syn->listener->nif, syn->share);
	net_g.stats.n_syn_held--;
	if (syn->pb)
		pktbuf_free(syn->pb);
	free(syn);
}

static bool is_full(const struct net_listener *l)
{
	return l->n_used >= l->n_max || net_g.stats.n_tcp + net_g.stats.n_syn_held >= net_g.cfg.n_tcp_max;
}

bool net_listen_input(struct net_if *nif, struct pktbuf *pb, const struct net_packet *pkt)
{
	struct endpoint remote = { pkt->src, get_be16(pkt->l4), 0 }, local = { pkt->dst, get_be16(pkt->l4 + 2), 0 };
	struct net_listener *l = listener_find(nif, local.port);
	struct net_syn *syn = NULL, **at;
	struct net_share *share;
	struct tcp_pcb *pcb;

	if (!l)
		return !nif->cfg.reset_closed && (pktbuf_free(pb), true);
	/* A repeated SYN of a connection is lwIP's to answer. */
	pcb = net_pcb_find(nif, &local, &remote);
	if (pcb && pcb->state != TIME_WAIT)
		return false;
	at = syn_at(l, &remote, &local);
	if (*at) {
		pktbuf_free(pb);
		return true;
	}
	share = is_full(l) ? NULL : net_share_take(nif, &remote.ip);
	if (share && share->n <= net_g.cfg.n_tcp_peer_max)
		syn = calloc(1, sizeof(*syn));
	if (!syn) {
		net_share_give(nif, share);
		net_g.stats.n_refused_full++;
		send_reset(nif, &local, &remote, get_be32(pkt->l4 + 4));
		pktbuf_free(pb);
		return true;
	}
	*syn = (struct net_syn){ .at = at,
				 .listener = l,
				 .share = share,
				 .pb = pb,
				 .local = local,
				 .remote = remote,
				 .seq = get_be32(pkt->l4 + 4),
				 .until = net_g.now + NET_SYN_HOLD };
	*at = syn;
	list_add_tail(&l->syns, &syn->link);
	l->n_used++;
	net_g.stats.n_syn_held++;
	l->on_syn(l->ctx, syn, &syn->remote);
	return true;
}

enum err net_tcp_listen(struct net_if *nif, uint16_t port, uint32_t n_max, net_syn_fn on_syn, void *ctx,
			struct net_listener **ret)
{
	struct tcp_pcb *pcb, *listening = NULL;
	struct net_listener *l;
	err_t err;

	if (listener_find(nif, port))
		return ERR_IN_USE;
	l = calloc(1, sizeof(*l));
	pcb = l ? tcp_new_ip_type(IPADDR_TYPE_ANY) : NULL;
	if (!pcb) {
		free(l);
		return ERR_NOMEM;
	}
	ip_set_option(pcb, SOF_REUSEADDR);
	tcp_bind_netif(pcb, &nif->lw);
	err = tcp_bind(pcb, IP_ANY_TYPE, port);
	/* Is no other listener at that port? lwIP would ask for all interfaces together. */
	ip_reset_option(pcb, SOF_REUSEADDR);
	if (err == ERR_OK)
		listening = tcp_listen_with_backlog_and_err(pcb, TCP_DEFAULT_LISTEN_BACKLOG, &err);
	if (!listening) {
		tcp_close(pcb);
		free(l);
		return net_from_lwip_err(err);
	}
	*l = (struct net_listener){ .nif = nif, .pcb = listening, .port = port, .n_max = n_max, .on_syn = on_syn, .ctx = ctx };
	tcp_bind_netif(listening, &nif->lw);
	ip_set_option(listening, SOF_REUSEADDR);
	tcp_accept(listening, net_tcp_on_accept);
	list_init(&l->syns);
	list_add_tail(&nif->listeners, &l->link);
	net_g.stats.n_listeners++;
	*ret = l;
	return OK;
}

static void syn_gone(struct net_syn *syn)
{
	void (*on_gone)(void *ctx) = syn->on_gone;
	void *ctx = syn->gone_ctx;

	syn_free(syn);
	if (on_gone)
		on_gone(ctx);
}

void net_listener_close(struct net_listener *l)
{
	if (!l)
		return;
	while (!list_empty(&l->syns)) {
		struct net_syn *syn = container_of(list_first(&l->syns), struct net_syn, link);

		send_reset(l->nif, &syn->local, &syn->remote, syn->seq);
		syn_gone(syn);
	}
	list_for_each(it2, &l->nif->tcps) {
		struct net_tcp *c = container_of(it2, struct net_tcp, link);

		if (c->listener == l)
			c->listener = NULL;
	}
	tcp_close(l->pcb);
	list_del(&l->link);
	net_g.stats.n_listeners--;
	free(l);
}

void net_listen_close_if(struct net_if *nif)
{
	while (!list_empty(&nif->listeners))
		net_listener_close(container_of(list_first(&nif->listeners), struct net_listener, link));
}

static struct net_syn *find_expired(struct net_if *nif)
{
	list_for_each(it, &nif->listeners) {
		/* In order of arrival: the first ends first. */
		struct list *first = list_first(&container_of(it, struct net_listener, link)->syns);
		struct net_syn *syn = first ? container_of(first, struct net_syn, link) : NULL;

		if (syn && syn->until <= net_g.now)
			return syn;
	}
	return NULL;
}

void net_listen_expire(struct net_if *nif)
{
	struct net_syn *syn;

	/* Sought anew each time: the one who is told may close anything. */
	while ((syn = find_expired(nif)))
		syn_gone(syn);
}

nsec_t net_listen_deadline(const struct net_if *nif)
{
	nsec_t at = NSEC_NEVER;

	list_for_each(it, &((struct net_if *)nif)->listeners) {
		struct list *first = list_first(&container_of(it, struct net_listener, link)->syns);

		if (first)
			at = nsec_min(at, container_of(first, struct net_syn, link)->until);
	}
	return at;
}

void net_syn_set_gone(struct net_syn *syn, void (*on_gone)(void *ctx), void *ctx)
{
	syn->on_gone = on_gone;
	syn->gone_ctx = ctx;
}

/*
 * A former connection of the same ends may wait in TIME_WAIT; lwIP would answer the SYN with a reset or an old ACK. The other
 * side has forgotten it, so this is a new one. Its sequence number need not be higher, as RFC 6191 has it: the clock that ISNs
 * follow (RFC 6528) makes 250 KB a second, and a connection many times that. That it is no late copy is WireGuard's to see.
 */
static void drop_time_wait(const struct net_tcp *c)
{
	struct tcp_pcb *pcb = net_pcb_find(c->nif, &c->local, &c->remote);

	if (pcb && pcb->state == TIME_WAIT)
		tcp_abandon(pcb, 0);
}

enum err net_syn_accept(struct net_syn *syn, net_tcp_fn fn, void *ctx, struct net_tcp **ret)
{
	struct net_listener *l = syn->listener;
	struct net_tcp *c;
	struct tcp_pcb *pcb;
	struct pktbuf *pb;

	syn->share->n++;
	c = net_tcp_new(l->nif, syn->share, &syn->remote, fn, ctx);
	if (!c) {
		net_syn_refuse(syn);
		return ERR_NOMEM;
	}
	c->local = syn->local;
	pb = syn->pb;
	syn->pb = NULL;
	drop_time_wait(c);
	net_if_inject(l->nif, pb);
	pcb = net_pcb_find(c->nif, &c->local, &c->remote);
	if (!pcb || pcb->state != SYN_RCVD) {
		net_tcp_free(c);
		net_syn_refuse(syn);
		return ERR_NOMEM;
	}
	net_tcp_adopt(c, pcb);
	net_window_hold(c);
	c->listener = l;
	l->n_used++;
	syn_free(syn);
	*ret = c;
	return OK;
}

void net_syn_refuse(struct net_syn *syn)
{
	send_reset(syn->listener->nif, &syn->local, &syn->remote, syn->seq);
	syn_free(syn);
}
