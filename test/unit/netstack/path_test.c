/*
 * test/unit/netstack/path_test.c - what TCP makes of long and lossy paths, in virtual time.
 *
 * Each path has a floor for what one upload reaches on it; the numbers are printed. All is seeded.
 */
#include "test/lib/netpair.h"

struct path {
	const char *name;
	double ms;         /* one way */
	double mbps;       /* bottleneck; 0 = none */
	uint32_t queue, loss_ppm, reorder_ppm;
	double least_mbps; /* what must be reached */
};

struct upload {
	struct net_tcp *from, *to;
	uint64_t got;
	bool connected, failed;
};

static uint8_t block[1 << 20];

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct upload *u = ctx;

	u->failed |= ev == NET_TCP_ERROR;
	if (ev == NET_TCP_CONNECTED || ev == NET_TCP_WRITABLE)
		while (net_tcp_write(c, block, sizeof(block)) == sizeof(block))
			;
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct upload *u = ctx;
	struct iovec iov[32];
	int n;

	while (ev == NET_TCP_READABLE && (n = net_tcp_peek(c, iov, 32)) > 0) {
		size_t sum = 0;

		for (int i = 0; i < n; i++)
			sum += iov[i].iov_len;
		net_tcp_consume(c, sum);
		u->got += sum;
	}
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct upload *u = ctx;

	assert_int_equal(net_syn_accept(syn, on_to, u, &u->to), OK);
}

/* Return: Mb/s from the first to the last second. */
static double upload(const struct path *path, uint64_t seed, unsigned seconds)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };
	struct net_listener *l;
	struct upload u = { 0 };
	struct net_stats st;
	struct netpair p;

	netpair_init(&p, seed);
	p.delay = (nsec_t)(path->ms * 1e6);
	p.rate_bps = (uint64_t)(path->mbps * 1e6);
	p.bottleneck = path->queue;
	assert_int_equal(net_tcp_listen(p.b.nif, 22, 4, on_syn, &u, &l), OK);
	assert_int_equal(net_tcp_dial(p.a.nif, &to, on_from, &u, &u.from), OK);
	netpair_run(&p, 4 * p.delay + NSEC_PER_MSEC, NULL, NULL);
	p.loss_ppm = path->loss_ppm;
	p.reorder_ppm = path->reorder_ppm;
	netpair_run(&p, seconds * NSEC_PER_SEC, NULL, NULL);
	assert_false(u.failed);
	net_get_stats(&st);
	print_message("%-34s %7.1f Mb/s  dropped %llu resent %llu recoveries %llu\n", path->name,
		      (double)u.got * 8 / seconds / 1e6, (unsigned long long)p.a.n_dropped,
		      (unsigned long long)st.n_resent, (unsigned long long)st.n_recoveries);
	net_tcp_abort(u.from);
	net_tcp_abort(u.to);
	net_listener_close(l);
	netpair_fini(&p);
	return (double)u.got * 8 / seconds / 1e6;
}

static const struct path paths[] = {
	{ "200 Mb/s, 20 ms, queue 50", 10, 200, 50, 0, 0, 165 },
	{ "200 Mb/s, 20 ms, queue 200", 10, 200, 200, 0, 0, 180 },
	{ "200 Mb/s, 20 ms, queue 1,000", 10, 200, 1000, 0, 0, 180 },
	{ "50 Mb/s, 100 ms, queue 100", 50, 50, 100, 0, 0, 40 },
	{ "200 Mb/s, 20 ms, 1e-4", 10, 200, 200, 100, 0, 60 },
	{ "200 Mb/s, 20 ms, 1e-3", 10, 200, 200, 1000, 0, 20 },
	{ "200 Mb/s, 20 ms, 1e-2", 10, 200, 200, 10000, 0, 4 },
	{ "200 Mb/s, 100 ms, 1e-3", 50, 200, 200, 1000, 0, 4 },
	{ "200 Mb/s, 20 ms, 1 % 3 ms late", 10, 200, 200, 0, 10000, 150 },
};

static void uploads_reach_their_floor(void **state)
{
	unsigned n_below = 0;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (upload(&paths[i], 100 + i, 10) < paths[i].least_mbps) {
			print_message("below its floor of %.0f Mb/s\n", paths[i].least_mbps);
			n_below++;
		}
	assert_int_equal(n_below, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uploads_reach_their_floor),
	};
	return RUN_TESTS(tests);
}
