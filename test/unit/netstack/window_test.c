/*
 * test/unit/netstack/window_test.c - how much readers are offered, as the wire shows it: the right edge that the receiving side
 * told last, less what it has acknowledged. That no offer is ever taken back is watched (wirewatch.c).
 */
#include "test/lib/flows.h"

/* What the receivers of all flows offer together; *@ret_most: the one that offers most. */
static uint64_t offered(const struct flows *r, uint64_t *ret_most)
{
	uint64_t sum = 0;

	*ret_most = 0;
	for (size_t i = 0; i < WIREWATCH_FLOWS; i++) {
		const struct wirewatch_dir *to = &r->p.watch.flows[i].dirs[1];
		uint64_t one = r->p.watch.flows[i].used ? to->edge - to->acked : 0;

		*ret_most = MAX(*ret_most, one);
		sum += one;
	}
	return sum;
}

static uint64_t offered_to_one(const struct path *path, const struct net_config *limits, unsigned seconds)
{
	static struct flows r;
	uint64_t most = 0, now;

	flows_begin_limits(&r, path, 1, limits);
	flows_add(&r, path, NULL);
	for (unsigned i = 0; i < 10 * seconds; i++) {
		netpair_run(&r.p, 100 * NSEC_PER_MSEC, NULL, NULL);
		(void)offered(&r, &now);
		most = MAX(most, now);
	}
	flows_end(&r);
	print_message("%s: %.2f MiB offered at most\n", path->name, (double)most / (1 << 20));
	return most;
}

/* What the path holds fits, and no more than the limit, a quarter of the memory for queues, is offered. */
static void a_window_is_as_large_as_its_path_and_its_limits(void **state)
{
	static const struct path fat = { .name = "1 Gb/s, 100 ms", .ms = 50, .mbps = 1000, .queue = 9000 };
	static const struct path fatter = { .name = "2.5 Gb/s, 200 ms", .ms = 100, .mbps = 2500, .queue = 40000 };
	const struct net_config none = { 0 }, little = { .mem_bytes_max = 32 << 20 };

	assert_true(offered_to_one(&fat, &none, 4) > 1000000000ull / 8 / 10);
	assert_in_range(offered_to_one(&fatter, &none, 5), 31u << 20, 32u << 20);
	assert_in_range(offered_to_one(&fat, &little, 4), 6u << 20, 8u << 20);
}

/* On a short path there is no queue that would signal: 2 MiB for one, and who comes later gets his share of it. */
static void on_a_short_path_windows_share(void **state)
{
	static const struct path near = { .name = "0.2 ms", .ms = 0.1, .mbps = 4000, .queue = 4000 };
	static struct flows r;
	uint64_t sum, most;

	flows_begin(&r, &near, 2);
	flows_add(&r, &near, NULL);
	netpair_run(&r.p, 200 * NSEC_PER_MSEC, NULL, NULL);
	sum = offered(&r, &most);
	assert_in_range(sum, 1u << 20, 2u << 20);
	while (r.n < 16)
		flows_add(&r, &near, NULL);
	netpair_run(&r.p, 500 * NSEC_PER_MSEC, NULL, NULL);
	sum = offered(&r, &most);
	print_message("16 flows: %.2f MiB together, %.2f at most\n", (double)sum / (1 << 20), (double)most / (1 << 20));
	assert_true(most <= 256 << 10 && sum <= 16 * (256u << 10));
	flows_end(&r);
}

/* Is much brought by many when @n flows have run for a while? */
static bool much_is_brought(const struct path *path, size_t n)
{
	static struct flows r;
	bool yes, later;

	flows_begin(&r, path, 2);
	while (r.n < n)
		flows_add(&r, path, NULL);
	netpair_run(&r.p, NSEC_PER_SEC, NULL, NULL);
	yes = net_many_drain_much();
	net_set_now(r.p.now + 50 * NSEC_PER_MSEC);
	later = net_many_drain_much();
	net_set_now(r.p.now);
	flows_end(&r);
	assert_false(later);
	return yes;
}

/* What may wait to be gathered: bytes of several at once, at a rate at which a moment brings many of them. Not what has a long way behind it. */
static void many_that_bring_much_are_known(void **state)
{
	static const struct path near = { .name = "0.2 ms", .ms = 0.1, .mbps = 4000, .queue = 4000 };
	static const struct path slow = { .name = "0.2 ms, 1 Gb/s", .ms = 0.1, .mbps = 1000, .queue = 4000 };
	static const struct path far = { .name = "20 ms", .ms = 10, .mbps = 4000, .queue = 9000 };

	assert_true(much_is_brought(&near, 4));
	assert_true(much_is_brought(&near, 16));
	assert_false(much_is_brought(&near, 3));
	assert_false(much_is_brought(&slow, 16));
	assert_false(much_is_brought(&far, 16));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_that_bring_much_are_known),
		cmocka_unit_test(a_window_is_as_large_as_its_path_and_its_limits),
		cmocka_unit_test(on_a_short_path_windows_share),
	};

	return RUN_TESTS(tests);
}
