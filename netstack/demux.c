/*
 * netstack/demux.c - our part of every control block, and how a packet finds its own.
 *
 * lwIP searches its lists at every packet, and walks them to take something out; with thousands of connections that is
 * all that it does (doc/tcp.md). Its two macros for lists call here instead: lists know what points to each
 * element, and connections, TIME_WAIT included, are in one hash of (interface, both ends). The key of the hash is secret, so
 * that nobody can choose ends that collide; the connection that was found last is looked at first.
 */
#include <stdlib.h>
#include <string.h>

#include "netstack/loss.h"

#define N_BUCKETS_MIN 64

static struct net_pcb *first_buckets[N_BUCKETS_MIN];
static struct net_pcb **buckets = first_buckets;
static size_t n_buckets = N_BUCKETS_MIN, n_hashed;
static struct net_pcb *last_found;

/* ---- the hash ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t x = (__uint128_t)a * b;

	return (uint64_t)x ^ (uint64_t)(x >> 64);
}

static uint64_t mix_addr(uint64_t h, const ip_addr_t *a)
{
	uint64_t w[2];

	if (IP_IS_V4(a))
		return mix(h ^ ip_2_ip4(a)->addr, net_g.hash_key[1]);
	memcpy(w, ip_2_ip6(a)->addr, sizeof(w));
	return mix(mix(h ^ w[0], net_g.hash_key[1]) ^ w[1], net_g.hash_key[2]);
}

static uint64_t hash_of(uint8_t index, const ip_addr_t *local, uint16_t lport, const ip_addr_t *remote, uint16_t rport)
{
	uint64_t h = mix(net_g.hash_key[0] ^ ((uint64_t)index << 32 | (uint32_t)lport << 16 | rport), net_g.hash_key[3]);

	return mix_addr(mix_addr(h, local), remote);
}

static struct net_pcb **bucket_of(uint64_t hash)
{
	return &buckets[hash & (n_buckets - 1)];
}

/* Without memory the chains grow longer; they are found all the same. */
static void grow(void)
{
	size_t n = n_buckets * 2, old = n_buckets;
	struct net_pcb **more, **was = buckets;

	if (n_hashed < n_buckets)
		return;
	more = calloc(n, sizeof(struct net_pcb *));
	if (!more)
		return;
	buckets = more;
	n_buckets = n;
	for (size_t i = 0; i < old; i++)
		for (struct net_pcb *p = was[i], *next; p; p = next) {
			next = p->hash_next;
			p->hash_next = *bucket_of(p->hash);
			*bucket_of(p->hash) = p;
		}
	if (was != first_buckets)
		free(was);
}

static void hash_add(struct net_pcb *n)
{
	struct tcp_pcb *pcb = n->pcb;

	grow();
	n->hash = hash_of(pcb->netif_idx, &pcb->local_ip, pcb->local_port, &pcb->remote_ip, pcb->remote_port);
	n->hash_next = *bucket_of(n->hash);
	*bucket_of(n->hash) = n;
	n->hashed = true;
	n_hashed++;
}

static void hash_del(struct net_pcb *n)
{
	struct net_pcb **at;

	if (!n->hashed)
		return;
	for (at = bucket_of(n->hash); *at != n; at = &(*at)->hash_next)
		;
	*at = n->hash_next;
	n->hashed = false;
	n_hashed--;
	if (last_found == n)
		last_found = NULL;
}

static bool is_it(const struct tcp_pcb *pcb, uint8_t index, const ip_addr_t *local, uint16_t lport, const ip_addr_t *remote,
		  uint16_t rport)
{
	return pcb->remote_port == rport && pcb->local_port == lport && pcb->netif_idx == index &&
	       ip_addr_eq(&pcb->remote_ip, remote) && ip_addr_eq(&pcb->local_ip, local);
}

static struct tcp_pcb *find(uint8_t index, const ip_addr_t *local, uint16_t lport, const ip_addr_t *remote, uint16_t rport)
{
	uint64_t hash;

	if (last_found && is_it(last_found->pcb, index, local, lport, remote, rport))
		return last_found->pcb;
	hash = hash_of(index, local, lport, remote, rport);
	for (struct net_pcb *n = *bucket_of(hash); n; n = n->hash_next)
		if (n->hash == hash && is_it(n->pcb, index, local, lport, remote, rport)) {
			last_found = n;
			return n->pcb;
		}
	return NULL;
}

struct tcp_pcb *net_lwip_find(void *netif, const void *local, uint16_t lport, const void *remote, uint16_t rport)
{
	return find(netif_get_index((struct netif *)netif), local, lport, remote, rport);
}

struct tcp_pcb *net_pcb_find(const struct net_if *nif, const struct endpoint *local, const struct endpoint *remote)
{
	ip_addr_t lip, rip;

	net_to_lwip(&local->ip, &lip);
	net_to_lwip(&remote->ip, &rip);
	return find(netif_get_index(&nif->lw), &lip, local->port, &rip, remote->port);
}

bool net_pcb_exists(const struct net_if *nif, const ip_addr_t *local, uint16_t lport, const ip_addr_t *remote, uint16_t rport)
{
	return find(netif_get_index(&nif->lw), local, lport, remote, rport) != NULL;
}

/* ---- lists and life ---- */

void net_lwip_reg(struct tcp_pcb **list, struct tcp_pcb *pcb)
{
	pcb->next = *list;
	pcb->pprev = list;
	if (pcb->next)
		pcb->next->pprev = &pcb->next;
	*list = pcb;
	if (list != &tcp_active_pcbs && list != &tcp_tw_pcbs)
		return;
	pcb->net->nif = netif_get_by_index(pcb->netif_idx)->state;
	hash_add(pcb->net);
	net_timer_registered(pcb->net, list == &tcp_tw_pcbs);
}

void net_lwip_rmv(struct tcp_pcb *pcb)
{
	*pcb->pprev = pcb->next;
	if (pcb->next)
		pcb->next->pprev = pcb->pprev;
	pcb->next = NULL;
	pcb->pprev = NULL;
	if (pcb->state != LISTEN)
		hash_del(pcb->net);
}

struct net_pcb *net_lwip_pcb_new(struct tcp_pcb *pcb)
{
	struct net_pcb *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->pcb = pcb;
	heap_node_init(&n->timer);
	list_init(&n->turn);
	return n;
}

/* Every way on which a PCB ends comes here; TIME_WAIT's end, for one, is told nowhere else. */
void net_lwip_pcb_free(struct net_pcb *n)
{
	struct net_tcp *c = n->pcb->callback_arg;

	hash_del(n);
	if (c)
		c->pcb = NULL;
	net_timer_forget(n);
	list_del(&n->turn);
	net_loss_fini(n);
	net_ooseq_fini(n);
	free(n);
}

void net_pcb_own(struct tcp_pcb *pcb, struct net_tcp *c)
{
	tcp_arg(pcb, c);
}

void net_pcb_connected(struct net_tcp *c)
{
	struct net_pcb *n = c->pcb->net;

	net_hole_connected(n);
	if (n->tries == 0)
		net_loss_handshake(n, net_g.now - n->since, n->pcb->state == ESTABLISHED && !c->listener);
}
