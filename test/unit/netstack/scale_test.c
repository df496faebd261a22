/*
 * test/unit/netstack/scale_test.c - many connections cost what one costs.
 *
 * Times are of the processor and of the best of several rounds, with little and with much there in turn, so that a busy
 * machine disturbs both alike.
 *
 * alone: processor time is compared
 */
#include <malloc.h>
#include <time.h>

#include "test/lib/flows.h"

#define N_IDLE 10000
#define N_ROUNDS 12
#define N_EXCHANGES 2000

struct many {
	struct netpair p;
	struct net_tcp *a[N_IDLE], *b[N_IDLE];
	size_t n, n_b;
	struct net_listener *l;
};

static const struct endpoint b22 = { { IP_V4, { 10, 99, 0, 2 } }, 22, 0 };
static size_t n_answers;

static void on_a(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	uint8_t buf[256];

	assert_true(ev != NET_TCP_ERROR);
	if (ev == NET_TCP_READABLE && net_tcp_read(c, buf, sizeof(buf)) > 0)
		n_answers++;
}

static void on_b(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	uint8_t buf[256];
	size_t n;

	assert_true(ev != NET_TCP_ERROR);
	if (ev == NET_TCP_READABLE && (n = net_tcp_read(c, buf, sizeof(buf))) > 0)
		assert_int_equal(net_tcp_write(c, buf, n), n);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct many *m = ctx;

	assert_int_equal(net_syn_accept(syn, on_b, m, &m->b[m->n_b++]), OK);
}

static void open_up_to(struct many *m, size_t n)
{
	while (m->n < n) {
		assert_int_equal(net_tcp_dial(m->p.a.nif, &b22, on_a, m, &m->a[m->n]), OK);
		m->n++;
		if (m->n % 100 == 0 || m->n == n)
			netpair_run(&m->p, NSEC_PER_MSEC, NULL, NULL);
	}
	assert_int_equal(m->n_b, n);
	netpair_run(&m->p, 20 * NSEC_PER_SEC, NULL, NULL);
}

static void begin(struct many *m)
{
	memset(m, 0, sizeof(*m));
	netpair_init_limits(&m->p, 1, &(struct net_config){ .n_tcp_max = 3 * N_IDLE, .n_tcp_peer_max = 3 * N_IDLE });
	m->p.delay = 0;
	m->p.unwatched = true;
	assert_int_equal(net_tcp_listen(m->p.b.nif, 22, N_IDLE, on_syn, m, &m->l), OK);
}

