/*
 * test/unit/netstack/sender_test.c - what a sender of ours does, segment by segment: how much it begins with, how it grows, what
 * it does about what is missing and when. In virtual time, two ends joined by a path of 20 ms; what is on its way lies in the
 * path's queue with its time, and can be taken out of it.
 *
 * The rates that come of it are path_test's.
 */
#include "test/lib/netpair.h"

#define MSS 1380
#define ONE_WAY (10 * NSEC_PER_MSEC)
#define RTT (2 * ONE_WAY)

struct end {
	struct net_tcp *c;
	size_t got;
	bool connected;
};

static struct world {
	struct netpair p;
	struct end a, b;
	struct net_listener *l;
} w;

static uint8_t block[1 << 20];

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;

	assert_true(ev != NET_TCP_ERROR);
	e->connected |= ev == NET_TCP_CONNECTED;
	if (ev == NET_TCP_READABLE)
		e->got += netpair_drain(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_event, &w.b, &w.b.c), OK);
}

static void run(nsec_t t)
{
	netpair_run(&w.p, t, NULL, NULL);
}

static bool all_is_there(void *ctx)
{
	return w.b.got >= *(size_t *)ctx;
}

static void connect_ends(void)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };

	w.p.delay = w.p.delay == 100 * NSEC_PER_USEC ? ONE_WAY : w.p.delay;
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, 4, on_syn, NULL, &w.l), OK);
	assert_int_equal(net_tcp_dial(w.p.a.nif, &to, on_event, &w.a, &w.a.c), OK);
	run(4 * RTT);
	assert_true(w.a.connected && w.b.connected);
	assert_null(w.p.a.first);
}

static void begin(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	netpair_init(&w.p, seed);
}

static void end(void)
{
	net_tcp_abort(w.a.c);
	net_tcp_abort(w.b.c);
	net_listener_close(w.l);
	netpair_fini(&w.p);
}

static void write_all(struct net_tcp *c, size_t len)
{
	assert_int_equal(net_tcp_write(c, block, len), len);
	net_flush();
}

/* A writer that always has more. */
static void write_for(nsec_t t)
{
	for (nsec_t end_at = w.p.now + t; w.p.now < end_at;) {
		netpair_fill(w.a.c, 1 << 14);
		run(NSEC_PER_MSEC);
	}
}

/* Return: how long until @b has @len bytes in all. */
static nsec_t time_until(size_t len)
{
	nsec_t start = w.p.now;

	assert_true(netpair_run(&w.p, 10 * NSEC_PER_SEC, all_is_there, &len));
	return w.p.now - start;
}

/* Segments with data that are on their way. */
static size_t n_flying(const struct netside *s)
{
	size_t n = 0;

	for (const struct netlink_pkt *k = s->first; k; k = k->next)
		n += k->len > 40;
	return n;
}

/* The most that left at the same instant. */
static size_t greatest_burst(const struct netside *s)
{
	size_t most = 0, n = 0;
	nsec_t at = 0;

	for (const struct netlink_pkt *k = s->first; k; k = k->next) {
		n = k->at == at ? n + 1 : 1;
		at = k->at;
		most = MAX(most, n);
	}
	return most;
}

/* The @i-th packet that is on its way gets lost. */
static void lose(struct netside *s, size_t i)
{
	struct netlink_pkt **at = &s->first, *gone;

	while (i-- > 0)
		at = &(*at)->next;
	gone = *at;
	assert_non_null(gone);
	*at = gone->next;
	if (!gone->next)
		s->last = at;
	s->n_queued--;
	free(gone);
}

static uint64_t n_resent(void)
{
	struct net_stats st;

	net_get_stats(&st);
	return st.n_resent;
}

/* A window of well over 100 segments. */
static void warm_up(void)
{
	for (int i = 0; i < 8; i++) {
		write_all(w.a.c, MIN((size_t)200 * MSS, net_tcp_writable(w.a.c)));
		run(3 * RTT);
	}
	run(10 * RTT);
	assert_null(w.p.a.first);
	assert_int_equal(n_resent(), 0);
	w.b.got = 0;
}

/* ---- beginning ---- */

/* RFC 6928; the side that was dialled as the one that dials. */
static void the_first_flight_is_ten_segments(void **state)
{
	begin(1);
	connect_ends();
	write_all(w.a.c, 90 * MSS - 700);
	assert_int_equal(n_flying(&w.p.a), 10);
	write_all(w.b.c, 90 * MSS - 700);
	assert_int_equal(n_flying(&w.p.b), 10);
	run(5 * RTT);
	end();
}

