/*
 * test/unit/netstack/room_test.c - many writers on a short path take turns: large ones, and nobody waits for who is slow.
 */
#include <inttypes.h>

#include "test/lib/netpair.h"

#define N_FLOWS 32
#define ALL_BYTES (1280u << 10) /* that may be under way together */
#define TURN (256u << 10)

struct flow {
	struct net_tcp *from, *to;
	uint64_t written, got;
	unsigned n_turns; /* WRITABLE was told */
	bool reads;
};

static struct netpair p;
static struct flow flows[N_FLOWS];
static size_t n_accepted;
static struct net_listener *listener;
static uint8_t block[1 << 20];

static void fill(struct flow *f)
{
	size_t n;

	do {
		n = net_tcp_write(f->from, block, sizeof(block));
		f->written += n;
	} while (n == sizeof(block));
}

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct flow *f = ctx;

	assert_true(ev != NET_TCP_ERROR);
	f->n_turns += ev == NET_TCP_WRITABLE;
	if (ev == NET_TCP_WRITABLE)
		fill(f);
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct flow *f = ctx;

	if (ev == NET_TCP_READABLE && f->reads)
		f->got += netpair_drain(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct flow *f = &flows[n_accepted++];

	assert_int_equal(net_syn_accept(syn, on_to, f, &f->to), OK);
}

static bool all_connected(void *ctx)
{
	size_t n = *(const size_t *)ctx;

	for (size_t i = 0; i < n; i++)
		if (!flows[i].to || !net_tcp_is_connected(flows[i].from) || !net_tcp_is_connected(flows[i].to))
			return false;
	return true;
}

/* @n connections one after another, so that both ends of each stand in one entry. */
static void connect_flows(size_t n)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };

	memset(flows, 0, sizeof(flows));
	n_accepted = 0;
	netpair_init(&p, 5);
	p.delay = 50 * NSEC_PER_USEC;
	p.rate_bps = 5000000000;
	p.bottleneck = 10000;
	assert_int_equal(net_tcp_listen(p.b.nif, 22, N_FLOWS, on_syn, NULL, &listener), OK);
	for (size_t i = 0; i < n; i++) {
		size_t so_far = i + 1;

		flows[i].reads = true;
		assert_int_equal(net_tcp_dial(p.a.nif, &to, on_from, &flows[i], &flows[i].from), OK);
		assert_true(netpair_run(&p, NSEC_PER_SEC, all_connected, &so_far));
	}
}

static void disconnect_flows(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		net_tcp_abort(flows[i].from);
		net_tcp_abort(flows[i].to);
	}
	net_listener_close(listener);
	netpair_fini(&p);
}

static uint64_t under_way(size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += flows[i].written - flows[i].got;
	return sum;
}

static uint64_t most_under_way;

static bool watch(void *ctx)
{
	most_under_way = MAX(most_under_way, under_way(*(const size_t *)ctx));
	return false;
}

static void turns_are_large_and_fair(void **state)
{
	size_t n = N_FLOWS;
	uint64_t least = UINT64_MAX, sum = 0, turns = 0, before[N_FLOWS];

	connect_flows(n);
	for (size_t i = 0; i < n; i++)
		fill(&flows[i]);
	netpair_run(&p, NSEC_PER_SEC, NULL, NULL);
	for (size_t i = 0; i < n; i++) {
		before[i] = flows[i].got;
		flows[i].n_turns = 0;
	}
	most_under_way = 0;
	netpair_run(&p, NSEC_PER_SEC, watch, &n);
	for (size_t i = 0; i < n; i++) {
		least = MIN(least, flows[i].got - before[i]);
		sum += flows[i].got - before[i];
		turns += flows[i].n_turns;
	}
	printf("%zu flows: %.2f Gb/s, the least %.2f of its share, %" PRIu64 " KiB a turn, at most %" PRIu64 " KiB under way\n", n,
	       (double)sum * 8 / 1e9, (double)least * (double)n / (double)sum, sum / turns / 1024, most_under_way / 1024);
	assert_true((double)sum * 8 > 4.5e9);
	assert_true(least * n > sum / 4 * 3);
	assert_true(sum / turns > TURN / 4 * 3);
	/* What lies read or acknowledged on its way back is in this sum too. */
	assert_true(most_under_way <= ALL_BYTES + 2 * TURN);
	disconnect_flows(n);
}

