/* What happens at the edges: equal addresses, half-closed ends, limits, UDP, long-lived handles. */
#include "base/endian.h"
#include "test/lib/netpair.h"

struct peer {
	struct net_tcp *c;
	size_t got, want;
	bool connected, failed, eof, sent_all;
	enum err error;
};

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct peer *e = ctx;
	uint8_t buf[4096];
	size_t n;

	e->connected |= ev == NET_TCP_CONNECTED;
	e->sent_all |= ev == NET_TCP_SENT_ALL;
	if (ev == NET_TCP_ERROR) {
		e->failed = true;
		e->error = net_tcp_error(c);
	}
	while (ev == NET_TCP_READABLE && e->got < e->want && (n = net_tcp_read(c, buf, sizeof(buf))) > 0)
		e->got += n;
	e->eof |= net_tcp_at_eof(c);
}

struct server {
	struct peer ends[64];
	struct net_syn *held[64];
	size_t n, n_held, n_gone;
	size_t want;
	bool hold;
};

static void on_gone(void *ctx)
{
	((struct server *)ctx)->n_gone++;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct server *s = ctx;
	struct peer *e = &s->ends[s->n];

	if (s->hold) {
		net_syn_set_gone(syn, on_gone, s);
		s->held[s->n_held++] = syn;
		return;
	}
	e->want = s->want;
	assert_int_equal(net_syn_accept(syn, on_event, e, &e->c), OK);
	s->n++;
}

static const struct endpoint b22 = { { IP_V4, { 10, 99, 0, 2 } }, 22, 0 };

static bool never(void *ctx)
{
	return false;
}

static void run_ms(struct netpair *p, unsigned ms)
{
	netpair_run(p, ms * NSEC_PER_MSEC, never, NULL);
}

static void open_one(struct netpair *p, struct server *s, struct peer *a, struct net_listener **l)
{
	assert_int_equal(net_tcp_listen(p->b.nif, 22, 32, on_syn, s, l), OK);
	assert_int_equal(net_tcp_dial(p->a.nif, &b22, on_event, a, &a->c), OK);
	run_ms(p, 5);
	assert_true(a->connected && s->ends[0].connected);
}

static bool has_failed(void *ctx)
{
	return ((struct peer *)ctx)->failed;
}

/*
 * An outage of four minutes is survived, one of more than five ends the connection on either side: who waits is as
 * patient as who sends, whose next attempt may be a minute off.
 */
static void a_silent_connection_ends_when_its_other_end_is_gone(void **state)
{
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a = { .want = SIZE_MAX };
	struct net_listener *l;
	uint64_t sent;

	netpair_init(&p, 34);
	open_one(&p, &s, &a, &l);
	sent = p.a.n_sent;
	netpair_run(&p, 600 * NSEC_PER_SEC, never, NULL);
	assert_false(a.failed || s.ends[0].failed);
	assert_in_range(p.a.n_sent - sent, 30, 90); /* a probe and an answer in 15 s, from both sides */
	p.loss_ppm = 1000000;
	netpair_run(&p, 240 * NSEC_PER_SEC, never, NULL);
	assert_false(a.failed || s.ends[0].failed);
	p.loss_ppm = 0;
	netpair_run(&p, 60 * NSEC_PER_SEC, never, NULL);
	assert_false(a.failed || s.ends[0].failed);
	p.loss_ppm = 1000000;
	netpair_run(&p, 340 * NSEC_PER_SEC, never, NULL);
	assert_true(a.failed && s.ends[0].failed);
	assert_int_equal(a.error, ERR_TIMEOUT);
	net_tcp_close(a.c);
	net_tcp_close(s.ends[0].c);
	net_listener_close(l);
	netpair_fini(&p);
}

/* The same when we have closed our direction and only wait for the rest of the other one. */
static void a_half_closed_connection_ends_when_its_other_end_is_gone(void **state)
{
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a = { .want = SIZE_MAX };
	struct net_listener *l;

	netpair_init(&p, 36);
	open_one(&p, &s, &a, &l);
	net_tcp_shutdown(a.c);
	netpair_run(&p, 600 * NSEC_PER_SEC, never, NULL);
	assert_true(s.ends[0].eof);
	assert_false(a.failed || s.ends[0].failed);
	p.loss_ppm = 1000000;
	netpair_run(&p, 340 * NSEC_PER_SEC, never, NULL);
	assert_true(a.failed && s.ends[0].failed);
	net_tcp_close(a.c);
	net_tcp_close(s.ends[0].c);
	net_listener_close(l);
	netpair_fini(&p);
}

