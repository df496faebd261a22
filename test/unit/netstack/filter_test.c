/* The pre-filter: a table of packets, every truncation, and what checksum says against a slow twin. */
#include "base/endian.h"
#include "netstack/checksum.h"
#include "netstack/filter.h"
#include "test/lib/netpair.h"

static const struct ip_prefix ours[2] = { { { IP_V4, { 10, 99, 0, 1 } }, 24 }, { { IP_V6, { 0xfd, [15] = 1 } }, 64 } };

struct pkt {
	uint8_t b[128];
	size_t len;
};

static struct pkt good4(uint8_t proto)
{
	struct pkt p = { .len = 60 };

	p.b[0] = 0x45;
	put_be16(p.b + 2, (uint16_t)p.len);
	p.b[8] = 64;
	p.b[9] = proto;
	memcpy(p.b + 12, (uint8_t[]){ 10, 99, 0, 2, 10, 99, 0, 1 }, 8);
	if (proto == 1)
		p.b[20] = 8;
	if (proto == 6)
		p.b[32] = 0x50;
	if (proto == 17)
		put_be16(p.b + 24, 40);
	return p;
}

static struct pkt good6(uint8_t proto)
{
	struct pkt p = { .len = 80 };

	p.b[0] = 0x60;
	put_be16(p.b + 4, 40);
	p.b[6] = proto;
	p.b[8] = p.b[24] = 0xfd;
	p.b[23] = 2;
	p.b[39] = 1;
	if (proto == 58)
		p.b[40] = 128;
	if (proto == 6)
		p.b[52] = 0x50;
	if (proto == 17)
		put_be16(p.b + 44, 40);
	return p;
}

static enum net_verdict judge(const struct pkt *p)
{
	struct net_packet ret;
	/* Exactly as large as the packet, so that a sanitizer sees any step beyond. */
	uint8_t *copy = malloc(p->len ? p->len : 1);
	enum net_verdict v;

	memcpy(copy, p->b, p->len);
	v = net_filter(copy, p->len, ours, 2, &ret);
	free(copy);
	return v;
}

struct change {
	const char *name;
	bool v6;
	uint8_t proto;
	uint8_t at, n, to[16];
	enum net_verdict want;
};

