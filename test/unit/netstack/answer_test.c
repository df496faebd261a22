/*
 * test/unit/netstack/answer_test.c - how long answers of 64 KiB take when packets are lost, in virtual time.
 *
 * One connection, one question after another, 200 Mb/s and 20 ms. Without loss an answer takes what its size and a
 * window of ten segments make of it: two round trips once the window has grown. What a loss may add is another round
 * trip or two; what must not show is the retransmission timeout, save where a whole flight is gone.
 */
#include "test/lib/netpair.h"

#define N_ANSWERS 400
#define ANSWER 65536

struct talk {
	struct netpair p;
	struct net_tcp *a, *b;
	struct net_listener *l;
	size_t got, left;
	bool connected;
};

static uint8_t block[ANSWER];

static void on_a(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct talk *t = ctx;
	static uint8_t buf[ANSWER];

	assert_true(ev != NET_TCP_ERROR);
	t->connected |= ev == NET_TCP_CONNECTED;
	if (ev == NET_TCP_READABLE)
		t->got += net_tcp_read(c, buf, sizeof(buf));
}

static void on_b(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct talk *t = ctx;
	uint8_t buf[16];

	assert_true(ev != NET_TCP_ERROR);
	if (ev == NET_TCP_READABLE && net_tcp_read(c, buf, sizeof(buf)) > 0)
		t->left = ANSWER;
	t->left -= net_tcp_write(c, block, t->left);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct talk *t = ctx;

	assert_int_equal(net_syn_accept(syn, on_b, t, &t->b), OK);
}

static bool is_connected(void *ctx)
{
	return ((struct talk *)ctx)->connected;
}

static bool is_answered(void *ctx)
{
	return ((struct talk *)ctx)->got >= ANSWER;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void answers(const char *name, uint32_t loss_ppm, uint32_t burst_ppm, const char *congestion, double p50_max,
		    double p99_max)
{
	static double ms[N_ANSWERS];
	static struct talk t;
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };

	memset(&t, 0, sizeof(t));
	netpair_init(&t.p, 5);
	t.p.delay = 10 * NSEC_PER_MSEC;
	t.p.rate_bps = 200000000;
	t.p.bottleneck = 1000;
	assert_int_equal(net_if_set_congestion(t.p.b.nif, congestion), OK);
	assert_int_equal(net_tcp_listen(t.p.b.nif, 22, 4, on_syn, &t, &t.l), OK);
	assert_int_equal(net_tcp_dial(t.p.a.nif, &to, on_a, &t, &t.a), OK);
	assert_true(netpair_run(&t.p, NSEC_PER_SEC, is_connected, &t));
	t.p.loss_ppm = loss_ppm;
	t.p.burst_ppm = burst_ppm;
	t.p.burst = 3 * NSEC_PER_MSEC;
	for (int i = 0; i < N_ANSWERS; i++) {
		nsec_t start = t.p.now;

		t.got = 0;
		assert_int_equal(net_tcp_write(t.a, "?", 1), 1);
		assert_true(netpair_run(&t.p, 30 * NSEC_PER_SEC, is_answered, &t));
		ms[i] = (double)(t.p.now - start) / 1e6;
	}
	qsort(ms, N_ANSWERS, sizeof(ms[0]), by_size);
	print_message("%s, %s: p50 %.0f ms, p90 %.0f, p99 %.0f, most %.0f\n", name, congestion, ms[N_ANSWERS / 2],
		      ms[N_ANSWERS * 9 / 10], ms[N_ANSWERS * 99 / 100], ms[N_ANSWERS - 1]);
	assert_true(ms[N_ANSWERS / 2] <= p50_max && ms[N_ANSWERS * 99 / 100] <= p99_max);
	net_tcp_abort(t.a);
	net_tcp_abort(t.b);
	net_listener_close(t.l);
	netpair_fini(&t.p);
}

static void answers_arrive_soon(void **state)
{
	answers("no loss", 0, 0, "cubic", 45, 70);
	answers("1 % random", 10000, 0, "cubic", 110, 350);
	answers("bursts of 3 ms", 0, 1000, "cubic", 80, 400);
	answers("1 % random", 10000, 0, "bbr", 80, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_arrive_soon),
	};
	return RUN_TESTS(tests);
}
