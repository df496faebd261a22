#include "test/lib/netpair.h"
#include "test/lib/netwrite.h"

#include "base/endian.h"

/* One end of a test connection: sends @total pattern bytes, checks what comes against the pattern. */
struct end {
	struct net_tcp *c;
	size_t total, sent, got;
	bool connected, eof, failed, wrong, shut, closed;
	enum err error;
};

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 131 + (i >> 8) * 7 + (i >> 16));
}

static void end_pump(struct end *e)
{
	uint8_t buf[20000];

	while (e->sent < e->total) {
		size_t n = MIN(sizeof(buf), e->total - e->sent), took;

		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(e->sent + i);
		took = net_write_mixed(e->c, buf, n);
		e->sent += took;
		if (took < n)
			return;
	}
	if (!e->shut)
		net_tcp_shutdown(e->c);
	e->shut = true;
}

static void end_read(struct end *e)
{
	uint8_t buf[4096];
	size_t n;

	while ((n = net_tcp_read(e->c, buf, sizeof(buf))) > 0) {
		for (size_t i = 0; i < n; i++)
			e->wrong |= buf[i] != pattern(e->got + i);
		e->got += n;
	}
	e->eof = net_tcp_at_eof(e->c);
}

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;

	switch (ev) {
	case NET_TCP_CONNECTED:
		e->connected = true;
		end_pump(e);
		break;
	case NET_TCP_WRITABLE:
		end_pump(e);
		break;
	case NET_TCP_READABLE:
		end_read(e);
		break;
	case NET_TCP_SENT_ALL:
		break;
	case NET_TCP_ERROR:
		e->failed = true;
		e->error = net_tcp_error(c);
		break;
	}
}

struct world {
	struct netpair p;
	struct end a, b;
	struct net_listener *l;
	struct net_syn *held;
	int n_syn, n_gone;
	bool hold;
};

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct world *w = ctx;

	w->n_syn++;
	if (w->hold)
		w->held = syn;
	else
		assert_int_equal(net_syn_accept(syn, on_event, &w->b, &w->b.c), OK);
}

static const struct endpoint b22 = { { IP_V4, { 10, 99, 0, 2 } }, 22, 0 };
static const struct endpoint b22v6 = { { IP_V6, { 0xfd, [15] = 2 } }, 22, 0 };

static void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	netpair_init(&w->p, seed);
	assert_int_equal(net_tcp_listen(w->p.b.nif, 22, 4, on_syn, w, &w->l), OK);
}

static void world_fini(struct world *w)
{
	net_tcp_close(w->a.c);
	net_tcp_close(w->b.c);
	net_listener_close(w->l);
	netpair_fini(&w->p);
}

static bool both_done(void *ctx)
{
	struct world *w = ctx;

	return w->a.failed || w->b.failed || (w->a.eof && w->b.eof);
}

static void transfer(struct world *w, const struct endpoint *to, size_t a_total, size_t b_total, nsec_t limit)
{
	w->a.total = a_total;
	w->b.total = b_total;
	assert_int_equal(net_tcp_dial(w->p.a.nif, to, on_event, &w->a, &w->a.c), OK);
	assert_true(netpair_run(&w->p, limit, both_done, w));
	assert_false(w->a.failed || w->b.failed || w->a.wrong || w->b.wrong);
	assert_int_equal(w->b.got, a_total);
	assert_int_equal(w->a.got, b_total);
}

static void bytes_cross_both_ways(void **state)
{
	struct world w;

	world_init(&w, 1);
	transfer(&w, &b22, 20 << 20, 10 << 20, 60 * NSEC_PER_SEC);
	world_fini(&w);
}

static void bytes_cross_over_ipv6(void **state)
{
	struct world w;

	world_init(&w, 2);
	transfer(&w, &b22v6, 3 << 20, 1 << 20, 60 * NSEC_PER_SEC);
	world_fini(&w);
}

static void half_close_keeps_the_other_way_open(void **state)
{
	struct world w;

	world_init(&w, 3);
	transfer(&w, &b22, 0, 5 << 20, 60 * NSEC_PER_SEC);
	world_fini(&w);
}

