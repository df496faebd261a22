/*
 * Threads seal what the hub sends: every byte arrives in its place, whatever happens to keys, peers, sockets and the tunnel while
 * runs are with the threads. To be run under ASan and TSan as well (SAN=thread make unit-tunnel).
 */
#include "base/rng.h"
#include "os/udp_internal.h"
#include "test/lib/testing.h"
#include "test/lib/tunflows.h"

#define EACH (3u << 20)
#define N_SEEDS 3

static struct tunflows t;
static struct rng_seeded dice;

static int64_t gauge(const char *name)
{
	struct tunnel_gauge g[TUNNEL_N_GAUGES + 1];
	size_t n = tunnel_gauges(t.pair.hub, g, ARRAY_SIZE(g));

	assert_true(n <= TUNNEL_N_GAUGES);
	for (size_t i = 0; i < n; i++)
		if (strcmp(g[i].name, name) == 0)
			return g[i].value;
	fail_msg("no gauge %s", name);
	return 0;
}

static void begin(int workers)
{
	tunpair_workers = workers;
	tunflows_begin(&t, EACH);
}

static void all_arrive(nsec_t limit)
{
	assert_true(tunflows_arrive(&t, 100, limit));
	for (size_t i = 0; i < TUNFLOWS_N; i++)
		assert_int_equal(t.flows[i].got, EACH);
}

static void all_arrive_in_order(void **state)
{
	for (int workers = 1; workers <= TUNNEL_WORKERS_MAX; workers *= 2) {
		begin(workers);
		all_arrive(30 * NSEC_PER_SEC);
		assert_int_equal(gauge("aead_workers"), workers);
		printf("%d threads: %lld runs handed over, %lld taken back, %lld late\n", workers, (long long)gauge("aead_handed"),
		       (long long)gauge("aead_taken_back"), (long long)gauge("aead_late"));
		assert_true(gauge("aead_handed") > 20);
		tunflows_end(&t);
	}
}

static void off_is_off(void **state)
{
	begin(TUNNEL_WORKERS_OFF);
	all_arrive(30 * NSEC_PER_SEC);
	assert_int_equal(gauge("aead_workers"), 0);
	assert_int_equal(gauge("aead_handed"), 0);
	tunflows_end(&t);
}

/* ---- while runs are with the threads ---- */

static bool never(void *ctx)
{
	return false;
}

static void jam(void)
{
	tunflows_stuck = true;
	tunpair_run(&t.pair, never, NULL, 3 * NSEC_PER_MSEC);
	tunflows_stuck = false;
}

static void disturb(void)
{
	struct wg_device *dev = tunnel_device(t.pair.hub);
	wg_peer_id peer = wg_peer_next(dev, 0);

	switch (rng_below(&dice.rng, 6)) {
	case 0:
		wg_peer_rehandshake(dev, peer, os_loop_now(t.pair.loop));
		break;
	case 1:
		assert_int_equal(tunnel_rebuild(t.pair.hub), OK);
		break;
	case 2:
		jam();
		break;
	case 3:
		assert_int_equal(tunnel_set_peers(t.pair.hub, NULL, 0), OK);
		assert_int_equal(tunnel_set_peers(t.pair.hub, &t.pair.to_agent, 1), OK);
		break;
	case 4:
		wg_peer_clear_src(dev, peer);
		break;
	case 5:
		assert_true(wg_device_set_aead(dev, NULL)); /* as the quiet tunnel does; every lane has it */
		break;
	}
	tunnel_kick(t.pair.hub);
}

static void nothing_is_lost_by_what_happens(void **state)
{
	const char *s = getenv("TEST_SEED");
	uint64_t seed = s ? strtoull(s, NULL, 0) : 1, last = s ? seed : seed + N_SEEDS - 1;

	os_udp_sendmsg = tunflows_sendmsg;
	for (; seed <= last; seed++) {
		printf("TEST_SEED=%llu\n", (unsigned long long)seed);
		rng_seeded_init(&dice, seed);
		begin(1 + (int)rng_below(&dice.rng, 4));
		for (unsigned share = 10; share <= 70; share += 20) {
			assert_true(tunflows_arrive(&t, share, 20 * NSEC_PER_SEC));
			disturb();
		}
		all_arrive(40 * NSEC_PER_SEC);
		tunflows_end(&t);
	}
	os_udp_sendmsg = sendmsg;
}

/* The tunnel goes while its runs are out: they are waited for, and leave or are freed. */
static void closing_waits_for_the_threads(void **state)
{
	for (int i = 0; i < 8; i++) {
		begin(2);
		assert_true(tunflows_arrive(&t, 10 + 3 * (unsigned)i, 20 * NSEC_PER_SEC));
		tunnel_close(t.pair.hub); /* its connections are told, and still ours to give back */
		t.pair.hub = NULL;
		tunflows_end(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_arrive_in_order),
		cmocka_unit_test(off_is_off),
		cmocka_unit_test(nothing_is_lost_by_what_happens),
		cmocka_unit_test(closing_waits_for_the_threads),
	};

	return RUN_TESTS(tests);
}
