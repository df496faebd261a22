/* test/unit/netstack/close_test.c - how connections begin and end when packets are lost just then. */
#include "test/lib/netpair.h"

struct end {
	struct net_tcp *c;
	size_t got;
	bool connected, eof, failed, reads;
	enum err error;
};

struct world {
	struct netpair p;
	struct end a, b;
	struct net_listener *l;
};

static uint8_t block[1 << 20];
static const struct endpoint b22 = { { IP_V4, { 10, 99, 0, 2 } }, 22, 0 };

static void read_all(struct end *e, struct net_tcp *c)
{
	static uint8_t buf[65536];
	size_t n;

	while (e->reads && (n = net_tcp_read(c, buf, sizeof(buf))) > 0) {
		for (size_t i = 0; i < n; i++)
			assert_int_equal(buf[i], block[e->got + i]);
		e->got += n;
	}
	e->eof |= net_tcp_at_eof(c);
}

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;

	e->connected |= ev == NET_TCP_CONNECTED;
	if (ev == NET_TCP_ERROR) {
		e->failed = true;
		e->error = net_tcp_error(c);
	}
	if (ev == NET_TCP_READABLE)
		read_all(e, c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct world *w = ctx;

	assert_int_equal(net_syn_accept(syn, on_event, &w->b, &w->b.c), OK);
}

static void run_ms(struct world *w, unsigned ms)
{
	netpair_run(&w->p, ms * NSEC_PER_MSEC, NULL, NULL);
}

static void open_pair(struct world *w, uint64_t seed, nsec_t delay)
{
	memset(w, 0, sizeof(*w));
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 131 + (i >> 8) * 7 + (i >> 16));
	netpair_init(&w->p, seed);
	w->p.delay = delay;
	w->a.reads = w->b.reads = true;
	assert_int_equal(net_tcp_listen(w->p.b.nif, 22, 4, on_syn, w, &w->l), OK);
	assert_int_equal(net_tcp_dial(w->p.a.nif, &b22, on_event, &w->a, &w->a.c), OK);
	run_ms(w, (unsigned)(4 * delay / NSEC_PER_MSEC) + 5);
	assert_true(w->a.connected && w->b.connected);
}

static void close_pair(struct world *w)
{
	net_tcp_close(w->a.c);
	net_tcp_close(w->b.c);
	net_listener_close(w->l);
	netpair_fini(&w->p);
}

/* RFC 6298 5.5: 1, 2, 4 ... 60 s; three minutes in all. */
static void a_syn_is_repeated_ever_more_slowly(void **state)
{
	static const struct {
		unsigned at_ms, n_sent;
	} steps[] = { { 900, 1 }, { 1100, 2 }, { 2900, 2 }, { 3100, 3 }, { 7100, 4 }, { 15100, 5 }, { 31100, 6 },
		      { 63100, 7 }, { 122900, 7 }, { 123100, 8 }, { 182900, 8 } };
	struct world w = { 0 };
	nsec_t start;

	netpair_init(&w.p, 1);
	w.p.loss_ppm = 1000000;
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	start = w.p.now;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		netpair_run(&w.p, start + steps[i].at_ms * NSEC_PER_MSEC - w.p.now, NULL, NULL);
		assert_int_equal(w.p.a.n_sent, steps[i].n_sent);
		assert_false(w.a.failed);
	}
	run_ms(&w, 1000);
	assert_true(w.a.failed);
	assert_int_equal(w.a.error, ERR_TIMEOUT);
	net_tcp_close(w.a.c);
	netpair_fini(&w.p);
}

/* A lost SYN-ACK is sent again too, and a half-open connection ends after a minute. */
static void a_syn_ack_is_repeated_and_given_up(void **state)
{
	struct world w = { 0 };

	netpair_init(&w.p, 2);
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, 4, on_syn, &w, &w.l), OK);
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	w.p.b.drop_next = 2;
	run_ms(&w, 5000);
	assert_true(w.a.connected && w.b.connected);
	net_tcp_abort(w.a.c);
	net_tcp_abort(w.b.c);
	memset(&w.b, 0, sizeof(w.b));
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	w.p.b.drop_next = UINT32_MAX;
	run_ms(&w, 50);
	w.p.a.drop_next = UINT32_MAX;
	net_tcp_abort(w.a.c);
	run_ms(&w, 62000);
	assert_false(w.b.failed);
	run_ms(&w, 5000);
	assert_true(w.b.failed);
	w.a.c = NULL;
	close_pair(&w);
}