/* The other end has forgotten the connection, as after a restart: the first probe finds out. */
static void a_silent_connection_ends_when_its_other_end_has_restarted(void **state)
{
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a = { .want = SIZE_MAX };
	struct net_listener *l;

	netpair_init(&p, 35);
	open_one(&p, &s, &a, &l);
	p.loss_ppm = 1000000;
	net_tcp_abort(s.ends[0].c); /* whose reset is lost */
	run_ms(&p, 10);
	p.loss_ppm = 0;
	assert_true(netpair_run(&p, 16 * NSEC_PER_SEC, has_failed, &a));
	assert_int_equal(a.error, ERR_RESET);
	net_tcp_close(a.c);
	net_listener_close(l);
	netpair_fini(&p);
}

/* Key rotation: the old interface goes, connections on the new one with the same address stay. */
static void closing_a_twin_interface_spares_the_other(void **state)
{
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a = { .want = SIZE_MAX };
	struct net_listener *l;
	struct net_if *twin;
	struct net_if_config cfg = { .n_addrs = 2, .addrs = { { ip_addr_v4(10, 99, 0, 1), 24 }, { { IP_V6, { 0xfd, [15] = 1 } }, 64 } } };

	netpair_init(&p, 21);
	assert_int_equal(net_if_open(&cfg, &twin), OK);
	open_one(&p, &s, &a, &l);
	net_if_close(twin);
	assert_false(a.failed);
	assert_int_equal(net_tcp_write(a.c, "hello", 5), 5);
	run_ms(&p, 10);
	assert_int_equal(s.ends[0].got, 5);
	net_tcp_close(a.c);
	net_tcp_close(s.ends[0].c);
	net_listener_close(l);
	netpair_fini(&p);
}

/* A packet for the twin's connection, come by the wrong tunnel, must not reach it. */
static void a_twin_interface_cannot_reach_my_connection(void **state)
{
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a = { .want = SIZE_MAX };
	struct net_listener *l;
	struct net_if *old;
	struct netside twin = { .pair = &p };

	netpair_init(&p, 22);
	netpair_open_twin(&p, &twin, 1);
	open_one(&p, &s, &a, &l);
	old = p.a.nif;
	p.a.nif = twin.nif; /* what b sends arrives on the twin now */
	assert_int_equal(net_tcp_write(s.ends[0].c, "secret", 6), 6);
	run_ms(&p, 50);
	assert_int_equal(a.got, 0);
	p.a.nif = old;
	run_ms(&p, 3000);
	assert_int_equal(a.got + a.failed * 6, 6);
	net_tcp_abort(a.c);
	net_tcp_abort(s.ends[0].c);
	net_listener_close(l);
	net_if_close(twin.nif);
	netpair_drop_queue(&twin);
	netpair_fini(&p);
}

/* lwIP frees a PCB at the end of TIME_WAIT without a word: the handle must know. */
static void a_handle_outlives_time_wait(void **state)
{
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a = { .want = 0 };
	struct net_listener *l;
	uint8_t buf[64];

	netpair_init(&p, 23);
	open_one(&p, &s, &a, &l);
	net_tcp_shutdown(a.c);
	run_ms(&p, 5);
	assert_true(s.ends[0].eof);
	assert_int_equal(net_tcp_write(s.ends[0].c, "last words", 10), 10);
	net_tcp_close(s.ends[0].c);
	run_ms(&p, 60000);
	assert_false(a.failed);
	assert_int_equal(net_tcp_readable(a.c), 10);
	assert_int_equal(net_tcp_read(a.c, buf, sizeof(buf)), 10);
	assert_true(net_tcp_at_eof(a.c));
	net_tcp_close(a.c);
	net_listener_close(l);
	netpair_fini(&p);
}

static void an_orderly_end_of_both_ways_is_no_error(void **state)
{
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a = { .want = SIZE_MAX };
	struct net_listener *l;

	netpair_init(&p, 24);
	open_one(&p, &s, &a, &l);
	net_tcp_shutdown(a.c);
	run_ms(&p, 5);
	net_tcp_shutdown(s.ends[0].c);
	run_ms(&p, 30000);
	assert_true(a.eof && s.ends[0].eof);
	assert_false(a.failed || s.ends[0].failed);
	net_tcp_close(a.c);
	net_tcp_close(s.ends[0].c);
	net_listener_close(l);
	netpair_fini(&p);
}

