/*
 * test/unit/netstack/relieve_test.c - the pool has no unit left while connections hold what came out of order: whoever holds
 * most of the units gives them up, and what lies on the heap stays.
 */
#include <limits.h>

#include "test/lib/netpair.h"

#define N_CONNS 80
#define N_UNITS 1024
#define PIECE 100 /* too small for a unit of its own: copied to the heap */

struct end {
	struct net_tcp *c;
	size_t got;
	bool connected, failed, sleeps;
};

struct world {
	struct netpair p;
	struct net_listener *l;
	struct pktpool *pool;
	struct end from[N_CONNS], to[N_CONNS];
	size_t n_to;
};

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;

	e->connected |= ev == NET_TCP_CONNECTED;
	e->failed |= ev == NET_TCP_ERROR;
	if (ev == NET_TCP_READABLE && !e->sleeps)
		e->got += netpair_drain(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct world *w = ctx;
	struct end *e = &w->to[w->n_to++];

	assert_int_equal(net_syn_accept(syn, on_event, e, &e->c), OK);
}

static void run_ms(struct world *w, unsigned ms)
{
	netpair_run(&w->p, ms * NSEC_PER_MSEC, NULL, NULL);
}

static void begin(struct world *w)
{
	static const struct endpoint b22 = { { IP_V4, { 10, 99, 0, 2 } }, 22, 0 };
	struct net_config cfg = { .pool = pktpool_new(N_UNITS) };

	memset(w, 0, sizeof(*w));
	w->pool = cfg.pool;
	netpair_init_limits(&w->p, 3, &cfg);
	assert_int_equal(net_tcp_listen(w->p.b.nif, 22, N_CONNS, on_syn, w, &w->l), OK);
	for (int i = 0; i < N_CONNS; i++)
		assert_int_equal(net_tcp_dial(w->p.a.nif, &b22, on_event, &w->from[i], &w->from[i].c), OK);
	run_ms(w, 5);
	for (int i = 0; i < N_CONNS; i++)
		assert_true(w->from[i].connected && w->to[i].connected);
}

static void end(struct world *w)
{
	for (int i = 0; i < N_CONNS; i++) {
		assert_false(w->from[i].failed || w->to[i].failed);
		net_tcp_abort(w->from[i].c);
		net_tcp_abort(w->to[i].c);
	}
	net_listener_close(w->l);
	netpair_fini(&w->p);
}

/* The first piece is lost, what follows lies out of order; the other side does not hear of it yet. */
static void write_with_a_gap(struct world *w, int i, size_t piece, int n_behind)
{
	static const uint8_t block[2000];

	w->p.a.drop_next = 1;
	w->p.b.drop_next = UINT32_MAX;
	for (int k = 0; k <= n_behind; k++) {
		assert_int_equal(net_tcp_write(w->from[i].c, block, piece), piece);
		net_flush();
	}
	run_ms(w, 1);
}

static struct pktbuf *take_units(struct world *w, unsigned n)
{
	struct pktbuf *taken = NULL, *pb;

	while (n-- > 0 && (pb = pktbuf_alloc(w->pool, NULL))) {
		pb->next = taken;
		taken = pb;
	}
	return taken;
}

static void give_units(struct pktbuf *taken)
{
	while (taken) {
		struct pktbuf *pb = taken;

		taken = pb->next;
		pktbuf_free(pb);
	}
}

static void use_up_the_pool(struct world *w)
{
	struct pktbuf *all = take_units(w, UINT_MAX);

	net_flush();
	w->p.b.drop_next = 0;
	give_units(all);
}

static uint64_t n_reneged(void)
{
	struct net_stats s;

	net_get_stats(&s);
	return s.n_reneged;
}

static void what_lies_on_the_heap_is_kept(void **state)
{
	static struct world w;

	begin(&w);
	for (int i = 0; i < N_CONNS; i++)
		write_with_a_gap(&w, i, PIECE, 1);
	use_up_the_pool(&w);
	assert_int_equal(n_reneged(), 0);
	run_ms(&w, 2000);
	for (int i = 0; i < N_CONNS; i++)
		assert_int_equal(w.to[i].got, 2 * PIECE);
	end(&w);
}

