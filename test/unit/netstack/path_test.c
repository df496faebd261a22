/*
 * test/unit/netstack/path_test.c - what TCP makes of long and lossy paths, in virtual time.
 *
 * Each path has a floor for what it must reach; the numbers are printed. All is seeded. The kernel's CUBIC stands beside
 * some of them: measured on the same paths over wireguard-go with a TUN device (doc/tcp.md).
 */
#include "test/lib/flows.h"

static const struct path paths[] = {
	{ .name = "200 Mb/s, 20 ms, queue 50", .ms = 10, .mbps = 200, .queue = 50, .least_mbps = 165 },
	{ .name = "queue 200", .ms = 10, .mbps = 200, .queue = 200, .least_mbps = 180 },
	{ .name = "queue 1,000", .ms = 10, .mbps = 200, .queue = 1000, .least_mbps = 180 },
	{ .name = "in batches, queue 50", .ms = 10, .mbps = 200, .queue = 50, .tick_ms = 1, .least_mbps = 165 },
	{ .name = "in batches, queue 200", .ms = 10, .mbps = 200, .queue = 200, .tick_ms = 1, .least_mbps = 180 },
	{ .name = "in batches, queue 1,000", .ms = 10, .mbps = 200, .queue = 1000, .tick_ms = 1, .least_mbps = 180 },
	{ .name = "on a busy machine, queue 50", .ms = 10, .mbps = 200, .queue = 50, .tick_ms = 1, .stall_ms = 10, .n_seeds = 3,
	  .least_mbps = 122 },
	{ .name = "on a busy machine, queue 200", .ms = 10, .mbps = 200, .queue = 200, .tick_ms = 1, .stall_ms = 10, .n_seeds = 3,
	  .least_mbps = 163 },
	{ .name = "on a busy machine, queue 1,000", .ms = 10, .mbps = 200, .queue = 1000, .tick_ms = 1, .stall_ms = 10,
	  .n_seeds = 3, .least_mbps = 164 },
	{ .name = "50 Mb/s, 100 ms, queue 100", .ms = 50, .mbps = 50, .queue = 100, .least_mbps = 40 },
	{ .name = "1 Gb/s, 20 ms, 1e-4", .ms = 10, .mbps = 1000, .queue = 1000, .loss_ppm = 100, .n_seeds = 3, .least_mbps = 80 },
	{ .name = "1 Gb/s, 20 ms, 1e-3", .ms = 10, .mbps = 1000, .queue = 1000, .loss_ppm = 1000, .n_seeds = 5, .least_mbps = 32.3 },
	{ .name = "1 Gb/s, 20 ms, 1e-2", .ms = 10, .mbps = 1000, .queue = 1000, .loss_ppm = 10000, .n_seeds = 5, .least_mbps = 6 },
	{ .name = "1 Gb/s, 100 ms, 1e-3", .ms = 50, .mbps = 1000, .queue = 5000, .loss_ppm = 1000, .n_seeds = 5, .least_mbps = 12 },
	{ .name = "200 Mb/s, 20 ms, 1 % 3 ms late", .ms = 10, .mbps = 200, .queue = 200, .reorder_ppm = 10000, .least_mbps = 182 },
	{ .name = "bbr, queue 50", .ms = 10, .mbps = 200, .queue = 50, .congestion = "bbr", .least_mbps = 170 },
	{ .name = "bbr, queue 1,000", .ms = 10, .mbps = 200, .queue = 1000, .congestion = "bbr", .least_mbps = 170 },
	{ .name = "bbr, in batches, queue 200", .ms = 10, .mbps = 200, .queue = 200, .tick_ms = 1, .congestion = "bbr", .least_mbps = 160 },
	{ .name = "bbr, 1 Gb/s, 20 ms, 1e-3", .ms = 10, .mbps = 1000, .queue = 1000, .loss_ppm = 1000, .congestion = "bbr",
	  .seconds = 5, .least_mbps = 700 },
	/* What waits behind a loss is three times what the pool holds. */
	{ .name = "bbr, 1 Gb/s, 20 ms, 1e-3, few units", .ms = 10, .mbps = 1000, .queue = 1000, .loss_ppm = 1000,
	  .congestion = "bbr", .units = 640, .seconds = 5, .least_mbps = 700 },
	{ .name = "bbr, 1 Gb/s, 100 ms, 1e-3", .ms = 50, .mbps = 1000, .queue = 5000, .loss_ppm = 1000, .congestion = "bbr",
	  .seconds = 6, .least_mbps = 500 },
};

