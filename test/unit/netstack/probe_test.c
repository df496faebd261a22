/*
 * test/unit/netstack/probe_test.c - a tail-loss probe finds a lost tail, and a late one costs no window.
 *
 * What the congestion control made of it shows in how much leaves afterwards before anything is answered. Round trips take 10 ms.
 */
#include "test/lib/netpair.h"

#define DELAY (5 * NSEC_PER_MSEC)
#define SEG 1380

static struct netpair p;
static struct net_listener *listener;
static struct net_tcp *from, *to;
static uint64_t written, got;
static uint8_t block[4 << 20];

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	assert_true(ev != NET_TCP_ERROR);
	if (ev == NET_TCP_READABLE)
		got += netpair_drain(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_event, NULL, &to), OK);
}

static bool all_has_come(void *ctx)
{
	return got == written;
}

static void give(size_t n)
{
	assert_int_equal(net_tcp_write(from, block, n), n);
	written += n;
}

static void send_bytes(size_t n)
{
	give(n);
	assert_true(netpair_run(&p, NSEC_PER_SEC, all_has_come, NULL));
}

static void run_for(nsec_t time)
{
	netpair_run(&p, time, NULL, NULL);
}

/* An established connection whose window has grown to some dozens of segments, and which is quiet now. */
static void begin(void)
{
	struct endpoint there = { ip_addr_v4(10, 99, 0, 2), 22, 0 };

	from = to = NULL;
	written = got = 0;
	netpair_init(&p, 8);
	p.delay = DELAY;
	assert_int_equal(net_tcp_listen(p.b.nif, 22, 1, on_syn, NULL, &listener), OK);
	assert_int_equal(net_tcp_dial(p.a.nif, &there, on_event, NULL, &from), OK);
	run_for(50 * NSEC_PER_MSEC);
	for (int i = 0; i < 8; i++) {
		send_bytes(80 * SEG);
		run_for(20 * NSEC_PER_MSEC);
	}
	/* The sender's window shrinks with silence, and the receiver's does not: so it is the sender's that is seen. */
	run_for(2500 * NSEC_PER_MSEC);
}

static void end(void)
{
	assert_int_equal(p.a.n_bad + p.b.n_bad, 0);
	net_tcp_abort(from);
	net_tcp_abort(to);
	net_listener_close(listener);
	netpair_fini(&p);
}

/* Packets that leave before any answer, and perhaps a probe. */
static uint64_t burst(void)
{
	uint64_t before;

	/* What a probe was for is decided by the ACK of something newer. */
	send_bytes(SEG);
	run_for(100 * NSEC_PER_MSEC);
	before = p.a.n_sent;
	p.delay = NSEC_PER_SEC;
	assert_true(net_tcp_write(from, block, sizeof(block)) > 0);
	run_for(150 * NSEC_PER_MSEC);
	return p.a.n_sent - before;
}

static uint64_t undisturbed(void)
{
	uint64_t n;

	begin();
	n = burst();
	end();
	return n;
}

static void a_tail_that_was_lost_costs_window(void **state)
{
	uint64_t usual = undisturbed(), n;

	begin();
	give(10 * SEG);
	net_flush();
	p.a.drop_next = 1;
	send_bytes(SEG);
	n = burst();
	print_message("%llu packets at once, %llu after it\n", (unsigned long long)usual, (unsigned long long)n);
	assert_in_range(n, 1, usual * 85 / 100);
	end();
}

/* The answers take so long that a probe goes out, and come one by one. */
static void a_tail_that_was_late_costs_nothing(void **state)
{
	uint64_t usual = undisturbed(), sent;

	begin();
	p.delay = 15 * DELAY;
	sent = p.a.n_sent;
	send_bytes(11 * SEG);
	run_for(200 * NSEC_PER_MSEC);
	assert_int_equal(p.a.n_sent - sent, 12);
	p.delay = DELAY;
	assert_in_range(burst(), usual - 1, usual + 1);
	end();
}

/* The receiver did not run for a while and has the segment and its repetition at once: one ACK is for both. */
static void what_a_busy_receiver_answers_late_costs_nothing(void **state)
{
	uint64_t usual = undisturbed(), sent;

	begin();
	sent = p.a.n_sent;
	p.tick = 100 * NSEC_PER_MSEC;
	send_bytes(11 * SEG);
	p.tick = 0;
	run_for(200 * NSEC_PER_MSEC);
	assert_int_equal(p.a.n_sent - sent, 12);
	assert_in_range(burst(), usual - 1, usual + 1);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tail_that_was_lost_costs_window),
		cmocka_unit_test(a_tail_that_was_late_costs_nothing),
		cmocka_unit_test(what_a_busy_receiver_answers_late_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