static void a_held_syn_ends_after_thirty_seconds(void **state)
{
	struct netpair p;
	struct server s = { .hold = true };
	struct peer a = { 0 };
	struct net_listener *l;
	struct net_stats st;

	netpair_init(&p, 25);
	assert_int_equal(net_tcp_listen(p.b.nif, 22, 32, on_syn, &s, &l), OK);
	assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a, &a.c), OK);
	run_ms(&p, 100);
	net_tcp_abort(a.c);
	run_ms(&p, 29000);
	assert_int_equal(s.n_gone, 0);
	run_ms(&p, 2000);
	assert_int_equal(s.n_gone, 1);
	net_get_stats(&st);
	assert_int_equal(st.n_syn_held, 0);
	net_listener_close(l);
	netpair_fini(&p);
}

/* A port is an interface's own: a program may have several networks, and offer the same service in each. */
static void two_interfaces_listen_at_one_port(void **state)
{
	static const struct endpoint a22 = { { IP_V4, { 10, 99, 0, 1 } }, 22, 0 };
	struct server at_a = { 0 }, at_b = { 0 };
	struct peer a = { 0 }, b = { 0 };
	struct net_listener *la, *lb, *again;
	struct netpair p;

	netpair_init(&p, 31);
	assert_int_equal(net_tcp_listen(p.b.nif, 22, 32, on_syn, &at_b, &lb), OK);
	assert_int_equal(net_tcp_listen(p.b.nif, 22, 32, on_syn, &at_b, &again), ERR_IN_USE);
	assert_int_equal(net_tcp_listen(p.a.nif, 22, 32, on_syn, &at_a, &la), OK);
	assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a, &a.c), OK);
	assert_int_equal(net_tcp_dial(p.b.nif, &a22, on_event, &b, &b.c), OK);
	run_ms(&p, 5);
	assert_true(a.connected && b.connected && at_a.n == 1 && at_b.n == 1);
	net_listener_close(la);
	assert_int_equal(net_tcp_listen(p.a.nif, 22, 32, on_syn, &at_a, &la), OK);
	net_tcp_abort(a.c);
	net_tcp_abort(b.c);
	net_tcp_abort(at_a.ends[0].c);
	net_tcp_abort(at_b.ends[0].c);
	net_listener_close(la);
	net_listener_close(lb);
	netpair_fini(&p);
}

static void a_dial_into_silence_ends_in_a_timeout(void **state)
{
	struct netpair p;
	struct peer a = { 0 };

	netpair_init(&p, 26);
	p.loss_ppm = 1000000;
	assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a, &a.c), OK);
	netpair_run(&p, 3600 * NSEC_PER_SEC, never, NULL);
	assert_true(a.failed);
	assert_int_equal(a.error, ERR_TIMEOUT);
	net_tcp_close(a.c);
	netpair_fini(&p);
}

static void a_remote_has_only_its_share(void **state)
{
	struct netpair p;
	struct server s = { .hold = true };
	struct peer a[6] = { 0 };
	struct net_listener *l;
	int n_refused = 0;

	netpair_init_limits(&p, 27, &(struct net_config){ .n_tcp_peer_max = 3 });
	assert_int_equal(net_tcp_listen(p.b.nif, 22, 32, on_syn, &s, &l), OK);
	for (int i = 0; i < 6; i++)
		assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a[i], &a[i].c), OK);
	run_ms(&p, 10);
	for (int i = 0; i < 6; i++)
		n_refused += a[i].failed && a[i].error == ERR_REFUSED;
	assert_int_equal(s.n_held, 3);
	assert_int_equal(n_refused, 3);
	for (int i = 0; i < 6; i++)
		net_tcp_abort(a[i].c);
	net_listener_close(l);
	netpair_fini(&p);
}

static void a_full_process_does_not_dial(void **state)
{
	struct netpair p;
	struct peer a[3] = { 0 };

	netpair_init_limits(&p, 28, &(struct net_config){ .n_tcp_max = 2 });
	assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a[0], &a[0].c), OK);
	assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a[1], &a[1].c), OK);
	assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a[2], &a[2].c), ERR_FULL);
	net_tcp_abort(a[0].c);
	net_tcp_abort(a[1].c);
	netpair_fini(&p);
}