static void uploads_reach_their_floor(void **state)
{
	assert_int_equal(flows_reach_floors(paths, ARRAY_SIZE(paths)), 0);
}

/*
 * On a long fat path 90 % of the rate are there soon: slow start doubles every round trip. What it overflows leaves thousands of
 * holes; nothing but what was dropped is sent again.
 */
static void a_long_fat_path_fills_fast(void **state)
{
	struct path path = { .ms = 50, .mbps = 1000, .queue = 9000 };
	static struct flows r;
	struct net_stats st;
	double at = 0;
	uint64_t before = 0;

	flows_begin(&r, &path, 7);
	flows_add(&r, &path, NULL);
	for (int i = 1; i <= 50 && at == 0; i++) {
		netpair_run(&r.p, 100 * NSEC_PER_MSEC, NULL, NULL);
		if (flows_mbps(r.flows[0].got - before, 0.1) >= 0.9 * 1000 * 1380 / 1420)
			at = i / 10.0;
		before = r.flows[0].got;
	}
	print_message("1 Gb/s, 100 ms: 90 %% after %.1f s\n", at);
	assert_true(at > 0 && at <= 2);
	netpair_run(&r.p, 2 * NSEC_PER_SEC, NULL, NULL);
	net_get_stats(&st);
	print_message("dropped %llu, resent %llu\n", (unsigned long long)r.p.a.n_dropped, (unsigned long long)st.n_resent);
	assert_true(st.n_resent >= r.p.a.n_dropped && st.n_resent <= r.p.a.n_dropped * 11 / 10);
	assert_true(r.p.a.n_dropped <= 5500);
	flows_end(&r);
}

/* No flow of 32 gets less than half of its share, whether a bottleneck holds them back or our own output. */
static void many_flows_share(void **state)
{
	static const struct path many[] = {
		{ .name = "bottleneck of 200 Mb/s, 20 ms", .ms = 10, .mbps = 200, .queue = 500 },
		{ .name = "output that takes 44 packets", .ms = 0.1, .queue = 44 },
	};
	static struct flows r;

	for (size_t k = 0; k < ARRAY_SIZE(many); k++) {
		uint64_t least = UINT64_MAX, sum = 0, before[FLOWS_MAX];

		flows_begin(&r, &many[k], 11);
		for (int i = 0; i < FLOWS_MAX; i++)
			flows_add(&r, &many[k], NULL);
		r.p.queue_max = many[k].mbps > 0 ? 0 : many[k].queue;
		netpair_run(&r.p, 5 * NSEC_PER_SEC / (k ? 50 : 1), NULL, NULL);
		for (int i = 0; i < FLOWS_MAX; i++)
			before[i] = r.flows[i].got;
		netpair_run(&r.p, 10 * NSEC_PER_SEC / (k ? 50 : 1), NULL, NULL);
		for (int i = 0; i < FLOWS_MAX; i++) {
			least = MIN(least, r.flows[i].got - before[i]);
			sum += r.flows[i].got - before[i];
		}
		print_message("32 flows, %s: %.0f Mb/s, the least %.2f of its share\n", many[k].name,
			      flows_mbps(sum, k ? 0.2 : 10), (double)least * FLOWS_MAX / (double)sum);
		assert_true(2 * least * FLOWS_MAX >= sum);
		flows_end(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uploads_reach_their_floor),
		cmocka_unit_test(a_long_fat_path_fills_fast),
		cmocka_unit_test(many_flows_share),
	};
	return RUN_TESTS(tests);
}
