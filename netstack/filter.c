/* netstack/filter.c - see filter.h. */
#include "netstack/filter.h"

#include <string.h>

#include "base/endian.h"

#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_ICMP6 58

static bool is_ours(const struct ip_addr *a, const struct ip_prefix *ours, size_t n_ours)
{
	for (size_t i = 0; i < n_ours; i++)
		if (ip_addr_equal(a, &ours[i].ip))
			return true;
	return false;
}

static bool bad_source(const struct ip_addr *a, const struct ip_prefix *ours, size_t n_ours)
{
	static const uint8_t mapped[12] = { [10] = 0xff, 0xff };
	static const uint8_t broadcast[4] = { 255, 255, 255, 255 };

	return ip_addr_is_multicast(a) || ip_addr_is_loopback(a) || ip_addr_is_unspecified(a) ||
	       (a->family == IP_V4 && (memcmp(a->b, broadcast, 4) == 0 || a->b[0] == 0)) ||
	       (a->family == IP_V6 && memcmp(a->b, mapped, 12) == 0) || is_ours(a, ours, n_ours);
}

static enum net_verdict judge_tcp(const struct net_packet *pkt)
{
	size_t header = pkt->l4_len >= 20 ? (size_t)(pkt->l4[12] >> 4) * 4 : 0;

	return header >= 20 && header <= pkt->l4_len ? NET_PASS_TCP : NET_DROP_LENGTH;
}

static enum net_verdict judge_udp(const struct net_packet *pkt)
{
	if (pkt->l4_len < 8 || get_be16(pkt->l4 + 4) != pkt->l4_len)
		return NET_DROP_LENGTH;
	return NET_PASS_UDP;
}

static enum net_verdict judge_icmp(const struct net_packet *pkt, bool v6)
{
	if (pkt->l4_len < 8)
		return NET_DROP_LENGTH;
	switch (pkt->l4[0] | (v6 ? 0x100 : 0)) {
	case 8:
	case 0x100 | 128:
		return NET_PASS_ECHO_REQUEST;
	case 0:
	case 0x100 | 129:
		return NET_PASS_ECHO_REPLY;
	case 3:
	case 0x100 | 1:
	case 0x100 | 2:
		return NET_PASS_ICMP_ERROR;
	default:
		return NET_DROP_PROTOCOL;
	}
}

static enum net_verdict judge_transport(uint8_t proto, const struct net_packet *pkt)
{
	bool v6 = pkt->src.family == IP_V6;

	if (proto == PROTO_TCP)
		return judge_tcp(pkt);
	if (proto == PROTO_UDP)
		return judge_udp(pkt);
	if (proto == (v6 ? PROTO_ICMP6 : PROTO_ICMP))
		return judge_icmp(pkt, v6);
	/* Hop-by-hop, routing, fragment, destination options and the like. */
	if (v6 && (proto == 0 || proto == 43 || proto == 44 || proto == 50 || proto == 51 || proto == 60 ||
		   proto == 135 || proto == 139 || proto == 140))
		return proto == 44 ? NET_DROP_FRAGMENT : NET_DROP_OPTIONS;
	return NET_DROP_PROTOCOL;
}

/* Both addresses stand side by side at @at, the transport header at @l4. */
static enum net_verdict take(struct net_packet *pkt, enum ip_family family, const uint8_t *at, size_t addr_len,
			     const uint8_t *l4, size_t l4_len)
{
	pkt->src.family = pkt->dst.family = family;
	memcpy(pkt->src.b, at, addr_len);
	memcpy(pkt->dst.b, at + addr_len, addr_len);
	pkt->l4 = l4;
	pkt->l4_len = l4_len;
	return NET_PASS_TCP;
}

static enum net_verdict parse4(const uint8_t *p, size_t len, struct net_packet *pkt, uint8_t *ret_proto)
{
	if (len < 20 || get_be16(p + 2) != len)
		return NET_DROP_LENGTH;
	if ((p[0] & 15) != 5)
		return (p[0] & 15) < 5 ? NET_DROP_LENGTH : NET_DROP_OPTIONS;
	if (get_be16(p + 6) & 0x3fff)
		return NET_DROP_FRAGMENT;
	*ret_proto = p[9];
	return take(pkt, IP_V4, p + 12, 4, p + 20, len - 20);
}

static enum net_verdict parse6(const uint8_t *p, size_t len, struct net_packet *pkt, uint8_t *ret_proto)
{
	if (len < 40 || get_be16(p + 4) + 40u != len)
		return NET_DROP_LENGTH;
	*ret_proto = p[6];
	return take(pkt, IP_V6, p + 8, 16, p + 40, len - 40);
}

enum net_verdict net_filter(const uint8_t *p, size_t len, const struct ip_prefix *ours, size_t n_ours,
			    struct net_packet *ret)
{
	struct net_packet pkt = { 0 };
	enum net_verdict v = NET_DROP_LENGTH;
	uint8_t proto = 0;

	if (len >= 20 && p[0] >> 4 == 4)
		v = parse4(p, len, &pkt, &proto);
	else if (len >= 40 && p[0] >> 4 == 6)
		v = parse6(p, len, &pkt, &proto);
	if (v != NET_PASS_TCP)
		return v;
	if (bad_source(&pkt.src, ours, n_ours))
		return NET_DROP_SOURCE;
	if (!is_ours(&pkt.dst, ours, n_ours))
		return NET_DROP_DESTINATION;
	v = judge_transport(proto, &pkt);
	if (v <= NET_PASS_ICMP_ERROR)
		*ret = pkt;
	return v;
}