/* A reader who does not read: the writer is stopped by window and queue, and memory is given back. */
static void memory_stays_within_the_limit(void **state)
{
	struct netpair p;
	struct server s = { .want = 0 };
	struct peer a = { 0 };
	struct net_listener *l;
	struct net_stats st;
	static uint8_t block[65536];
	size_t written = 0, n;

	netpair_init_limits(&p, 29, &(struct net_config){ .mem_bytes_max = 3 << 20, .snd_bytes_max = 1 << 20 });
	open_one(&p, &s, &a, &l);
	for (int i = 0; i < 400; i++) {
		while ((n = net_tcp_write(a.c, block, sizeof(block))) > 0)
			written += n;
		run_ms(&p, 5);
		net_get_stats(&st);
		assert_true(st.mem_bytes <= (5u << 20));
	}
	/* What is offered to a reader that never reads, and a queue for it. */
	assert_true(written > 64 << 10 && written < 2 << 20);
	net_tcp_abort(a.c);
	net_tcp_abort(s.ends[0].c);
	net_listener_close(l);
	net_get_stats(&st);
	assert_int_equal(st.mem_bytes, 0);
	netpair_fini(&p);
}

/* It opens for a reader, up to what is configured; one who does not read is offered little. */
static void the_window_is_as_configured(void **state)
{
	struct netpair p;
	struct server s = { .want = 0 };
	struct peer a = { 0 };
	struct net_listener *l;
	static uint8_t block[256 << 10];

	netpair_init_limits(&p, 32, &(struct net_config){ .wnd_bytes_max = 128 << 10 });
	open_one(&p, &s, &a, &l);
	net_tcp_write(a.c, block, sizeof(block));
	run_ms(&p, 2000);
	assert_in_range(net_tcp_readable(s.ends[0].c), 50 << 10, 64 << 10);
	for (int i = 0; i < 500; i++) {
		net_tcp_write(a.c, block, sizeof(block));
		net_tcp_read(s.ends[0].c, block, sizeof(block));
		netpair_run(&p, 200 * NSEC_PER_USEC, never, NULL);
	}
	for (int i = 0; i < 50; i++) {
		net_tcp_write(a.c, block, sizeof(block));
		run_ms(&p, 20);
	}
	assert_in_range(net_tcp_readable(s.ends[0].c), 100 << 10, 128 << 10);
	/* Closing with bytes unread, none of them on the way, is a FIN, no reset. */
	for (int i = 0; i < 100; i++) {
		net_tcp_read(s.ends[0].c, block, sizeof(block));
		run_ms(&p, 5);
	}
	assert_int_equal(net_tcp_write(a.c, block, 50000), 50000);
	run_ms(&p, 20);
	assert_int_equal(net_tcp_readable(s.ends[0].c), 50000);
	net_tcp_shutdown(a.c);
	net_tcp_close(s.ends[0].c);
	run_ms(&p, 1);
	assert_false(a.failed);
	net_tcp_abort(a.c);
	net_listener_close(l);
	netpair_fini(&p);
}

static size_t n_datagrams;
static void on_datagram(void *ctx, struct net_udp *u, const struct endpoint *from, struct bytes data)
{
	n_datagrams++;
	assert_int_equal(data.len, 4);
	assert_memory_equal(data.p, "ping", 4);
	if (ctx)
		assert_int_equal(net_udp_send(u, from, "ping", 4), OK);
}

