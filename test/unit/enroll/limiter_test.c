/* The limiter: bursts and refills, what counts as one address, who goes when the table is full; against a naive twin. */
#include "base/rng.h"
#include "enroll/limiter.h"
#include "test/lib/testing.h"

static struct ip_addr ip(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(text, &a), OK);
	return a;
}

static bool take(struct enroll_limiter *l, const char *text, nsec_t now)
{
	struct ip_addr a = ip(text);

	return enroll_limiter_take(l, &a, now);
}

static void burst_and_refill(void **state)
{
	struct enroll_limiter *l = enroll_limiter_new(16, 1);
	nsec_t t = 1000 * NSEC_PER_SEC;

	for (int i = 0; i < ENROLL_BURST; i++)
		assert_true(take(l, "192.0.2.1", t));
	assert_false(take(l, "192.0.2.1", t));
	assert_true(take(l, "192.0.2.2", t));
	assert_false(take(l, "192.0.2.1", t + ENROLL_REFILL - 1));
	assert_true(take(l, "192.0.2.1", t + ENROLL_REFILL));
	assert_false(take(l, "192.0.2.1", t + ENROLL_REFILL));
	for (int i = 0; i < ENROLL_BURST; i++)
		assert_true(take(l, "192.0.2.1", t + 40 * NSEC_PER_SEC));
	assert_false(take(l, "192.0.2.1", t + 40 * NSEC_PER_SEC));
	enroll_limiter_free(l);
}

static void given_back(void **state)
{
	struct enroll_limiter *l = enroll_limiter_new(16, 1);
	struct ip_addr a = ip("192.0.2.1");

	for (int i = 0; i < 1000; i++) {
		assert_true(enroll_limiter_take(l, &a, 5));
		enroll_limiter_give_back(l, &a, 5);
	}
	for (int i = 0; i < ENROLL_BURST; i++)
		assert_true(enroll_limiter_take(l, &a, 5));
	assert_false(enroll_limiter_take(l, &a, 5));
	enroll_limiter_free(l);
}

static void a_64_is_one(void **state)
{
	struct enroll_limiter *l = enroll_limiter_new(16, 1);

	assert_true(take(l, "2001:db8:0:1::1", 0));
	assert_true(take(l, "2001:db8:0:1::2", 0));
	assert_true(take(l, "2001:db8:0:1:ffff::3", 0));
	assert_true(take(l, "2001:db8:0:1::4", 0));
	assert_true(take(l, "2001:db8:0:1::5", 0));
	assert_false(take(l, "2001:db8:0:1:1:2:3:4", 0));
	assert_true(take(l, "2001:db8:0:2::1", 0));
	assert_int_equal(enroll_limiter_count(l), 2);
	/* An IPv4 address in the form of IPv6 is that IPv4 address. */
	for (int i = 0; i < ENROLL_BURST; i++)
		assert_true(take(l, i % 2 ? "::ffff:192.0.2.9" : "192.0.2.9", 0));
	assert_false(take(l, "::ffff:192.0.2.9", 0));
	enroll_limiter_free(l);
}

/* A full table: the oldest who may still try goes first; who is shut out stays so. */
static void eviction(void **state)
{
	struct enroll_limiter *l = enroll_limiter_new(3, 1);

	for (int i = 0; i < ENROLL_BURST; i++)
		assert_true(take(l, "10.0.0.1", 1));
	assert_false(take(l, "10.0.0.1", 1));
	assert_true(take(l, "10.0.0.2", 2));
	assert_true(take(l, "10.0.0.3", 3));
	for (int i = 4; i < 250; i++) {
		char text[20];

		snprintf(text, sizeof(text), "10.0.1.%d", i);
		assert_true(take(l, text, (nsec_t)i));
		assert_false(take(l, "10.0.0.1", (nsec_t)i));
		assert_int_equal(enroll_limiter_count(l), 3);
	}
	/* All shut: the oldest of them goes. */
	for (int i = 0; i < ENROLL_BURST + 1; i++) {
		take(l, "10.0.1.248", 300);
		take(l, "10.0.1.249", 301);
	}
	assert_false(take(l, "10.0.0.1", 302));
	assert_true(take(l, "10.0.2.1", 303)); /* 10.0.1.248 went */
	for (int i = 0; i < ENROLL_BURST; i++)
		take(l, "10.0.2.1", 304);
	assert_false(take(l, "10.0.1.249", 305));
	assert_true(take(l, "10.0.1.248", 306));
	enroll_limiter_free(l);
}

/* Against a table that is searched from end to end, with room for all. */
static void twin(void **state)
{
	struct { struct ip_addr ip; nsec_t at; unsigned left; } naive[64] = { 0 };
	struct enroll_limiter *l = enroll_limiter_new(64, 9);
	struct rng_seeded r;
	nsec_t now = 0;

	rng_seeded_init(&r, 77);
	for (int i = 0; i < 64; i++) {
		naive[i].ip = ip_addr_v4(10, 0, 0, (uint8_t)i);
		naive[i].left = ENROLL_BURST;
	}
	for (int i = 0; i < 200000; i++) {
		size_t k = rng_below(&r.rng, 64);

		now += rng_below(&r.rng, NSEC_PER_SEC / 2);
		if (naive[k].at == 0)
			naive[k].at = now;
		for (; now - naive[k].at >= ENROLL_REFILL; naive[k].at += ENROLL_REFILL)
			if (naive[k].left < ENROLL_BURST)
				naive[k].left++;
		if (naive[k].left == ENROLL_BURST)
			naive[k].at = now;
		assert_int_equal(enroll_limiter_take(l, &naive[k].ip, now), naive[k].left > 0);
		if (naive[k].left > 0)
			naive[k].left--;
	}
	enroll_limiter_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(burst_and_refill), cmocka_unit_test(given_back), cmocka_unit_test(a_64_is_one),
		cmocka_unit_test(eviction), cmocka_unit_test(twin),
	};

	return RUN_TESTS(tests);
}