static void loss_reordering_duplication_are_survived(void **state)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct world w;

		world_init(&w, 100 + seed);
		w.p.loss_ppm = 20000;
		w.p.dup_ppm = 20000;
		w.p.reorder_ppm = 20000;
		w.p.delay = NSEC_PER_MSEC;
		transfer(&w, &b22, 300000, 200000, 600 * NSEC_PER_SEC);
		world_fini(&w);
	}
}

static void blocked_output_loses_nothing(void **state)
{
	struct world w;

	world_init(&w, 5);
	w.p.queue_max = 3;
	transfer(&w, &b22, 4 << 20, 4 << 20, 600 * NSEC_PER_SEC);
	world_fini(&w);
}

static bool a_failed(void *ctx)
{
	return ((struct world *)ctx)->a.failed;
}

static void closed_port_refuses(void **state)
{
	struct world w;
	struct endpoint to = b22;

	world_init(&w, 6);
	to.port = 23;
	assert_int_equal(net_tcp_dial(w.p.a.nif, &to, on_event, &w.a, &w.a.c), OK);
	assert_true(netpair_run(&w.p, 5 * NSEC_PER_SEC, a_failed, &w));
	assert_int_equal(w.a.error, ERR_REFUSED);
	world_fini(&w);
}

static bool never(void *ctx)
{
	return false;
}

static void held_syn_is_shown_once_and_then_accepted(void **state)
{
	struct world w;

	world_init(&w, 7);
	w.hold = true;
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	netpair_run(&w.p, 8 * NSEC_PER_SEC, never, NULL);
	assert_int_equal(w.n_syn, 1);
	assert_false(w.a.connected);
	w.a.total = w.b.total = 1000;
	assert_int_equal(net_syn_accept(w.held, on_event, &w.b, &w.b.c), OK);
	assert_true(netpair_run(&w.p, 10 * NSEC_PER_SEC, both_done, &w));
	assert_int_equal(w.b.got, 1000);
	world_fini(&w);
}

static void refused_syn_is_a_reset_at_once(void **state)
{
	struct world w;
	nsec_t start;

	world_init(&w, 8);
	w.hold = true;
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	netpair_run(&w.p, 10 * NSEC_PER_MSEC, never, NULL);
	start = w.p.now;
	net_syn_refuse(w.held);
	assert_true(netpair_run(&w.p, NSEC_PER_SEC, a_failed, &w));
	assert_int_equal(w.a.error, ERR_REFUSED);
	assert_true(w.p.now - start < 2 * NSEC_PER_MSEC);
	world_fini(&w);
}

static void one_more_than_the_limit_is_refused_at_once(void **state)
{
	struct world w;
	struct end more[5] = { 0 };

	world_init(&w, 9);
	w.hold = true;
	for (int i = 0; i < 5; i++)
		assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &more[i], &more[i].c), OK);
	netpair_run(&w.p, 10 * NSEC_PER_MSEC, never, NULL);
	assert_int_equal(w.n_syn, 4);
	assert_int_equal(more[0].failed + more[1].failed + more[2].failed + more[3].failed, 0);
	assert_true(more[4].failed);
	assert_int_equal(more[4].error, ERR_REFUSED);
	for (int i = 0; i < 5; i++)
		net_tcp_abort(more[i].c);
	world_fini(&w);
}

static bool b_eof(void *ctx)
{
	return ((struct world *)ctx)->b.eof;
}

static void close_delivers_what_was_queued(void **state)
{
	struct world w;
	uint8_t buf[60000];

	world_init(&w, 10);
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	w.a.shut = true;
	netpair_run(&w.p, 10 * NSEC_PER_MSEC, never, NULL);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = pattern(i);
	assert_int_equal(net_tcp_write(w.a.c, buf, sizeof(buf)), sizeof(buf));
	net_tcp_close(w.a.c);
	w.a.c = NULL;
	assert_true(netpair_run(&w.p, 5 * NSEC_PER_SEC, b_eof, &w));
	assert_int_equal(w.b.got, sizeof(buf));
	assert_false(w.b.wrong);
	world_fini(&w);
}