/* The FIN is sent again, and TIME_WAIT is still there to answer it. */
static void a_lost_last_ack_is_no_error(void **state)
{
	static const unsigned delays_us[] = { 100, 20000, 100000, 300000 };

	for (size_t i = 0; i < ARRAY_SIZE(delays_us); i++) {
		struct world w;
		struct net_stats st;

		open_pair(&w, 3 + i, delays_us[i] * NSEC_PER_USEC);
		assert_int_equal(net_tcp_write(w.a.c, block, 3000), 3000);
		net_tcp_shutdown(w.a.c);
		run_ms(&w, 1500);
		assert_true(w.b.eof);
		assert_int_equal(net_tcp_write(w.b.c, block, 5000), 5000);
		run_ms(&w, 1500);
		w.p.a.drop_next = 3; /* the ACK of the FIN, and of the FIN sent again */
		net_tcp_shutdown(w.b.c);
		run_ms(&w, 1000);
		assert_true(w.a.eof);
		run_ms(&w, 60000);
		assert_int_equal(w.a.got, 5000);
		assert_false(w.a.failed || w.b.failed);
		net_get_stats(&st);
		assert_int_equal(st.n_time_wait, 0);
		close_pair(&w);
	}
}

/*
 * Data before the FIN, sent again, start TIME_WAIT anew as the FIN does: else its end, a few RTOs after the first FIN, answered
 * the next attempt with a reset (sim seed 17952588541843).
 */
static void time_wait_lasts_while_data_are_sent_again(void **state)
{
	struct world w;

	open_pair(&w, 13, 20 * NSEC_PER_MSEC);
	net_tcp_shutdown(w.a.c);
	run_ms(&w, 1500);
	w.p.a.drop_next = UINT32_MAX;
	assert_int_equal(net_tcp_write(w.b.c, block, 5000), 5000);
	net_tcp_shutdown(w.b.c);
	run_ms(&w, 2900);
	assert_true(w.a.eof);
	w.p.a.drop_next = 0;
	run_ms(&w, 60000);
	assert_int_equal(w.a.got, 5000);
	assert_false(w.a.failed || w.b.failed);
	close_pair(&w);
}

/* A's interface closes and comes back, and nobody knows the connection there. */
static void forget_a(struct world *w)
{
	struct net_if_config cfg = { .n_addrs = 1, .addrs = { { ip_addr_v4(10, 99, 0, 1), 24 } }, .reset_closed = true };

	net_if_close(w->p.a.nif);
	net_tcp_close(w->a.c);
	w->a.c = NULL;
	netpair_reopen(&w->p, &w->p.a, &cfg);
	w->p.a.drop_next = 0;
}

/* The other side is gone when the FIN comes again: a reset then is an end in order (RFC 9293 3.10.7.4). */
static void a_reset_after_both_ends_is_no_error(void **state)
{
	struct world w;

	open_pair(&w, 10, NSEC_PER_MSEC);
	net_tcp_shutdown(w.a.c);
	run_ms(&w, 300);
	assert_int_equal(net_tcp_write(w.b.c, block, 5000), 5000);
	run_ms(&w, 300);
	w.p.a.drop_next = UINT32_MAX;
	net_tcp_shutdown(w.b.c);
	run_ms(&w, 100);
	assert_true(w.a.eof);
	forget_a(&w);
	run_ms(&w, 10000);
	assert_true(w.b.eof);
	assert_false(w.b.failed);
	close_pair(&w);
}

