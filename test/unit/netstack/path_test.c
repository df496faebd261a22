/*
 * test/unit/netstack/path_test.c - what TCP makes of long and lossy paths, in virtual time.
 *
 * Each path has a floor for what it must reach; the numbers are printed. All is seeded. The kernel's CUBIC stands beside
 * some of them: measured on the same paths over wireguard-go with a TUN device (doc/tcp.md).
 */
#include "test/lib/netpair.h"

#define N_FLOWS_MAX 32

struct path {
	const char *name;
	double ms;   /* one way */
	double mbps; /* bottleneck; 0 = none */
	uint32_t queue, loss_ppm, reorder_ppm;
	double tick_ms; /* packets and their ACKs in batches */
	double stall_ms; /* pauses of the process, every 30 ms */
	const char *congestion;
	unsigned n_seeds, seconds;
	uint32_t units; /* of the pool, both sides'; 0 = plenty */
	double least_mbps; /* what must be reached */
};

struct flow {
	struct net_tcp *from, *to;
	uint64_t got;
	bool failed;
};

struct run {
	struct netpair p;
	struct flow flows[N_FLOWS_MAX];
	size_t n, n_accepted;
	struct net_listener *l;
};

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct flow *f = ctx;

	f->failed |= ev == NET_TCP_ERROR;
	if (ev == NET_TCP_CONNECTED || ev == NET_TCP_WRITABLE)
		netpair_fill(c, 1 << 20);
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct flow *f = ctx;

	if (ev == NET_TCP_READABLE)
		f->got += netpair_drain(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct run *r = ctx;
	struct flow *f = &r->flows[r->n_accepted++];

	assert_int_equal(net_syn_accept(syn, on_to, f, &f->to), OK);
}

static void begin(struct run *r, const struct path *path, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	netpair_init_limits(&r->p, seed, &(struct net_config){ .pool = path->units ? pktpool_new(path->units) : NULL });
	r->p.delay = (nsec_t)(path->ms * 1e6);
	r->p.rate_bps = (uint64_t)(path->mbps * 1e6);
	r->p.bottleneck = path->queue;
	r->p.tick = (nsec_t)(path->tick_ms * 1e6);
	r->p.stall_every = path->stall_ms > 0 ? 30 * NSEC_PER_MSEC : 0;
	r->p.stall_for = (nsec_t)(path->stall_ms * 1e6);
	assert_int_equal(net_tcp_listen(r->p.b.nif, 22, N_FLOWS_MAX, on_syn, r, &r->l), OK);
}

/* One at a time, so that the n-th dialled is the n-th accepted. */
static void add_flow(struct run *r, const struct path *path, const char *congestion)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };
	uint32_t loss = r->p.loss_ppm;

	r->p.loss_ppm = r->p.reorder_ppm = 0;
	assert_int_equal(net_if_set_congestion(r->p.a.nif, congestion ? congestion : "cubic"), OK);
	assert_int_equal(net_tcp_dial(r->p.a.nif, &to, on_from, &r->flows[r->n], &r->flows[r->n].from), OK);
	r->n++;
	while (r->n_accepted < r->n || !net_tcp_is_connected(r->flows[r->n - 1].from))
		netpair_run(&r->p, NSEC_PER_MSEC, NULL, NULL);
	r->p.loss_ppm = MAX(loss, path->loss_ppm);
	r->p.reorder_ppm = path->reorder_ppm;
}

static void end(struct run *r)
{
	for (size_t i = 0; i < r->n; i++) {
		assert_false(r->flows[i].failed);
		net_tcp_abort(r->flows[i].from);
		net_tcp_abort(r->flows[i].to);
	}
	net_listener_close(r->l);
	netpair_fini(&r->p);
}

static double mbps(uint64_t bytes, double seconds)
{
	return (double)bytes * 8 / seconds / 1e6;
}