static void end(struct many *m)
{
	for (size_t i = 0; i < m->n; i++) {
		net_tcp_abort(m->a[i]);
		net_tcp_abort(m->b[i]);
	}
	net_listener_close(m->l);
	netpair_fini(&m->p);
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* A hundred bytes there and back on ten of the connections in turn, timers included. Return: ns an exchange. */
static double exchange(struct many *m)
{
	uint8_t buf[100] = { 1 };
	double start = cpu_ns();

	n_answers = 0;
	for (size_t i = 0; i < N_EXCHANGES; i++) {
		assert_int_equal(net_tcp_write(m->a[i % 10], buf, sizeof(buf)), sizeof(buf));
		netpair_run(&m->p, 100 * NSEC_PER_USEC, NULL, NULL);
	}
	assert_int_equal(n_answers, N_EXCHANGES);
	return (cpu_ns() - start) / N_EXCHANGES;
}

/* A walk over all connections would cost a thousand times. Shadow memory misses the caches, so that less is asked with it. */
#ifdef __SANITIZE_ADDRESS__
#define COST_MAX 2.0
#else
#define COST_MAX 1.1
#endif

static void idle_connections_cost_an_exchange_nothing(void **state)
{
	static struct many m;
	double few = 1e9, lots = 1e9;

	/* Others on the machine only add: the least counts, and more rounds are measured while it is not reached. */
	for (int round = 0; round < 3 || (round < 10 && lots > COST_MAX * few); round++) {
		begin(&m);
		open_up_to(&m, 10);
		for (int i = 0; i < N_ROUNDS / 3; i++)
			few = MIN(few, exchange(&m));
		open_up_to(&m, N_IDLE);
		for (int i = 0; i < N_ROUNDS / 3; i++)
			lots = MIN(lots, exchange(&m));
		end(&m);
	}
	print_message("an exchange: %.0f ns with 10 connections, %.0f ns with %d: %.2f times\n", few, lots, N_IDLE, lots / few);
	assert_true(lots <= COST_MAX * few);
}

/* Return: ns for a unit that the pool refuses, and the turn that finds that out. */
static double refusal(struct many *m)
{
	double start = cpu_ns();

	for (size_t i = 0; i < N_EXCHANGES; i++) {
		assert_null(pktbuf_alloc(m->p.pool, NULL));
		net_flush();
	}
	return (cpu_ns() - start) / N_EXCHANGES;
}

/* Return: ns for a peer that comes from elsewhere, and the bytes that come after it. */
static double path_change(struct many *m)
{
	double start = cpu_ns();

	for (size_t i = 0; i < N_EXCHANGES; i++)
		net_if_path_changed(m->p.b.nif);
	return (cpu_ns() - start) / N_EXCHANGES;
}

/* A peer may make its share of the pool run out, or come from another address, with every packet. */
static void idle_connections_cost_what_a_peer_may_do_nothing(void **state)
{
	static struct many m;
	struct pktbuf *all = NULL, *pb;
	double refused, moved;

	begin(&m);
	open_up_to(&m, N_IDLE);
	moved = path_change(&m);
	while ((pb = pktbuf_alloc(m.p.pool, NULL))) {
		pb->next = all;
		all = pb;
	}
	refused = refusal(&m);
	while ((pb = all)) {
		all = pb->next;
		pktbuf_free(pb);
	}
	print_message("with %d connections: a refused unit %.0f ns, a path that changes %.0f ns\n", N_IDLE, refused, moved);
	end(&m);
	/* One look at each of them took 60 us and more. */
	assert_true(refused < 5000 && moved < 5000);
}

static void an_idle_connection_is_small(void **state)
{
	static struct many m;
	uint8_t buf[100] = { 1 };
	size_t before;
	double each;

	begin(&m);
	open_up_to(&m, 100);
	net_rest(); /* freed blocks that wait are nobody's */
	before = mallinfo2().uordblks;
	open_up_to(&m, N_IDLE);
	for (size_t i = 0; i < N_IDLE; i++) {
		assert_int_equal(net_tcp_write(m.a[i], buf, sizeof(buf)), sizeof(buf));
		netpair_run(&m.p, 20 * NSEC_PER_USEC, NULL, NULL);
	}
	netpair_run(&m.p, 30 * NSEC_PER_SEC, NULL, NULL);
	net_rest();
	each = (double)(mallinfo2().uordblks - before) / (2 * (N_IDLE - 100));
	print_message("an idle end of a connection: %.0f bytes\n", each);
#ifndef __SANITIZE_ADDRESS__
	assert_true(each <= 1024);
#endif
	end(&m);
}

/* A port is taken towards one remote end, not for the process. */
static void ports_are_drawn_for_each_remote_end(void **state)
{
	enum { N = 1000 };
	static struct net_tcp *c[2 * N];
	static uint8_t seen[65536];
	struct endpoint to[2] = { b22, b22 }, local, remote;
	struct netpair p;
	int both = 0;

	to[1].port = 23;
	memset(seen, 0, sizeof(seen));
	netpair_init(&p, 3);
	p.loss_ppm = 1000000;
	for (int i = 0; i < 2 * N; i++) {
		assert_int_equal(net_tcp_dial(p.a.nif, &to[i % 2], on_a, NULL, &c[i]), OK);
		net_tcp_get_addrs(c[i], &local, &remote);
		assert_false(seen[local.port] & 1 << i % 2);
		seen[local.port] |= (uint8_t)(1 << i % 2);
		both += seen[local.port] == 3;
	}
	/* 1,000 of 64,512 twice: about fifteen meet. */
	assert_in_range(both, 3, 40);
	for (int i = 0; i < 2 * N; i++)
		net_tcp_abort(c[i]);
	netpair_fini(&p);
}

/* ---- SYNs that are held ---- */

#define N_HELD 4000

static struct net_syn *held[2 * N_HELD];

static void hold(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	size_t *n = ctx;

	held[(*n)++] = syn;
}

static void send_syn(struct netpair *p, uint16_t port)
{
	uint8_t syn[40] = { 0x45, [3] = 40, [8] = 64, [9] = 6, [12] = 10, 99, 0, 7, 10, 99, 0, 2, [23] = 22, [32] = 0x50, 0x02, 0xff, 0xff };

	syn[20] = (uint8_t)(port >> 8);
	syn[21] = (uint8_t)port;
	netpair_inject(p, &p->b, syn, sizeof(syn));
}

/* Return: ns for each of N_EXCHANGES SYNs that are among those held already. */
static double held_again(struct netpair *p, uint16_t n)
{
	double start = cpu_ns();

	for (unsigned i = 0; i < N_EXCHANGES; i++)
		send_syn(p, (uint16_t)(1 + i % n));
	return (cpu_ns() - start) / N_EXCHANGES;
}

/* An owner that takes its time holds thousands; whoever sends one more is not compared with each of them. */
static void held_syns_are_not_walked(void **state)
{
	struct net_listener *l;
	struct netpair p;
	double few, lots;
	size_t n = 0;

	netpair_init_limits(&p, 4, &(struct net_config){ .n_tcp_max = 2 * N_HELD, .n_tcp_peer_max = 2 * N_HELD });
	assert_int_equal(net_tcp_listen(p.b.nif, 22, N_HELD, hold, &n, &l), OK);
	for (uint16_t i = 1; i <= 10; i++)
		send_syn(&p, i);
	few = held_again(&p, 10);
	for (uint16_t i = 1; i <= N_HELD; i++)
		send_syn(&p, i);
	assert_int_equal(n, N_HELD);
	lots = held_again(&p, N_HELD);
	print_message("a SYN that is held already: %.0f ns among 10, %.0f among %d\n", few, lots, N_HELD);
	assert_int_equal(n, N_HELD);
	assert_true(lots < 5 * few);
	/* Some go, from the midst of the places that they share: they are new when they come again, and the others still known. */
	for (size_t i = 0; i < N_HELD; i += 3)
		net_syn_refuse(held[i * 7 % N_HELD]);
	for (uint16_t i = 1; i <= N_HELD; i++)
		send_syn(&p, i);
	assert_int_equal(n, N_HELD + (N_HELD + 2) / 3);
	net_listener_close(l);
	netpair_fini(&p);
}

#define WALK_MAX 4.0 /* memory that has left the caches; a walk costs twenty times */

/* Return: ns for a segment of an upload whose window is @wnd, both ends and the ACKs. */
static double segment(uint32_t wnd)
{
	static const struct path path = { .ms = 10, .mbps = 10000, .queue = 20000 };
	static struct flows r;
	uint64_t before;
	double start;

	flows_begin_limits(&r, &path, 1, &(struct net_config){ .wnd_bytes_max = wnd, .pool = pktpool_new(65536) });
	r.p.unwatched = true;
	flows_add(&r, &path, NULL);
	netpair_run(&r.p, NSEC_PER_SEC, NULL, NULL);
	before = r.flows[0].got;
	start = cpu_ns();
	for (int i = 0; i < 500 && r.flows[0].got - before < 64u << 20; i++)
		netpair_run(&r.p, 20 * NSEC_PER_MSEC, NULL, NULL);
	start = cpu_ns() - start;
	before = (r.flows[0].got - before) / 1380;
	flows_end(&r);
	return start / (double)before;
}

/* The queues of what is sent and not acknowledged have tails: nobody walks to their ends. */
static void a_window_of_thousands_is_not_walked(void **state)
{
	double small = 1e9, large = 1e9;

	for (int round = 0; round < 2 || (round < 4 && large > WALK_MAX * small); round++) {
		small = MIN(small, segment(256 << 10));
		large = MIN(large, segment(16 << 20));
	}
	print_message("a segment: %.0f ns with a window of 256 KiB, %.0f with 16 MiB\n", small, large);
	assert_true(large <= WALK_MAX * small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_connections_cost_an_exchange_nothing),
		cmocka_unit_test(idle_connections_cost_what_a_peer_may_do_nothing),
		cmocka_unit_test(an_idle_connection_is_small),
		cmocka_unit_test(ports_are_drawn_for_each_remote_end),
		cmocka_unit_test(held_syns_are_not_walked),
		cmocka_unit_test(a_window_of_thousands_is_not_walked),
	};
	return RUN_TESTS(tests);
}
