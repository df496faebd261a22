/*
 * netstack/net.c - the stack as a whole: start, time, randomness, limits.
 *
 * lwIP asks for time and randomness through functions; both answer from what the caller passed in, so that a
 * simulation is exact.
 */
#include <sodium.h>
#include <string.h>

#include "netstack/checksum.h"
#include "netstack/net_internal.h"

struct net_state net_g;

u32_t sys_now(void)
{
	return (u32_t)(net_g.now / NSEC_PER_MSEC);
}

uint32_t net_lwip_rand(void)
{
	return rng_u32(net_g.cfg.rng);
}

/* RFC 6528: a clock of 4 µs steps plus a keyed hash of the connection. */
uint32_t net_lwip_isn(const void *local_ip, uint16_t local_port, const void *remote_ip, uint16_t remote_port)
{
	uint8_t id[2 * sizeof(struct ip_addr) + 4];
	struct ip_addr local, remote;
	uint64_t hash;

	net_from_lwip(local_ip, &local);
	net_from_lwip(remote_ip, &remote);
	memcpy(id, &local, sizeof(local));
	memcpy(id + sizeof(local), &remote, sizeof(remote));
	memcpy(id + 2 * sizeof(local), &local_port, 2);
	memcpy(id + 2 * sizeof(local) + 2, &remote_port, 2);
	crypto_shorthash((uint8_t *)&hash, id, sizeof(id), net_g.isn_key);
	return (uint32_t)hash + (uint32_t)(net_g.now / (4 * NSEC_PER_USEC));
}

enum err net_init(const struct net_config *cfg, nsec_t now)
{
	static bool lwip_is_up;

	ASSERT(!net_g.running);
	memset(&net_g, 0, sizeof(net_g));
	net_g.cfg = *cfg;
	net_g.now = now;
	net_g.cfg.n_tcp_max = cfg->n_tcp_max ? cfg->n_tcp_max : 16384;
	net_g.cfg.n_tcp_peer_max = cfg->n_tcp_peer_max ? cfg->n_tcp_peer_max : 4096;
	net_g.cfg.snd_bytes_max = cfg->snd_bytes_max ? cfg->snd_bytes_max : TCP_SND_BUF;
	net_g.cfg.mem_bytes_max = cfg->mem_bytes_max ? cfg->mem_bytes_max : 256u << 20;
	list_init(&net_g.ifs);
	list_init(&net_g.held);
	list_init(&net_g.ready);
	list_init(&net_g.dirty);
	list_init(&net_g.hoards);
	list_init(&net_g.time_wait);
	list_init(&net_g.line.waiting);
	list_init(&net_g.line.holders);
	rng_bytes(cfg->rng, net_g.isn_key, sizeof(net_g.isn_key));
	rng_bytes(cfg->rng, net_g.hash_key, sizeof(net_g.hash_key));
	for (size_t i = 0; i < ARRAY_SIZE(net_g.hash_key); i++)
		net_g.hash_key[i] |= 1; /* a factor */
	net_set_now(now);
	/* lwIP has no end: its state is made once, and empty again when all interfaces are closed. */
	if (!lwip_is_up)
		lwip_init();
	lwip_is_up = true;
	net_timer_start();
	net_g.running = true;
	return OK;
}

void net_fini(void)
{
	ASSERT(list_empty(&net_g.ifs));
	net_rest();
	net_g.running = false;
}

void net_set_now(nsec_t now)
{
	net_g.now = now;
	net_timer_set_now();
}

nsec_t net_deadline(void)
{
	nsec_t at = nsec_min(nsec_min(net_timer_deadline(), net_room_deadline()), net_held_deadline());

	/* More to tell than one flush may. */
	if (!list_empty(&net_g.ready))
		return net_g.now;
	list_for_each(it, &net_g.ifs)
		at = nsec_min(at, net_listen_deadline(container_of(it, struct net_if, link)));
	return at;
}

void net_expire(nsec_t now)
{
	net_set_now(now);
	net_enter();
	net_timer_expire();
	net_room_expire();
	list_for_each(it, &net_g.ifs)
		net_listen_expire(container_of(it, struct net_if, link));
	net_flush();
	net_leave();
}

void net_flush(void)
{
	net_enter();
	/* Readers first: one ACK then carries the window that they opened. */
	net_tcp_tell_all();
	net_output_all();
	net_ooseq_relieve();
	net_leave();
}

void net_get_stats(struct net_stats *ret)
{
	*ret = net_g.stats;
	ret->n_time_wait = net_g.n_time_wait;
}