/* Return: Mb/s over the whole run, the mean of all seeds. */
static double upload(const struct path *path)
{
	unsigned seconds = path->seconds ? path->seconds : 10, n = MAX(path->n_seeds, 1u);
	uint64_t got = 0, dropped = 0;
	struct net_stats st = { 0 };
	static struct run r;

	for (unsigned seed = 0; seed < n; seed++) {
		begin(&r, path, 100 + seed);
		add_flow(&r, path, path->congestion);
		netpair_run(&r.p, seconds * NSEC_PER_SEC, NULL, NULL);
		got += r.flows[0].got;
		dropped += r.p.a.n_dropped;
		net_get_stats(&st);
		end(&r);
	}
	print_message("%-42s %7.1f Mb/s  dropped %llu; last: resent %llu recoveries %llu undone %llu\n", path->name,
		      mbps(got, seconds) / n, (unsigned long long)dropped / n, (unsigned long long)st.n_resent,
		      (unsigned long long)st.n_recoveries, (unsigned long long)st.n_undone);
	return mbps(got, seconds) / n;
}

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
	  .seconds = 6, .least_mbps = 400 },
};

static void uploads_reach_their_floor(void **state)
{
	unsigned n_below = 0;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (upload(&paths[i]) < paths[i].least_mbps) {
			print_message("below its floor of %.0f Mb/s\n", paths[i].least_mbps);
			n_below++;
		}
	assert_int_equal(n_below, 0);
}

/*
 * On a long fat path 90 % of the rate are there soon: slow start doubles every round trip. What it overflows leaves thousands of
 * holes; nothing but what was dropped is sent again.
 */
static void a_long_fat_path_fills_fast(void **state)
{
	struct path path = { .ms = 50, .mbps = 1000, .queue = 9000 };
	static struct run r;
	struct net_stats st;
	double at = 0;
	uint64_t before = 0;

	begin(&r, &path, 7);
	add_flow(&r, &path, NULL);
	for (int i = 1; i <= 50 && at == 0; i++) {
		netpair_run(&r.p, 100 * NSEC_PER_MSEC, NULL, NULL);
		if (mbps(r.flows[0].got - before, 0.1) >= 0.9 * 1000 * 1380 / 1420)
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
	end(&r);
}

/* No flow of 32 gets less than half of its share, whether a bottleneck holds them back or our own output. */
static void many_flows_share(void **state)
{
	static const struct path many[] = {
		{ .name = "bottleneck of 200 Mb/s, 20 ms", .ms = 10, .mbps = 200, .queue = 500 },
		{ .name = "output that takes 44 packets", .ms = 0.1, .queue = 44 },
	};
	static struct run r;

	for (size_t k = 0; k < ARRAY_SIZE(many); k++) {
		uint64_t least = UINT64_MAX, sum = 0, before[N_FLOWS_MAX];

		begin(&r, &many[k], 11);
		for (int i = 0; i < N_FLOWS_MAX; i++)
			add_flow(&r, &many[k], NULL);
		r.p.queue_max = many[k].mbps > 0 ? 0 : many[k].queue;
		netpair_run(&r.p, 5 * NSEC_PER_SEC / (k ? 50 : 1), NULL, NULL);
		for (int i = 0; i < N_FLOWS_MAX; i++)
			before[i] = r.flows[i].got;
		netpair_run(&r.p, 10 * NSEC_PER_SEC / (k ? 50 : 1), NULL, NULL);
		for (int i = 0; i < N_FLOWS_MAX; i++) {
			least = MIN(least, r.flows[i].got - before[i]);
			sum += r.flows[i].got - before[i];
		}
		print_message("32 flows, %s: %.0f Mb/s, the least %.2f of its share\n", many[k].name,
			      mbps(sum, k ? 0.2 : 10), (double)least * N_FLOWS_MAX / (double)sum);
		assert_true(2 * least * N_FLOWS_MAX >= sum);
		end(&r);
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