static void datagrams_cross_and_a_port_is_taken_once(void **state)
{
	struct netpair p;
	struct net_udp *a, *b, *again;
	struct endpoint to[2] = { { b22.ip, 53, 0 }, { { IP_V6, { 0xfd, [15] = 2 } }, 53, 0 } };
	static uint8_t big[1500];

	netpair_init(&p, 30);
	n_datagrams = 0;
	assert_int_equal(net_udp_open(p.b.nif, 53, on_datagram, &p, &b), OK);
	assert_int_equal(net_udp_open(p.b.nif, 53, on_datagram, &p, &again), ERR_IN_USE);
	assert_int_equal(net_udp_open(p.a.nif, 0, on_datagram, NULL, &a), OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(net_udp_send(a, &to[i], "ping", 4), OK);
	assert_int_equal(net_udp_send(a, &to[0], big, sizeof(big)), ERR_TOO_LONG);
	run_ms(&p, 10);
	assert_int_equal(n_datagrams, 4);
	/* To a closed port: silence, above all nothing on another interface. */
	to[0].port = 54;
	assert_int_equal(net_udp_send(a, &to[0], "ping", 4), OK);
	uint64_t n_a = p.a.n_sent + 0, n_b = p.b.n_sent;
	run_ms(&p, 10);
	assert_true(p.a.n_sent == n_a && p.b.n_sent == n_b);
	net_udp_close(a);
	net_udp_close(b);
	netpair_fini(&p);
}

static bool all_sent(void *ctx)
{
	struct server *s = ctx;

	for (size_t i = 0; i < s->n; i++)
		if (s->ends[i].got < 1 << 20)
			return false;
	return true;
}

static void feed(struct peer *a, size_t *left, const uint8_t *block)
{
	for (int i = 0; i < 8; i++)
		left[i] -= net_tcp_write(a[i].c, block, left[i]);
}

/* Eight uploads through an output that takes four packets at a time: none starves. */
static void blocked_output_is_shared(void **state)
{
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a[8] = { 0 };
	struct net_listener *l;
	static uint8_t block[1 << 20];
	size_t low = SIZE_MAX, high = 0, left[8];

	netpair_init(&p, 31);
	assert_int_equal(net_tcp_listen(p.b.nif, 22, 32, on_syn, &s, &l), OK);
	for (int i = 0; i < 8; i++)
		assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a[i], &a[i].c), OK);
	run_ms(&p, 20);
	p.queue_max = 4;
	for (int i = 0; i < 8; i++)
		left[i] = sizeof(block);
	for (int ms = 0; ms < 100; ms++) {
		feed(a, left, block);
		run_ms(&p, 1);
	}
	for (size_t i = 0; i < 8; i++) {
		low = MIN(low, s.ends[i].got);
		high = MAX(high, s.ends[i].got);
	}
	print_message("from %zu to %zu\n", low, high);
	assert_true(low > 0 && high < 1 << 20 && high < 4 * low);
	for (int ms = 0; ms < 60000 && !all_sent(&s); ms++) {
		feed(a, left, block);
		run_ms(&p, 1);
	}
	assert_true(all_sent(&s));
	for (int i = 0; i < 8; i++) {
		net_tcp_close(a[i].c);
		net_tcp_close(s.ends[i].c);
	}
	net_listener_close(l);
	netpair_fini(&p);
}

/* The simulator found it: answers before the handshake's end offered 4 MiB, and the next segment took them back. */
static void a_connection_half_open_offers_what_it_will_offer_later(void **state)
{
	struct netpair p;
	struct server s = { 0 };
	struct peer a = { 0 };
	struct net_listener *l;
	uint8_t reset[40];

	netpair_init(&p, 42);
	assert_int_equal(net_tcp_listen(p.b.nif, 22, 32, on_syn, &s, &l), OK);
	assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a, &a.c), OK);
	memcpy(reset, p.a.first->data, sizeof(reset));
	put_be16(reset + 2, sizeof(reset));
	put_be32(reset + 24, get_be32(reset + 24) + 12);
	reset[32] = 0x50;
	reset[33] = 0x04;
	netpair_inject(&p, &p.b, p.a.first->data, p.a.first->len);
	assert_int_equal(s.n, 1);
	netpair_drop_queue(&p.b);
	/* Not the next byte, but within the window: it is answered with an ACK (RFC 5961). */
	netpair_inject(&p, &p.b, reset, sizeof(reset));
	assert_non_null(p.b.first);
	assert_int_equal(p.b.first->data[33], 0x10);
	assert_in_range(get_be16(p.b.first->data + 34), 1, 65536 >> 7);
	net_tcp_abort(a.c);
	net_tcp_abort(s.ends[0].c);
	net_listener_close(l);
	netpair_fini(&p);
}

static bool is_at_eof(void *ctx)
{
	return ((struct peer *)ctx)->eof;
}

/* The simulator found a connection that stood for ever: a window of one segment had no room for a full one with a FIN. */
static void a_full_last_segment_is_sent_again_after_a_timeout(void **state)
{
	static uint8_t data[1380];
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a = { 0 };
	struct net_listener *l;

	netpair_init(&p, 43);
	open_one(&p, &s, &a, &l);
	/* The segment and the probe for it. */
	p.a.drop_next = 2;
	assert_int_equal(net_tcp_write(a.c, data, sizeof(data)), sizeof(data));
	net_tcp_shutdown(a.c);
	assert_true(netpair_run(&p, 5 * NSEC_PER_SEC, is_at_eof, &s.ends[0]));
	assert_int_equal(s.ends[0].got, sizeof(data));
	net_tcp_close(a.c);
	net_tcp_close(s.ends[0].c);
	net_listener_close(l);
	netpair_fini(&p);
}