static const struct change changes[] = {
	{ "TCP", 0, 6, 0, 0, { 0 }, NET_PASS_TCP },
	{ "UDP", 0, 17, 0, 0, { 0 }, NET_PASS_UDP },
	{ "echo", 0, 1, 0, 0, { 0 }, NET_PASS_ECHO_REQUEST },
	{ "echo reply", 0, 1, 20, 1, { 0 }, NET_PASS_ECHO_REPLY },
	{ "unreachable", 0, 1, 20, 1, { 3 }, NET_PASS_ICMP_ERROR },
	{ "redirect", 0, 1, 20, 1, { 5 }, NET_DROP_PROTOCOL },
	{ "timestamp request", 0, 1, 20, 1, { 13 }, NET_DROP_PROTOCOL },
	{ "DF", 0, 6, 6, 2, { 0x40, 0 }, NET_PASS_TCP },
	{ "first fragment", 0, 6, 6, 2, { 0x20, 0 }, NET_DROP_FRAGMENT },
	{ "later fragment", 0, 6, 6, 2, { 0, 1 }, NET_DROP_FRAGMENT },
	{ "options", 0, 6, 0, 1, { 0x46 }, NET_DROP_OPTIONS },
	{ "short header", 0, 6, 0, 1, { 0x44 }, NET_DROP_LENGTH },
	{ "version 5", 0, 6, 0, 1, { 0x55 }, NET_DROP_LENGTH },
	{ "total length below", 0, 6, 2, 2, { 0, 59 }, NET_DROP_LENGTH },
	{ "total length above", 0, 6, 2, 2, { 0, 61 }, NET_DROP_LENGTH },
	{ "data offset below 5", 0, 6, 32, 1, { 0x40 }, NET_DROP_LENGTH },
	{ "data offset beyond", 0, 6, 32, 1, { 0xb0 }, NET_DROP_LENGTH },
	{ "data offset to the end", 0, 6, 32, 1, { 0xa0 }, NET_PASS_TCP },
	{ "UDP length", 0, 17, 24, 2, { 0, 41 }, NET_DROP_LENGTH },
	{ "from loopback", 0, 6, 12, 4, { 127, 0, 0, 1 }, NET_DROP_SOURCE },
	{ "from multicast", 0, 6, 12, 4, { 224, 0, 0, 1 }, NET_DROP_SOURCE },
	{ "from broadcast", 0, 6, 12, 4, { 255, 255, 255, 255 }, NET_DROP_SOURCE },
	{ "from 0.0.0.0", 0, 6, 12, 4, { 0, 0, 0, 0 }, NET_DROP_SOURCE },
	{ "from 0.1.2.3", 0, 6, 12, 4, { 0, 1, 2, 3 }, NET_DROP_SOURCE },
	{ "land", 0, 6, 12, 4, { 10, 99, 0, 1 }, NET_DROP_SOURCE },
	{ "to another peer", 0, 6, 16, 4, { 10, 99, 0, 3 }, NET_DROP_DESTINATION },
	{ "to broadcast", 0, 6, 16, 4, { 10, 99, 0, 255 }, NET_DROP_DESTINATION },
	{ "to multicast", 0, 17, 16, 4, { 224, 0, 0, 251 }, NET_DROP_DESTINATION },
	{ "IGMP", 0, 2, 0, 0, { 0 }, NET_DROP_PROTOCOL },
	{ "ICMPv6 over IPv4", 0, 58, 0, 0, { 0 }, NET_DROP_PROTOCOL },
	{ "TCP6", 1, 6, 0, 0, { 0 }, NET_PASS_TCP },
	{ "UDP6", 1, 17, 0, 0, { 0 }, NET_PASS_UDP },
	{ "echo6", 1, 58, 0, 0, { 0 }, NET_PASS_ECHO_REQUEST },
	{ "echo reply 6", 1, 58, 40, 1, { 129 }, NET_PASS_ECHO_REPLY },
	{ "too big", 1, 58, 40, 1, { 2 }, NET_PASS_ICMP_ERROR },
	{ "MLD", 1, 58, 40, 1, { 130 }, NET_DROP_PROTOCOL },
	{ "router solicitation", 1, 58, 40, 1, { 133 }, NET_DROP_PROTOCOL },
	{ "router advertisement", 1, 58, 40, 1, { 134 }, NET_DROP_PROTOCOL },
	{ "neighbour solicitation", 1, 58, 40, 1, { 135 }, NET_DROP_PROTOCOL },
	{ "neighbour advertisement", 1, 58, 40, 1, { 136 }, NET_DROP_PROTOCOL },
	{ "redirect 6", 1, 58, 40, 1, { 137 }, NET_DROP_PROTOCOL },
	{ "hop-by-hop", 1, 0, 0, 0, { 0 }, NET_DROP_OPTIONS },
	{ "routing", 1, 43, 0, 0, { 0 }, NET_DROP_OPTIONS },
	{ "fragment 6", 1, 44, 0, 0, { 0 }, NET_DROP_FRAGMENT },
	{ "destination options", 1, 60, 0, 0, { 0 }, NET_DROP_OPTIONS },
	{ "no next header", 1, 59, 0, 0, { 0 }, NET_DROP_PROTOCOL },
	{ "payload length", 1, 6, 4, 2, { 0, 41 }, NET_DROP_LENGTH },
	{ "from ::", 1, 6, 8, 16, { 0 }, NET_DROP_SOURCE },
	{ "from ::1", 1, 6, 8, 16, { [15] = 1 }, NET_DROP_SOURCE },
	{ "from multicast 6", 1, 6, 8, 1, { 0xff }, NET_DROP_SOURCE },
	{ "from a mapped address", 1, 6, 8, 16, { [10] = 0xff, 0xff, 10, 99, 0, 2 }, NET_DROP_SOURCE },
	{ "land 6", 1, 6, 23, 1, { 1 }, NET_DROP_SOURCE },
	{ "to another peer 6", 1, 6, 39, 1, { 3 }, NET_DROP_DESTINATION },
	{ "to all nodes", 1, 58, 24, 16, { 0xff, 2, [15] = 1 }, NET_DROP_DESTINATION },
};