/*
 * A receiver that answers too rarely or opens its window too slowly would hold slow start back. Ours lets it double while its
 * first window lasts, and then nearly treble in two round trips (window.c).
 */
static void slow_start_is_not_held_back(void **state)
{
	size_t sent[9] = { 0 }, before = 0;

	begin(2);
	connect_ends();
	for (unsigned round = 1; round <= 8; round++) {
		size_t all;

		write_for(RTT);
		all = (w.b.got + MSS - 1) / MSS + n_flying(&w.p.a);
		sent[round] = all - before;
		before = all;
		print_message("round trip %u: %zu segments\n", round, sent[round]);
		if (round > 2)
			assert_true(10 * sent[round] >= 28 * sent[round - 2]);
	}
	assert_in_range(sent[1], 10, 14);
	assert_in_range(sent[2], 18, 24);
	assert_in_range(sent[3], 36, 48);
	end();
}

static void no_flight_but_the_first_leaves_at_once(void **state)
{
	begin(3);
	connect_ends();
	write_all(w.a.c, 90 * MSS);
	assert_int_equal(greatest_burst(&w.p.a), 10);
	for (int i = 0; i < 8; i++) {
		run(RTT / 2 - NSEC_PER_MSEC);
		if (i > 1)
			assert_in_range(greatest_burst(&w.p.a), 0, 6);
		write_all(w.a.c, MIN(net_tcp_writable(w.a.c), (size_t)90 * MSS));
	}
	run(5 * RTT);
	end();
}

/* A queue of 500 packets behind a path that holds 350: who looks at losses alone overflows it by 600. */
static void slow_start_sees_a_queue_grow(void **state)
{
	begin(4);
	w.p.rate_bps = 200000000;
	w.p.bottleneck = 500;
	connect_ends();
	write_for(3 * NSEC_PER_SEC);
	print_message("dropped %llu\n", (unsigned long long)w.p.a.n_dropped);
	assert_true(w.p.a.n_dropped < 400);
	assert_true(w.b.got > 60u << 20);
	end();
}

/* ---- acknowledging ---- */

static void a_lone_segment_is_acknowledged_within_40_ms(void **state)
{
	uint64_t before;

	begin(5);
	connect_ends();
	before = w.p.b.n_sent;
	write_all(w.a.c, 100);
	run(ONE_WAY + 39 * NSEC_PER_MSEC);
	assert_int_equal(w.p.b.n_sent, before);
	run(2 * NSEC_PER_MSEC);
	assert_int_equal(w.p.b.n_sent, before + 1);
	run(RTT);
	write_all(w.a.c, 2 * MSS);
	run(ONE_WAY + NSEC_PER_MSEC);
	assert_int_equal(w.p.b.n_sent, before + 2);
	run(5 * RTT);
	end();
}

/* What is read from the socket together is one input: none of its bytes goes without an answer, and it is one. */
static void a_batch_is_acknowledged_once(void **state)
{
	uint64_t before;

	begin(6);
	connect_ends();
	warm_up();
	w.p.tick = 25 * NSEC_PER_MSEC;
	run(w.p.tick - w.p.now % w.p.tick);
	before = w.p.b.n_sent;
	write_all(w.a.c, 24 * MSS);
	assert_true(time_until(24 * MSS) <= w.p.tick);
	assert_int_equal(w.p.b.n_sent, before + 1);
	w.p.tick = 0;
	run(5 * RTT);
	assert_int_equal(n_resent(), 0);
	end();
}

/* ---- what is missing ---- */

/* Nothing comes after it that would show the gap; the retransmission timeout is 200 ms at least. */
static void a_lost_tail_is_sent_again_before_the_timeout(void **state)
{
	for (size_t n_lost = 1; n_lost <= 5; n_lost++) {
		nsec_t took;

		begin(10 + n_lost);
		connect_ends();
		warm_up();
		write_all(w.a.c, 20 * MSS);
		run(5 * NSEC_PER_MSEC);
		assert_int_equal(n_flying(&w.p.a), 20);
		for (size_t i = 0; i < n_lost; i++)
			lose(&w.p.a, 20 - n_lost);
		took = time_until(20 * MSS) + 5 * NSEC_PER_MSEC;
		print_message("%zu lost: all is there after %.0f ms\n", n_lost, (double)took / 1e6);
		/* A probe two round trips after it was sent, and what its answer shows. */
		assert_true(took < 5 * RTT);
		end();
	}
}