/* A SYN, or the answer to one, that met a full queue leaves with what waits; it waited for its timer, a second. */
static void a_connection_begins_as_soon_as_the_output_takes_it(void **state)
{
	struct netpair p;
	struct server s = { .want = SIZE_MAX };
	struct peer a = { 0 };
	struct net_listener *l;
	struct netside *full[] = { &p.a, &p.b };

	for (size_t i = 0; i < ARRAY_SIZE(full); i++) {
		s.n = 0;
		a.connected = false;
		netpair_init(&p, 44);
		assert_int_equal(net_tcp_listen(p.b.nif, 22, 32, on_syn, &s, &l), OK);
		p.queue_max = 1;
		full[i]->n_queued = 1; /* by others */
		assert_int_equal(net_tcp_dial(p.a.nif, &b22, on_event, &a, &a.c), OK);
		run_ms(&p, 50);
		assert_true(net_if_is_blocked(full[i]->nif));
		assert_false(a.connected);
		full[i]->n_queued = 0;
		net_if_resume(full[i]->nif);
		run_ms(&p, 5);
		assert_true(a.connected && s.n == 1);
		net_tcp_abort(a.c);
		net_tcp_abort(s.ends[0].c);
		net_listener_close(l);
		netpair_fini(&p);
	}
}

static size_t longest_queued(const struct netside *s)
{
	size_t longest = 0;

	for (const struct netlink_pkt *k = s->first; k; k = k->next)
		longest = MAX(longest, k->len);
	return longest;
}

/* The simulator found segments longer than their interface's MTU: the MSS had been taken from another interface. */
static void an_interface_has_an_mtu_of_its_own(void **state)
{
	struct net_if_config cfg = { .n_addrs = 1, .mtu = 1280, .reset_closed = true };
	static uint8_t data[8000];
	struct netpair p;
	struct server s = { 0 };
	struct peer a = { 0 };
	struct net_listener *l;

	netpair_init(&p, 41);
	net_if_close(p.a.nif);
	cfg.addrs[0] = (struct ip_prefix){ ip_addr_v4(10, 99, 0, 1), 24 };
	netpair_reopen(&p, &p.a, &cfg);
	/* The one opened last is the one that lwIP finds first. */
	net_if_close(p.b.nif);
	cfg.addrs[0].ip = b22.ip;
	cfg.mtu = 1420;
	netpair_reopen(&p, &p.b, &cfg);
	open_one(&p, &s, &a, &l);
	assert_int_equal(net_tcp_write(a.c, data, sizeof(data)), sizeof(data));
	net_flush();
	assert_int_equal(longest_queued(&p.a), 1280);
	assert_int_equal(net_tcp_write(s.ends[0].c, data, sizeof(data)), sizeof(data));
	net_flush();
	assert_in_range(longest_queued(&p.b), 1, 1280);
	run_ms(&p, 100);
	net_tcp_close(a.c);
	net_tcp_close(s.ends[0].c);
	net_listener_close(l);
	netpair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_silent_connection_ends_when_its_other_end_is_gone),
		cmocka_unit_test(a_half_closed_connection_ends_when_its_other_end_is_gone),
		cmocka_unit_test(a_silent_connection_ends_when_its_other_end_has_restarted),
		cmocka_unit_test(a_full_last_segment_is_sent_again_after_a_timeout),
		cmocka_unit_test(a_connection_begins_as_soon_as_the_output_takes_it),
		cmocka_unit_test(a_connection_half_open_offers_what_it_will_offer_later),
		cmocka_unit_test(an_interface_has_an_mtu_of_its_own),
		cmocka_unit_test(closing_a_twin_interface_spares_the_other),
		cmocka_unit_test(a_twin_interface_cannot_reach_my_connection),
		cmocka_unit_test(a_handle_outlives_time_wait),
		cmocka_unit_test(an_orderly_end_of_both_ways_is_no_error),
		cmocka_unit_test(a_held_syn_ends_after_thirty_seconds),
		cmocka_unit_test(two_interfaces_listen_at_one_port),
		cmocka_unit_test(a_dial_into_silence_ends_in_a_timeout),
		cmocka_unit_test(a_remote_has_only_its_share),
		cmocka_unit_test(a_full_process_does_not_dial),
		cmocka_unit_test(memory_stays_within_the_limit),
		cmocka_unit_test(the_window_is_as_configured),
		cmocka_unit_test(datagrams_cross_and_a_port_is_taken_once),
		cmocka_unit_test(blocked_output_is_shared),
	};
	return RUN_TESTS(tests);
}
