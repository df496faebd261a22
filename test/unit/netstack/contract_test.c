/*
 * test/unit/netstack/contract_test.c - a callback may do whatever it likes: end its own connection or any other, end the
 * listener or a whole interface, dial. lwIP's own callbacks allow next to nothing of that (its control block is gone when
 * the error callback runs, an abort inside of one has to be confessed), which is why ours run outside of it (net.h).
 *
 * Seeded; a failure prints the seed that repeats it (TEST_SEED). What is used after it was freed, ASan says.
 */
#include "test/lib/netpair.h"

#define N_SEEDS 1500
#define N_ENDS 24
#define N_DIALS 10

struct end {
	struct net_tcp *c;
	bool used;
};

static struct world {
	struct netpair p;
	struct rng_seeded dice;
	struct end ends[N_ENDS];
	size_t n;
	unsigned n_dials, n_acts[6], n_errors;
	struct net_listener *l;
	struct net_if_config cfg[2];
} w;

static const struct endpoint b22 = { { IP_V4, { 10, 99, 0, 2 } }, 22, 0 };
static uint8_t block[20000];

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev);
static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote);

static void dial(void)
{
	struct end *e = &w.ends[w.n];

	if (w.n_dials == N_DIALS || w.n == N_ENDS)
		return;
	w.n_dials++;
	if (net_tcp_dial(w.p.a.nif, &b22, on_event, e, &e->c) == OK) {
		e->used = true;
		w.n++;
	}
}

static void give_up(struct end *e, bool abort)
{
	struct net_tcp *c = e->c;

	if (!e->used)
		return;
	*e = (struct end){ 0 };
	if (abort)
		net_tcp_abort(c);
	else
		net_tcp_close(c);
}

static void listen_again(void)
{
	net_listener_close(w.l);
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, N_ENDS, on_syn, NULL, &w.l), OK);
}

/* Its connections hear of it; another takes its place. */
static void change_interface(bool of_b)
{
	struct netside *s = of_b ? &w.p.b : &w.p.a;

	if (of_b)
		net_listener_close(w.l);
	net_if_close(s->nif);
	netpair_reopen(&w.p, s, &w.cfg[of_b]);
	if (of_b)
		assert_int_equal(net_tcp_listen(s->nif, 22, N_ENDS, on_syn, NULL, &w.l), OK);
}

static void act(struct end *self)
{
	unsigned what = rng_below(&w.dice.rng, ARRAY_SIZE(w.n_acts));

	w.n_acts[what]++;
	switch (what) {
	case 0:
	case 1:
		give_up(self, what == 0);
		break;
	case 2:
		give_up(&w.ends[rng_below(&w.dice.rng, w.n)], rng_below(&w.dice.rng, 2));
		break;
	case 3:
		listen_again();
		break;
	case 4:
		if (rng_below(&w.dice.rng, 4) == 0)
			change_interface(rng_below(&w.dice.rng, 2));
		break;
	default:
		dial();
	}
}

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *self = ctx;

	/* Nobody hears of what he gave back. */
	assert_true(self->used && self->c == c);
	w.n_errors += ev == NET_TCP_ERROR;
	if (ev == NET_TCP_CONNECTED || ev == NET_TCP_WRITABLE)
		net_tcp_write(c, block, sizeof(block));
	if (ev == NET_TCP_READABLE)
		netpair_drain(c);
	if (rng_below(&w.dice.rng, 12) == 0)
		act(self);
	if (self->used && self->c == c && rng_below(&w.dice.rng, 60) == 0)
		net_tcp_shutdown(c);
	if (self->used && self->c == c && ev == NET_TCP_ERROR)
		give_up(self, true);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct end *e = &w.ends[w.n];

	if (w.n == N_ENDS || rng_below(&w.dice.rng, 10) == 0) {
		net_syn_refuse(syn);
		return;
	}
	if (net_syn_accept(syn, on_event, e, &e->c) == OK) {
		e->used = true;
		w.n++;
	}
}

static void play(uint64_t seed)
{
	struct net_stats st;

	memset(&w, 0, sizeof(w));
	rng_seeded_init(&w.dice, seed);
	netpair_init(&w.p, seed);
	w.p.unwatched = true; /* an interface that is opened anew has forgotten what the other side still answers to */
	for (int i = 0; i < 2; i++) {
		w.cfg[i] = (struct net_if_config){ .n_addrs = 1, .reset_closed = true };
		w.cfg[i].addrs[0] = (struct ip_prefix){ ip_addr_v4(10, 99, 0, (uint8_t)(i + 1)), 24 };
	}
	w.p.loss_ppm = seed % 2 ? 5000 : 0;
	w.p.queue_max = seed % 3 ? 0 : 8;
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, N_ENDS, on_syn, NULL, &w.l), OK);
	dial();
	dial();
	for (int i = 0; i < 30; i++) {
		netpair_run(&w.p, 5 * NSEC_PER_MSEC, NULL, NULL);
		dial();
	}
	for (size_t i = 0; i < N_ENDS; i++)
		give_up(&w.ends[i], true);
	net_get_stats(&st);
	assert_int_equal(st.n_tcp, 0);
	assert_int_equal(st.mem_bytes, 0);
	net_listener_close(w.l);
	netpair_fini(&w.p);
}

static uint64_t running;

static int tell_seed(void **state)
{
	if (running)
		print_message("TEST_SEED=%llu\n", (unsigned long long)running);
	return 0;
}

static void a_callback_may_do_anything(void **state)
{
	const char *given = getenv("TEST_SEED");
	uint64_t first = given ? strtoull(given, NULL, 0) : 1;
	unsigned n_acts[ARRAY_SIZE(w.n_acts)] = { 0 }, n_errors = 0;

	for (uint64_t seed = first; seed < first + (given ? 1 : N_SEEDS); seed++) {
		running = seed;
		play(seed);
		for (size_t i = 0; i < ARRAY_SIZE(n_acts); i++)
			n_acts[i] += w.n_acts[i];
		n_errors += w.n_errors;
	}
	running = 0;
	print_message("aborts %u, closes %u, others ended %u, errors told %u\n", n_acts[0], n_acts[1], n_acts[2], n_errors);
	for (size_t i = 0; i < ARRAY_SIZE(n_acts) && !given; i++)
		assert_true(n_acts[i] > N_SEEDS / 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_teardown(a_callback_may_do_anything, tell_seed) };

	return RUN_TESTS(tests);
}
