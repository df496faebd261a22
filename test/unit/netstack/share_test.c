/*
 * test/unit/netstack/share_test.c - two flows in one drop-tail bottleneck, in virtual time: who gets how much of it?
 *
 * 100 Mb/s, 20 ms, queues of 0.14, 0.6 and once what the path holds. Which packet meets the full queue is a matter of
 * microseconds, and the whole is deterministic: each share is the mean of runs whose second flow begins at another time.
 */
#include "test/lib/netpair.h"

#define WARM (15 * NSEC_PER_SEC)
#define MEASURED (20 * NSEC_PER_SEC)
#define N_RUNS 4

struct flow {
	struct net_tcp *from, *to;
	uint64_t got;
};

struct run {
	struct netpair p;
	struct flow flows[2];
	size_t n_accepted;
	struct net_listener *l;
};

static uint8_t block[1 << 20];

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	assert_true(ev != NET_TCP_ERROR);
	if (ev == NET_TCP_CONNECTED || ev == NET_TCP_WRITABLE)
		while (net_tcp_write(c, block, sizeof(block)) == sizeof(block))
			;
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct flow *f = ctx;
	size_t n = net_tcp_readable(c);

	if (ev != NET_TCP_READABLE)
		return;
	net_tcp_consume(c, n);
	f->got += n;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct run *r = ctx;
	struct flow *f = &r->flows[r->n_accepted++];

	assert_int_equal(net_syn_accept(syn, on_to, f, &f->to), OK);
}

static bool is_accepted(void *ctx)
{
	struct run *r = ctx;

	return r->n_accepted > 0 && net_tcp_is_connected(r->flows[r->n_accepted - 1].to);
}

static void add_flow(struct run *r, const char *congestion)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };
	size_t before = r->n_accepted;

	assert_int_equal(net_if_set_congestion(r->p.a.nif, congestion), OK);
	assert_int_equal(net_tcp_dial(r->p.a.nif, &to, on_from, NULL, &r->flows[before].from), OK);
	while (r->n_accepted == before || !is_accepted(r))
		netpair_run(&r->p, NSEC_PER_MSEC, NULL, NULL);
}

static double share_once(const char *first, const char *second, uint32_t queue, nsec_t later)
{
	static struct run r;
	uint64_t from[2], a, b;

	memset(&r, 0, sizeof(r));
	netpair_init(&r.p, 9);
	r.p.delay = 10 * NSEC_PER_MSEC;
	r.p.rate_bps = 100000000;
	r.p.bottleneck = queue;
	assert_int_equal(net_tcp_listen(r.p.b.nif, 22, 2, on_syn, &r, &r.l), OK);
	add_flow(&r, first);
	netpair_run(&r.p, later, NULL, NULL);
	add_flow(&r, second);
	netpair_run(&r.p, WARM, NULL, NULL);
	from[0] = r.flows[0].got;
	from[1] = r.flows[1].got;
	netpair_run(&r.p, MEASURED, NULL, NULL);
	a = r.flows[0].got - from[0];
	b = r.flows[1].got - from[1];
	for (int i = 0; i < 2; i++) {
		net_tcp_abort(r.flows[i].from);
		net_tcp_abort(r.flows[i].to);
	}
	net_listener_close(r.l);
	netpair_fini(&r.p);
	return (double)a / (double)(a + b);
}

static double share(const char *first, const char *second, uint32_t queue)
{
	double s = 0;

	for (unsigned i = 0; i < N_RUNS; i++)
		s += share_once(first, second, queue, (900 + 137 * i) * NSEC_PER_MSEC) / N_RUNS;
	print_message("queue %u: %s beside a later %s has %.2f\n", queue, first, second, s);
	return s;
}

/* With sanitizers it would take minutes; alike_share() is enough for them. */
#ifdef __SANITIZE_ADDRESS__
#define PLAIN 0
#else
#define PLAIN 1
#endif

static void shares(uint32_t queue)
{
	double s, t;

	if (!PLAIN)
		skip();
	s = share("bbr", "cubic", queue);
	t = 1 - share("cubic", "bbr", queue);
	assert_true(s >= 0.4 && s <= 0.6 && t >= 0.4 && t <= 0.6);
}

static void bbr_and_cubic_share_a_short_queue(void **state)
{
	shares(25);
}

static void bbr_and_cubic_share_a_queue(void **state)
{
	shares(100);
}

static void bbr_and_cubic_share_a_long_queue(void **state)
{
	shares(175);
}

static void alike_share(void **state)
{
	assert_true(share_once("cubic", "cubic", 175, NSEC_PER_SEC) > 0.35);
	assert_true(share_once("bbr", "bbr", 175, NSEC_PER_SEC) > 0.35);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bbr_and_cubic_share_a_short_queue),
		cmocka_unit_test(bbr_and_cubic_share_a_queue),
		cmocka_unit_test(bbr_and_cubic_share_a_long_queue),
		cmocka_unit_test(alike_share),
	};
	return RUN_TESTS(tests);
}