/* The segment and the probe for it are lost: what comes next is the timeout, and no sooner than the interface allows. */
static void a_timeout_has_a_floor(void **state)
{
	static const nsec_t floors[] = { 0, NSEC_PER_SEC };

	for (size_t i = 0; i < ARRAY_SIZE(floors); i++) {
		struct net_if_config cfg = { .n_addrs = 1, .addrs = { { ip_addr_v4(10, 99, 0, 1), 24 } }, .rto_min = floors[i] };
		nsec_t least = MAX(floors[i], 200 * NSEC_PER_MSEC), took;

		begin(20);
		net_if_close(w.p.a.nif);
		netpair_reopen(&w.p, &w.p.a, &cfg);
		w.p.delay = 200 * NSEC_PER_USEC;
		connect_ends();
		warm_up();
		w.p.a.drop_next = 2;
		write_all(w.a.c, 100);
		took = time_until(100);
		print_message("a floor of %.0f ms: after %.0f ms\n", (double)least / 1e6, (double)took / 1e6);
		assert_true(took >= least && took < least + 100 * NSEC_PER_MSEC);
		end();
	}
}

/* 0.2, 0.4, 0.8 ... s: a dead path is not asked more often. */
static void timeouts_are_ever_further_apart(void **state)
{
	uint64_t before;

	begin(21);
	connect_ends();
	warm_up();
	w.p.loss_ppm = 1000000;
	before = w.p.a.n_sent;
	write_all(w.a.c, 100);
	run(12 * NSEC_PER_SEC);
	assert_in_range(w.p.a.n_sent - before, 6, 8);
	w.p.loss_ppm = 0;
	end();
}

static nsec_t lose_three_of_sixty(uint64_t seed, bool no_sack)
{
	nsec_t took;

	begin(seed);
	w.p.no_sack = no_sack;
	connect_ends();
	warm_up();
	write_all(w.a.c, 60 * MSS);
	run(9 * NSEC_PER_MSEC);
	assert_int_equal(n_flying(&w.p.a), 60);
	lose(&w.p.a, 40);
	lose(&w.p.a, 25);
	lose(&w.p.a, 10);
	took = time_until(60 * MSS) + 9 * NSEC_PER_MSEC;
	print_message("three lost, %s SACK: all is there after %.0f ms, %llu sent again\n", no_sack ? "without" : "with",
		      (double)took / 1e6, (unsigned long long)n_resent());
	assert_int_equal(n_resent(), 3);
	end();
	return took;
}

/* All of them with the first answer that shows them. */
static void holes_are_filled_in_one_round_trip(void **state)
{
	assert_true(lose_three_of_sixty(30, false) < ONE_WAY + RTT + 12 * NSEC_PER_MSEC);
}

/* RFC 6582: one a round trip, without a timeout. */
static void without_sack_holes_are_filled_one_by_one(void **state)
{
	nsec_t took = lose_three_of_sixty(31, true);

	assert_true(took > ONE_WAY + 2 * RTT && took < ONE_WAY + 3 * RTT + 12 * NSEC_PER_MSEC);
}

/* Packets that overtake others by less than a quarter of the round trip are not taken for lost, once that was seen. */
static void late_packets_are_not_sent_again(void **state)
{
	uint64_t sent;

	begin(32);
	w.p.rate_bps = 100000000;
	w.p.bottleneck = 1000;
	connect_ends();
	warm_up();
	w.p.reorder_ppm = 20000;
	sent = w.p.a.n_sent;
	write_for(2 * NSEC_PER_SEC);
	sent = w.p.a.n_sent - sent;
	print_message("of %llu packets, 1 of 50 late, %llu sent again\n", (unsigned long long)sent, (unsigned long long)n_resent());
	assert_true(w.p.a.n_dropped == 0 && sent > 10000 && n_resent() < 20);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_flight_is_ten_segments),
		cmocka_unit_test(slow_start_is_not_held_back),
		cmocka_unit_test(no_flight_but_the_first_leaves_at_once),
		cmocka_unit_test(slow_start_sees_a_queue_grow),
		cmocka_unit_test(a_lone_segment_is_acknowledged_within_40_ms),
		cmocka_unit_test(a_batch_is_acknowledged_once),
		cmocka_unit_test(a_lost_tail_is_sent_again_before_the_timeout),
		cmocka_unit_test(a_timeout_has_a_floor),
		cmocka_unit_test(timeouts_are_ever_further_apart),
		cmocka_unit_test(holes_are_filled_in_one_round_trip),
		cmocka_unit_test(without_sack_holes_are_filled_one_by_one),
		cmocka_unit_test(late_packets_are_not_sent_again),
	};

	return RUN_TESTS(tests);
}