static void abort_is_a_reset(void **state)
{
	struct world w;

	world_init(&w, 11);
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	w.a.shut = w.b.shut = true;
	netpair_run(&w.p, 10 * NSEC_PER_MSEC, never, NULL);
	assert_true(w.b.connected);
	net_tcp_abort(w.b.c);
	w.b.c = NULL;
	assert_true(netpair_run(&w.p, NSEC_PER_SEC, a_failed, &w));
	assert_int_equal(w.a.error, ERR_RESET);
	world_fini(&w);
}

static void interface_close_fails_its_connections(void **state)
{
	struct world w;
	struct net_tcp *c;

	world_init(&w, 12);
	assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &w.a, &w.a.c), OK);
	netpair_run(&w.p, 10 * NSEC_PER_MSEC, never, NULL);
	c = w.a.c;
	net_if_close(w.p.a.nif);
	assert_true(w.a.failed);
	assert_int_equal(w.a.error, ERR_CLOSED);
	net_tcp_close(c);
	w.a.c = NULL;
	/* Anew, for the fini of the pair. */
	struct net_if_config cfg = { .n_addrs = 1, .addrs = { { ip_addr_v4(10, 99, 0, 1), 24 } } };

	assert_int_equal(net_if_open(&cfg, &w.p.a.nif), OK);
	world_fini(&w);
}

static int n_replies;
static void on_echo(void *ctx, const struct ip_addr *from, uint16_t id, uint16_t seq, struct bytes data)
{
	assert_int_equal(id, 7);
	assert_int_equal(data.len, 56);
	n_replies++;
}

static void pings_are_answered_up_to_the_rate(void **state)
{
	struct netpair p;
	struct ip_addr to[2] = { b22.ip, b22v6.ip };
	uint8_t data[56] = { 1 };

	netpair_init(&p, 13);
	net_echo_listen(p.a.nif, on_echo, NULL);
	for (int f = 0; f < 2; f++) {
		n_replies = 0;
		for (uint16_t i = 0; i < 30; i++)
			assert_int_equal(net_echo_send(p.a.nif, &to[f], 7, i, data, sizeof(data)), OK);
		netpair_run(&p, 100 * NSEC_PER_MSEC, never, NULL);
		assert_int_equal(n_replies, 10);
	}
	netpair_fini(&p);
}

static void ports_and_isns_are_spread(void **state)
{
	struct world w;
	uint32_t low = UINT32_MAX, high = 0;
	bool seen[65536] = { false };
	int repeats = 0;

	world_init(&w, 14);
	for (int i = 0; i < 500; i++) {
		struct end e = { 0 };
		struct endpoint local, remote;

		assert_int_equal(net_tcp_dial(w.p.a.nif, &b22, on_event, &e, &e.c), OK);
		net_tcp_get_addrs(e.c, &local, &remote);
		repeats += seen[local.port];
		seen[local.port] = true;
		low = MIN(low, local.port);
		high = MAX(high, local.port);
		net_flush();
		net_tcp_abort(e.c);
	}
	assert_true(low < 4000 && high > 62000 && repeats < 20);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_cross_both_ways),
		cmocka_unit_test(bytes_cross_over_ipv6),
		cmocka_unit_test(half_close_keeps_the_other_way_open),
		cmocka_unit_test(loss_reordering_duplication_are_survived),
		cmocka_unit_test(blocked_output_loses_nothing),
		cmocka_unit_test(closed_port_refuses),
		cmocka_unit_test(held_syn_is_shown_once_and_then_accepted),
		cmocka_unit_test(refused_syn_is_a_reset_at_once),
		cmocka_unit_test(one_more_than_the_limit_is_refused_at_once),
		cmocka_unit_test(close_delivers_what_was_queued),
		cmocka_unit_test(abort_is_a_reset),
		cmocka_unit_test(interface_close_fails_its_connections),
		cmocka_unit_test(pings_are_answered_up_to_the_rate),
		cmocka_unit_test(ports_and_isns_are_spread),
	};
	return RUN_TESTS(tests);
}