/* But while bytes of ours are not acknowledged, nobody knows whether they arrived. */
static void a_reset_before_the_data_are_acknowledged_is_an_error(void **state)
{
	struct world w;

	open_pair(&w, 11, NSEC_PER_MSEC);
	net_tcp_shutdown(w.a.c);
	run_ms(&w, 300);
	w.p.a.drop_next = UINT32_MAX;
	assert_int_equal(net_tcp_write(w.b.c, block, 5000), 5000);
	net_tcp_shutdown(w.b.c);
	run_ms(&w, 100);
	forget_a(&w);
	run_ms(&w, 10000);
	assert_true(w.b.failed);
	assert_int_equal(w.b.error, ERR_RESET);
	close_pair(&w);
}

/* The side in TIME_WAIT hears of a new connection of the same ends, whose ISN is behind what the former one has sent. */
static void a_port_is_used_again_after_much_data(void **state)
{
	struct world w;
	struct rng_seeded before;
	struct endpoint first, second, remote;
	size_t sent = 0;

	open_pair(&w, 13, NSEC_PER_MSEC);
	net_tcp_abort(w.a.c);
	net_tcp_abort(w.b.c);
	before = w.p.rng;
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	net_tcp_get_addrs(w.a.c, &first, &remote);
	while (sent < sizeof(block)) {
		run_ms(&w, 2);
		sent += net_tcp_write(w.a.c, block + sent, sizeof(block) - sent);
	}
	run_ms(&w, 100);
	assert_int_equal(w.b.got, sizeof(block));
	net_tcp_close(w.b.c);
	run_ms(&w, 50);
	assert_true(w.a.eof);
	net_tcp_close(w.a.c);
	run_ms(&w, 50);
	memset(&w.a, 0, sizeof(w.a));
	memset(&w.b, 0, sizeof(w.b));
	w.p.rng = before;
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	net_tcp_get_addrs(w.a.c, &second, &remote);
	assert_int_equal(first.port, second.port);
	run_ms(&w, 50);
	assert_true(w.a.connected && w.b.connected);
	close_pair(&w);
}

/* Who closes second and has much to deliver gets the time for it, whatever the path does meanwhile. */
static void what_is_queued_survives_a_long_pause(void **state)
{
	struct world w;

	open_pair(&w, 12, 20 * NSEC_PER_MSEC);
	net_tcp_shutdown(w.a.c);
	run_ms(&w, 200);
	assert_true(w.b.eof);
	assert_int_equal(net_tcp_write(w.b.c, block, 120000), 120000);
	net_tcp_close(w.b.c);
	w.b.c = NULL;
	run_ms(&w, 30);
	w.p.loss_ppm = 1000000;
	run_ms(&w, 20000);
	w.p.loss_ppm = 0;
	run_ms(&w, 60000);
	assert_int_equal(w.a.got, 120000);
	assert_true(w.a.eof);
	assert_false(w.a.failed);
	close_pair(&w);
}

/* The last segment carries data and FIN and does not fit in the window: its halves must not both end the stream. */
static void a_fin_behind_a_closed_window_comes_last(void **state)
{
	struct world w;

	for (unsigned cut = 1; cut < 1400; cut += 97) {
		open_pair(&w, 13, NSEC_PER_MSEC);
		w.b.reads = false;
		assert_int_equal(net_tcp_write(w.a.c, block, 64 * 1024 + cut), 64 * 1024 + cut);
		net_tcp_close(w.a.c);
		w.a.c = NULL;
		run_ms(&w, 20000);
		w.b.reads = true;
		read_all(&w.b, w.b.c);
		run_ms(&w, 40000);
		read_all(&w.b, w.b.c);
		assert_int_equal(w.b.got, 64 * 1024 + cut);
		assert_true(w.b.eof);
		assert_false(w.b.failed);
		close_pair(&w);
	}
}

/* Nobody holds the connection and nobody reads at the other end: it ends all the same. */
static void an_orphan_before_a_closed_window_ends(void **state)
{
	struct world w;
	struct net_stats st;

	open_pair(&w, 14, NSEC_PER_MSEC);
	w.b.reads = false;
	assert_int_equal(net_tcp_write(w.a.c, block, 120000), 120000);
	net_tcp_close(w.a.c);
	w.a.c = NULL;
	run_ms(&w, 250000);
	assert_false(w.b.failed);
	run_ms(&w, 120000);
	net_tcp_abort(w.b.c);
	w.b.c = NULL;
	net_get_stats(&st);
	assert_int_equal(st.mem_bytes, 0);
	close_pair(&w);
}

