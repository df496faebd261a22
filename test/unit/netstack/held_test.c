/*
 * test/unit/netstack/held_test.c - a reader is told of a stream in large pieces, of a question at once, and of nothing late.
 */
#include "test/lib/netpair.h"

#define HOLD_TIME (250 * NSEC_PER_USEC)

static struct netpair p;
static struct net_listener *listener;
static struct net_tcp *from, *to;
static uint64_t got, n_told;
static nsec_t told_at, unread_since, longest;
static uint8_t block[1 << 20];
static bool writes;

static void fill(void)
{
	while (writes && net_tcp_write(from, block, sizeof(block)) == sizeof(block))
		;
}

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	assert_true(ev != NET_TCP_ERROR);
	if (ev == NET_TCP_WRITABLE)
		fill();
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	if (ev != NET_TCP_READABLE)
		return;
	n_told++;
	told_at = p.now;
	got += netpair_drain(c);
	unread_since = 0;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_to, NULL, &to), OK);
}

static bool connected(void *ctx)
{
	return to && net_tcp_is_connected(from) && net_tcp_is_connected(to);
}

static void dial(void)
{
	struct endpoint there = { ip_addr_v4(10, 99, 0, 2), 22, 0 };

	from = to = NULL;
	got = n_told = 0;
	unread_since = longest = 0;
	assert_int_equal(net_tcp_dial(p.a.nif, &there, on_from, NULL, &from), OK);
	assert_true(netpair_run(&p, NSEC_PER_SEC, connected, NULL));
}

static void connect_ends(uint64_t rate_bps)
{
	netpair_init(&p, 3);
	p.delay = 50 * NSEC_PER_USEC;
	p.rate_bps = rate_bps;
	p.bottleneck = 10000;
	assert_int_equal(net_tcp_listen(p.b.nif, 22, 1, on_syn, NULL, &listener), OK);
	dial();
}

static void disconnect(void)
{
	net_tcp_abort(from);
	net_tcp_abort(to);
	net_listener_close(listener);
	netpair_fini(&p);
}

/* How long does anything stand unread? */
static bool watch(void *ctx)
{
	if (net_tcp_readable(to) == 0)
		unread_since = 0;
	else if (unread_since == 0)
		unread_since = p.now;
	else
		longest = MAX(longest, p.now - unread_since);
	return got >= *(const uint64_t *)ctx;
}

static bool is_held(void *ctx)
{
	return net_tcp_readable(to) > 0;
}

static void a_question_is_told_at_once(void **state)
{
	static const size_t sizes[] = { 1, 1300, 5000, 20000, 40000 };

	connect_ends(0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t want = got + sizes[i];
		nsec_t asked = p.now;

		assert_int_equal(net_tcp_write(from, block, sizes[i]), sizes[i]);
		assert_true(netpair_run(&p, NSEC_PER_SEC, watch, &want));
		/* Some need a second round trip for the first window. */
		assert_true(told_at - asked < HOLD_TIME);
	}
	disconnect();
}

static void an_end_is_told_at_once(void **state)
{
	uint64_t want = 3000;
	nsec_t asked;

	connect_ends(0);
	asked = p.now;
	assert_int_equal(net_tcp_write(from, block, want), want);
	net_tcp_shutdown(from);
	assert_true(netpair_run(&p, NSEC_PER_SEC, watch, &want));
	assert_true(net_tcp_at_eof(to));
	assert_true(told_at - asked < HOLD_TIME);
	disconnect();
}

/* Each packet comes by itself here; a reader that was told of each would have been told 760 times a MiB. */
static void a_stream_is_told_in_large_pieces(void **state)
{
	uint64_t want = 64 << 20;

	connect_ends(5000000000);
	writes = true;
	fill();
	assert_true(netpair_run(&p, NSEC_PER_SEC, watch, &want));
	printf("%.1f KiB a piece, the oldest byte waited %.0f us\n", (double)got / (double)n_told / 1024, (double)longest / 1e3);
	assert_true(got / n_told > 32768);
	assert_true(longest <= HOLD_TIME);
	writes = false;
	disconnect();
}

/* At 20 Mb/s a packet takes twice as long as one is held: what comes in between has to be told without the next. */
static void what_is_followed_by_nothing_is_told(void **state)
{
	uint64_t want = 400000;

	connect_ends(20000000);
	writes = true;
	fill();
	assert_true(netpair_run(&p, NSEC_PER_SEC, watch, &want));
	assert_true(longest > 0 && longest <= HOLD_TIME);
	writes = false;
	disconnect();
}

static void who_is_held_may_go(void **state)
{
	connect_ends(20000000);
	writes = true;
	fill();
	assert_true(netpair_run(&p, NSEC_PER_SEC, is_held, NULL));
	net_tcp_abort(to);
	to = NULL;
	writes = false;
	net_tcp_set_fn(from, on_to, NULL);
	netpair_run(&p, NSEC_PER_SEC, NULL, NULL);
	disconnect();
}

/* Does a connection that begins @idle after the last one take the path for a short one, though its answers need 6 ms? */
static bool seems_short(nsec_t idle)
{
	uint64_t want = 4 << 20;

	net_tcp_abort(from);
	net_tcp_abort(to);
	netpair_run(&p, idle, NULL, NULL);
	p.delay = 3 * NSEC_PER_MSEC;
	dial();
	writes = true;
	fill();
	assert_true(netpair_run(&p, NSEC_PER_SEC, watch, &want));
	writes = false;
	return longest > 0;
}

static void a_short_path_is_known_to_the_next_connection(void **state)
{
	connect_ends(5000000000);
	assert_true(seems_short(10 * NSEC_PER_MSEC));
	assert_true(seems_short(500 * NSEC_PER_SEC));
	net_if_path_changed(p.b.nif);
	assert_false(seems_short(10 * NSEC_PER_MSEC));
	disconnect();
	connect_ends(5000000000);
	assert_false(seems_short(700 * NSEC_PER_SEC));
	disconnect();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_is_told_at_once),
		cmocka_unit_test(an_end_is_told_at_once),
		cmocka_unit_test(a_stream_is_told_in_large_pieces),
		cmocka_unit_test(what_is_followed_by_nothing_is_told),
		cmocka_unit_test(who_is_held_may_go),
		cmocka_unit_test(a_short_path_is_known_to_the_next_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