static void who_holds_most_gives_it_up(void **state)
{
	static struct world w;
	struct pktowner many = { 0 }, few = { 0 };

	begin(&w);
	w.p.b.charged = &few;
	write_with_a_gap(&w, 0, PIECE, 1);
	write_with_a_gap(&w, 1, 1300, 2);
	w.p.b.charged = &many;
	write_with_a_gap(&w, 2, 1300, 5);
	assert_true(many.n_units >= 5 && few.n_units >= 2 && few.n_units < many.n_units);
	use_up_the_pool(&w);
	assert_int_equal(n_reneged(), 1);
	assert_int_equal(many.n_units, 0);
	assert_true(few.n_units >= 2);
	w.p.b.charged = NULL;
	run_ms(&w, 5000);
	assert_int_equal(w.to[0].got, 2 * PIECE);
	assert_int_equal(w.to[1].got, 3 * 1300);
	assert_int_equal(w.to[2].got, 6 * 1300);
	end(&w);
}

/* Who is over his own share is refused, again and again; nobody else loses anything by that. */
static void nobody_loses_by_what_another_hoards(void **state)
{
	static struct world w;
	struct pktowner careful = { 0 }, greedy = { 0 };
	struct pktbuf *hoard = NULL, *pb;

	begin(&w);
	w.p.b.charged = &careful;
	write_with_a_gap(&w, 0, 1300, 5);
	assert_int_equal(careful.n_units, 5);
	for (int i = 0; i < 10; i++) {
		while ((pb = pktbuf_alloc(w.pool, &greedy))) {
			pb->next = hoard;
			hoard = pb;
		}
		net_flush();
	}
	assert_int_equal(n_reneged(), 0);
	assert_int_equal(careful.n_units, 5);
	give_units(hoard);
	w.p.b.drop_next = 0;
	w.p.b.charged = NULL;
	run_ms(&w, 5000);
	assert_int_equal(w.to[0].got, 6 * 1300);
	end(&w);
}

/* One look is at some connections only; who holds most is found with the next. */
static void whoever_hoards_is_found(void **state)
{
	static struct world w;
	static struct pktowner one_each[N_CONNS];

	memset(one_each, 0, sizeof(one_each));
	begin(&w);
	for (int i = 0; i < N_CONNS; i++) {
		w.p.b.charged = &one_each[i];
		write_with_a_gap(&w, i, 1300, i == N_CONNS - 1 ? 5 : 1);
	}
	assert_int_equal(one_each[N_CONNS - 1].n_units, 5);
	use_up_the_pool(&w);
	assert_int_equal(n_reneged(), 1);
	assert_int_equal(one_each[N_CONNS - 1].n_units, 5);
	use_up_the_pool(&w);
	assert_int_equal(n_reneged(), 2);
	assert_int_equal(one_each[N_CONNS - 1].n_units, 0);
	w.p.b.charged = NULL;
	run_ms(&w, 5000);
	for (int i = 0; i < N_CONNS; i++)
		assert_int_equal(w.to[i].got, (i == N_CONNS - 1 ? 6 : 2) * 1300);
	end(&w);
}

static void what_waits_for_its_reader_leaves_the_pool(void **state)
{
	static const uint8_t block[60000];
	static struct world w;
	struct pktpool_stats s;
	struct pktbuf *quarter;

	begin(&w);
	quarter = take_units(&w, N_UNITS / 4);
	w.to[0].sleeps = true;
	assert_int_equal(net_tcp_write(w.from[0].c, block, sizeof(block)), sizeof(block));
	run_ms(&w, 100);
	assert_int_equal(net_tcp_readable(w.to[0].c), sizeof(block));
	pktpool_get_stats(w.pool, &s);
	assert_in_range(s.n_used, N_UNITS / 4, N_UNITS / 4 + 1); /* the first of them stays where it is */
	w.to[0].got += netpair_drain(w.to[0].c);
	assert_int_equal(w.to[0].got, sizeof(block));
	give_units(quarter);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_lies_on_the_heap_is_kept),
		cmocka_unit_test(who_holds_most_gives_it_up),
		cmocka_unit_test(nobody_loses_by_what_another_hoards),
		cmocka_unit_test(whoever_hoards_is_found),
		cmocka_unit_test(what_waits_for_its_reader_leaves_the_pool),
	};
	return RUN_TESTS(tests);
}
