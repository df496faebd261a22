/* netstack/echo.c - pings: a limit on those we answer, and those we send. lwIP answers; requests are built here. */
#include <sodium.h>
#include <string.h>

#include "base/endian.h"
#include "netstack/checksum.h"
#include "netstack/net_internal.h"

#define HEADER_LEN 8

bool net_echo_admit(struct net_if *nif, const struct ip_addr *src)
{
	struct echo_bucket *b;
	uint64_t hash;

	crypto_shorthash((uint8_t *)&hash, (const uint8_t *)src, sizeof(*src), net_g.isn_key);
	b = &nif->echo[hash % ARRAY_SIZE(nif->echo)];

	/* Sources that share a bucket share its rate: else two of them could renew it for each other. */
	if (net_g.now - b->window >= NSEC_PER_SEC)
		*b = (struct echo_bucket){ .window = net_g.now };
	return b->n++ < NET_ECHO_RATE;
}

void net_echo_listen(struct net_if *nif, net_echo_fn fn, void *ctx)
{
	nif->echo_fn = fn;
	nif->echo_ctx = ctx;
}

void net_echo_reply(struct net_if *nif, const struct net_packet *pkt)
{
	if (nif->echo_fn)
		nif->echo_fn(nif->echo_ctx, &pkt->src, get_be16(pkt->l4 + 4), get_be16(pkt->l4 + 6),
			     (struct bytes){ pkt->l4 + HEADER_LEN, pkt->l4_len - HEADER_LEN });
}

static uint16_t fold(uint32_t a, uint32_t b)
{
	uint32_t sum = a + b;

	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static void build4(uint8_t *p, size_t len, const struct ip_addr *from, const struct ip_addr *to)
{
	uint16_t sum;

	p[0] = 0x45;
	put_be16(p + 2, (uint16_t)len);
	put_be16(p + 6, 0x4000);
	p[8] = 64;
	p[9] = 1;
	memcpy(p + 12, from->b, 4);
	memcpy(p + 16, to->b, 4);
	sum = (uint16_t)~net_checksum(p, 20);
	memcpy(p + 10, &sum, 2);
	p[20] = 8;
	sum = (uint16_t)~net_checksum(p + 20, (int)len - 20);
	memcpy(p + 22, &sum, 2);
}

static void build6(uint8_t *p, size_t len, const struct ip_addr *from, const struct ip_addr *to)
{
	uint8_t pseudo[40] = { 0 };
	uint16_t sum;

	p[0] = 0x60;
	put_be16(p + 4, (uint16_t)(len - 40));
	p[6] = 58;
	p[7] = 64;
	memcpy(p + 8, from->b, 16);
	memcpy(p + 24, to->b, 16);
	p[40] = 128;
	memcpy(pseudo, p + 8, 32);
	put_be32(pseudo + 32, (uint32_t)(len - 40));
	pseudo[39] = 58;
	sum = (uint16_t)~fold(net_checksum(pseudo, sizeof(pseudo)), net_checksum(p + 40, (int)len - 40));
	memcpy(p + 42, &sum, 2);
}

enum err net_echo_send(struct net_if *nif, const struct ip_addr *to, uint16_t id, uint16_t seq, const void *data,
		       size_t len)
{
	const struct ip_addr *from = net_if_addr(nif, to->family);
	size_t ip_len = to->family == IP_V6 ? 40 : 20, total = ip_len + HEADER_LEN + len;
	uint8_t pkt[2048] = { 0 };
	struct iovec iov = { pkt, total };

	if (!from)
		return ERR_NO_ROUTE;
	if (total > nif->cfg.mtu || total > sizeof(pkt))
		return ERR_TOO_LONG;
	put_be16(pkt + ip_len + 4, id);
	put_be16(pkt + ip_len + 6, seq);
	if (len > 0)
		memcpy(pkt + ip_len + HEADER_LEN, data, len);
	if (to->family == IP_V6)
		build6(pkt, total, from, to);
	else
		build4(pkt, total, from, to);
	return nif->cfg.output(nif->cfg.ctx, &iov, 1, total) == NET_OUTPUT_OK ? OK : ERR_AGAIN;
}