/* A reader of 200 bytes a second: what was queued when its writer went is on its way for ten minutes, and arrives whole. */
static void a_slow_reader_gets_what_an_orphan_has_queued(void **state)
{
	static uint8_t buf[2000];
	struct world w;
	size_t n, queued;

	open_pair(&w, 15, NSEC_PER_MSEC);
	w.b.reads = false;
	queued = net_tcp_write(w.a.c, block, sizeof(block));
	assert_in_range(queued, 120000, 200000);
	net_tcp_close(w.a.c);
	w.a.c = NULL;
	while (w.b.got < queued && !w.b.failed) {
		run_ms(&w, 10000);
		n = net_tcp_read(w.b.c, buf, sizeof(buf));
		assert_memory_equal(buf, block + w.b.got, n);
		w.b.got += n;
	}
	assert_int_equal(w.b.got, queued);
	assert_false(w.b.failed);
	run_ms(&w, 10000);
	assert_true(net_tcp_at_eof(w.b.c));
	close_pair(&w);
}

/* The machine slept for an hour: who was silent before is asked once, and may answer. */
static void a_silent_connection_outlives_a_sleep(void **state)
{
	struct world w;
	uint64_t before;

	open_pair(&w, 16, NSEC_PER_MSEC);
	run_ms(&w, 1000);
	w.p.now += 3600 * NSEC_PER_SEC;
	before = w.p.a.n_sent;
	run_ms(&w, 1000);
	assert_false(w.a.failed || w.b.failed);
	assert_in_range(w.p.a.n_sent - before, 1, 2); /* its own question, and an answer */
	assert_int_equal(net_tcp_write(w.a.c, block, 1000), 1000);
	run_ms(&w, 1000);
	assert_int_equal(w.b.got, 1000);
	close_pair(&w);
}

/* Its owner has not been told yet, and goes on as if nothing had happened. */
static void a_connection_whose_interface_is_gone_takes_nothing(void **state)
{
	struct endpoint local, remote;
	struct world w;

	open_pair(&w, 17, NSEC_PER_MSEC);
	net_if_close(w.p.a.nif);
	w.p.a.nif = NULL;
	assert_true(w.a.failed);
	assert_int_equal(w.a.error, ERR_CLOSED);
	assert_int_equal(net_tcp_writable(w.a.c), 0);
	assert_int_equal(net_tcp_write(w.a.c, block, 1000), 0);
	assert_int_equal(net_tcp_readable(w.a.c), 0);
	net_tcp_shutdown(w.a.c);
	net_tcp_hurry(w.a.c);
	net_tcp_get_addrs(w.a.c, &local, &remote);
	assert_int_equal(remote.port, 22);
	run_ms(&w, 20);
	net_tcp_close(w.a.c);
	w.a.c = NULL;
	close_pair(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_syn_is_repeated_ever_more_slowly),
		cmocka_unit_test(a_syn_ack_is_repeated_and_given_up),
		cmocka_unit_test(a_lost_last_ack_is_no_error),
		cmocka_unit_test(time_wait_lasts_while_data_are_sent_again),
		cmocka_unit_test(a_reset_after_both_ends_is_no_error),
		cmocka_unit_test(a_reset_before_the_data_are_acknowledged_is_an_error),
		cmocka_unit_test(a_port_is_used_again_after_much_data),
		cmocka_unit_test(what_is_queued_survives_a_long_pause),
		cmocka_unit_test(a_fin_behind_a_closed_window_comes_last),
		cmocka_unit_test(an_orphan_before_a_closed_window_ends),
		cmocka_unit_test(a_slow_reader_gets_what_an_orphan_has_queued),
		cmocka_unit_test(a_silent_connection_outlives_a_sleep),
		cmocka_unit_test(a_connection_whose_interface_is_gone_takes_nothing),
	};
	return RUN_TESTS(tests);
}
