/*
 * netstack/filter.h - what may reach lwIP: a total function on the bytes of a decrypted packet.
 *
 * lwIP's historic holes were in reassembly, options, neighbour discovery and multicast; none of that comes past
 * here. What a packet is, is told too, so that nobody parses it again.
 */
#ifndef NETSTACK_FILTER_H
#define NETSTACK_FILTER_H

#include "base/addr.h"

enum net_verdict {
	NET_PASS_TCP,
	NET_PASS_UDP,
	NET_PASS_ECHO_REQUEST,
	NET_PASS_ECHO_REPLY,
	NET_PASS_ICMP_ERROR,
	NET_DROP_LENGTH,      /* lengths that contradict each other */
	NET_DROP_FRAGMENT,
	NET_DROP_OPTIONS,     /* IPv4 options, IPv6 extension headers */
	NET_DROP_SOURCE,      /* multicast, broadcast, loopback, unspecified, or our own */
	NET_DROP_DESTINATION, /* not ours: nothing is forwarded between peers */
	NET_DROP_PROTOCOL,
};

struct net_packet {
	struct ip_addr src, dst;
	const uint8_t *l4; /* transport header */
	size_t l4_len;
};

/** net_filter() - judge @len bytes at @p against our addresses; @ret is filled when it passes */
enum net_verdict net_filter(const uint8_t *p, size_t len, const struct ip_prefix *ours, size_t n_ours,
			    struct net_packet *ret);

#endif
