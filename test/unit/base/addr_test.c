#include "base/addr.h"
#include "base/rng.h"
#include "test/lib/testing.h"

static void endpoint_round_trips(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "1.2.3.4:51820", "1.2.3.4:51820" },
		{ "[::1]:1", "[::1]:1" },
		{ "[2001:DB8::0:1]:65535", "[2001:db8::1]:65535" },
		{ "[fe80::1%3]:51820", "[fe80::1%3]:51820" },
		{ "0.0.0.0:0", "0.0.0.0:0" },
	};
	char buf[ENDPOINT_STR_MAX];
	struct endpoint ep, again;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(endpoint_parse(rows[i].in, &ep), OK);
		assert_string_equal(endpoint_format(&ep, buf), rows[i].out);
		assert_int_equal(endpoint_parse(buf, &again), OK);
		assert_true(endpoint_equal(&ep, &again));
	}
}

static void endpoint_refuses_bad_text(void **state)
{
	static const char *const bad[] = {
		"",	       ":",	     "1.2.3.4",	      "1.2.3.4:",     "1.2.3.4:65536", "1.2.3.4:-1",
		"1.2.3.4:1x",  "1.2.3:5",    "::1:5",	      "[::1]",	      "[::1]5",	       "[1.2.3.4]:5",
		"[::1:5",      "1.2.3.4%1:5", "[fe80::1%]:1", "[fe80::1%x]:1", "host:1",       " 1.2.3.4:1",
		"1.2.3.4: 1",  "1.2.3.4:00000000001",
		"[fe80::1%99999999999]:1", "[]:1", "[:1", "1.2.3.4:1 ",
	};
	struct endpoint ep = { .port = 7 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_not_equal(endpoint_parse(bad[i], &ep), OK);
		assert_int_equal(ep.port, 7);
	}
}

static void prefix_parses_and_masks(void **state)
{
	static const struct {
		const char *in, *masked;
	} rows[] = {
		{ "10.99.0.2/24", "10.99.0.0/24" }, { "10.99.0.2", "10.99.0.2/32" },
		{ "255.255.255.255/0", "0.0.0.0/0" }, { "10.255.0.1/9", "10.128.0.0/9" },
		{ "fd00::1:2/64", "fd00::/64" },      { "ffff::/1", "8000::/1" },
		{ "::1", "::1/128" },
	};
	static const char *const bad[] = { "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "/8", "x/8",
					   "10.0.0.0/8/8", "10.0.0.0/ 8" };
	char buf[PREFIX_STR_MAX];
	struct ip_prefix p;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(ip_prefix_parse(rows[i].in, &p), OK);
		ip_prefix_mask(&p);
		assert_string_equal(ip_prefix_format(&p, buf), rows[i].masked);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_not_equal(ip_prefix_parse(bad[i], &p), OK);
}

/* The bytewise check against one bit at a time. */
static void contains_agrees_with_naive(void **state)
{
	struct rng_seeded r;

	rng_seeded_init(&r, 1);
	for (int i = 0; i < 200000; i++) {
		struct ip_prefix p = { .ip.family = rng_chance(&r.rng, 500000) ? IP_V4 : IP_V6 };
		struct ip_addr a = { .family = p.ip.family };
		unsigned n = ip_addr_bits(&a) / 8, same = 0;

		rng_bytes(&r.rng, p.ip.b, n);
		memcpy(a.b, p.ip.b, n);
		a.b[rng_below(&r.rng, n)] ^= (uint8_t)(1u << rng_below(&r.rng, 8));
		p.bits = (uint8_t)rng_below(&r.rng, n * 8 + 1);
		while (same < n * 8 && !((a.b[same / 8] ^ p.ip.b[same / 8]) & (0x80 >> same % 8)))
			same++;
		assert_int_equal(ip_prefix_contains(&p, &a), same >= p.bits);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(endpoint_round_trips),
		cmocka_unit_test(endpoint_refuses_bad_text),
		cmocka_unit_test(prefix_parses_and_masks),
		cmocka_unit_test(contains_agrees_with_naive),
	};
	return RUN_TESTS(tests);
}
