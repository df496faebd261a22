/* The pre-filter on any bytes: total, in bounds, and what it passes keeps the promises of filter.h. */
#include "netstack/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ip_prefix ours[2] = { { { IP_V4, { 10, 99, 0, 1 } }, 24 },
						  { { IP_V6, { 0xfd, [15] = 1 } }, 64 } };
	struct net_packet pkt;
	enum net_verdict v = net_filter(data, size, ours, 2, &pkt);

	if (v > NET_PASS_ICMP_ERROR)
		return 0;
	ASSERT(pkt.l4 > data && pkt.l4 + pkt.l4_len == data + size);
	ASSERT(ip_addr_equal(&pkt.dst, &ours[0].ip) || ip_addr_equal(&pkt.dst, &ours[1].ip));
	ASSERT(!ip_addr_equal(&pkt.src, &pkt.dst) && !ip_addr_is_multicast(&pkt.src));
	ASSERT(pkt.l4_len >= (v == NET_PASS_TCP ? 20u : 8u));
	if (v == NET_PASS_TCP)
		ASSERT((size_t)(pkt.l4[12] >> 4) * 4 <= pkt.l4_len);
	return 0;
}