static void each_kind_gets_its_verdict(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		const struct change *c = &changes[i];
		struct pkt p = c->v6 ? good6(c->proto) : good4(c->proto);
		enum net_verdict v;

		memcpy(p.b + c->at, c->to, c->n);
		v = judge(&p);
		if (v != c->want)
			print_message("%s: %d instead of %d\n", c->name, v, c->want);
		assert_int_equal(v, c->want);
	}
}

static void every_truncation_is_dropped(void **state)
{
	static const uint8_t protos[] = { 6, 17, 1, 58 };

	for (size_t i = 0; i < ARRAY_SIZE(protos) * 2; i++) {
		struct pkt p = i & 1 ? good6(protos[i / 2]) : good4(protos[i / 2]);
		size_t full = p.len;

		for (p.len = 0; p.len < full; p.len++)
			assert_int_equal(judge(&p), NET_DROP_LENGTH);
	}
}

/* With lengths made to agree again, the transport header is what is too short. */
static void short_transport_headers_are_dropped(void **state)
{
	static const struct {
		uint8_t proto;
		size_t need;
	} kinds[] = { { 6, 20 }, { 17, 8 }, { 1, 8 }, { 58, 8 } };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (size_t n = 0; n < kinds[i].need; n++) {
			bool v6 = kinds[i].proto == 58;
			struct pkt p = v6 ? good6(58) : good4(kinds[i].proto);

			p.len = (v6 ? 40 : 20) + n;
			put_be16(p.b + (v6 ? 4 : 2), (uint16_t)(v6 ? n : p.len));
			assert_int_equal(judge(&p), NET_DROP_LENGTH);
		}
}

static uint16_t slow_checksum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;
	uint8_t out[2];
	uint16_t v;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put_be16(out, (uint16_t)sum);
	memcpy(&v, out, 2);
	return v;
}

static void checksum_agrees_with_the_slow_one(void **state)
{
	struct rng_seeded rng;
	static uint8_t buf[66000];

	rng_seeded_init(&rng, 1);
	for (int round = 0; round < 3; round++) {
		if (round < 2)
			memset(buf, round ? 0xff : 0, sizeof(buf));
		else
			rng_bytes(&rng.rng, buf, sizeof(buf));
		for (size_t off = 0; off < 9; off++) {
			for (int len = 0; len < 300; len++)
				assert_int_equal(net_checksum(buf + off, len), slow_checksum(buf + off, (size_t)len));
			assert_int_equal(net_checksum(buf + off, 65535), slow_checksum(buf + off, 65535));
		}
	}
}

/* Random bytes behind good headers, straight into the stack: nothing bad leaves, every unit comes back. */
static void garbage_is_survived(void **state)
{
	struct netpair p;
	struct pktpool_stats st;

	netpair_init(&p, 41);
	for (int i = 0; i < 100000; i++) {
		struct pkt k = i & 1 ? good6(6) : good4(6);
		size_t head = i & 1 ? 40 : 20;

		rng_bytes(&p.rng.rng, k.b + head, k.len - head);
		k.b[head + 12] = (uint8_t)(0x50 + 0x10 * rng_below(&p.rng.rng, 6));
		netpair_inject(&p, &p.a, k.b, k.len);
		if (i % 1000 == 0)
			netpair_run(&p, NSEC_PER_MSEC, NULL, NULL);
	}
	netpair_run(&p, NSEC_PER_SEC, NULL, NULL);
	pktpool_get_stats(p.pool, &st);
	assert_int_equal(st.n_used, 0);
	netpair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_gets_its_verdict),
		cmocka_unit_test(every_truncation_is_dropped),
		cmocka_unit_test(short_transport_headers_are_dropped),
		cmocka_unit_test(checksum_agrees_with_the_slow_one),
		cmocka_unit_test(garbage_is_survived),
	};
	return RUN_TESTS(tests);
}