/* Those whose other ends do not read hold what fits into their windows and queues, and hinder nobody. */
static void who_does_not_read_is_in_nobodys_way(void **state)
{
	size_t n = N_FLOWS;
	uint64_t before;

	connect_flows(n);
	for (size_t i = 0; i < n; i++) {
		flows[i].reads = i == n - 1;
		fill(&flows[i]);
	}
	netpair_run(&p, NSEC_PER_SEC, NULL, NULL);
	before = flows[n - 1].got;
	netpair_run(&p, NSEC_PER_SEC, NULL, NULL);
	printf("one among %zu that stand: %.2f Gb/s\n", n - 1, (double)(flows[n - 1].got - before) * 8 / 1e9);
	assert_true((double)(flows[n - 1].got - before) * 8 > 4.5e9);
	disconnect_flows(n);
}

static bool one_more_turn(void *ctx)
{
	for (size_t i = 0; i < N_FLOWS; i++)
		if (flows[i].n_turns > 0)
			return true;
	return false;
}

/* Nothing arrives any more: those in line do not wait for acknowledgements that others will not get. */
static void a_dead_path_holds_nobody_up(void **state)
{
	size_t n = N_FLOWS;
	nsec_t from;

	connect_flows(n);
	for (size_t i = 0; i < n; i++)
		fill(&flows[i]);
	netpair_run(&p, NSEC_PER_SEC, NULL, NULL);
	p.len_max = 1;
	netpair_run(&p, 5 * NSEC_PER_MSEC, NULL, NULL);
	for (size_t i = 0; i < n; i++)
		flows[i].n_turns = 0;
	from = p.now;
	assert_true(netpair_run(&p, NSEC_PER_SEC, one_more_turn, NULL));
	assert_true(p.now - from < 20 * NSEC_PER_MSEC);
	disconnect_flows(n);
}

/* A few bytes on a connection that is silent go at once, whoever stands in line. */
static void a_question_does_not_wait(void **state)
{
	size_t n = N_FLOWS;

	connect_flows(n);
	for (size_t i = 0; i + 1 < n; i++)
		fill(&flows[i]);
	netpair_run(&p, NSEC_PER_SEC, NULL, NULL);
	assert_true(net_tcp_writable(flows[n - 1].from) >= 16384);
	assert_int_equal(net_tcp_write(flows[n - 1].from, block, 16384), 16384);
	disconnect_flows(n);
}

static bool all_of_a_hundred(void *ctx)
{
	return flows[0].got == 100;
}

/* lwIP chains a piece for each write to the segment that waits. */
static void a_segment_of_many_small_writes_leaves(void **state)
{
	connect_flows(1);
	for (int i = 0; i < 100; i++)
		assert_int_equal(net_tcp_write(flows[0].from, "x", 1), 1);
	assert_true(netpair_run(&p, NSEC_PER_SEC, all_of_a_hundred, NULL));
	disconnect_flows(1);
}

/* Those that are held back by their own windows leave a little room; it is not given out over and over, a few bytes at a time. */
static void what_is_left_is_no_room(void **state)
{
	size_t n = N_FLOWS;

	connect_flows(n);
	for (size_t i = 0; i < n; i++)
		fill(&flows[i]);
	for (size_t i = 0; i < n; i++) {
		size_t room = net_tcp_writable(flows[i].from);

		assert_true(room == 0 || room >= 16384);
	}
	disconnect_flows(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(turns_are_large_and_fair),
		cmocka_unit_test(who_does_not_read_is_in_nobodys_way),
		cmocka_unit_test(a_dead_path_holds_nobody_up),
		cmocka_unit_test(a_question_does_not_wait),
		cmocka_unit_test(a_segment_of_many_small_writes_leaves),
		cmocka_unit_test(what_is_left_is_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
