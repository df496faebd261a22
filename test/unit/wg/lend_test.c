/*
 * test/unit/wg/lend_test.c - runs that other threads seal: the same bytes in the same order as without, whatever happens to
 * the peer meanwhile. Each seed runs twice, with runs lent, sealed and given back at random moments and without;
 * a failure prints the seed that repeats it (TEST_SEED).
 */
#include "test/lib/wgpair.h"

#include "base/rng.h"
#include "wg/aead.h"
#include "wg/hash.h"

#define N_SEEDS 60
#define N_STEPS 40
#define N_LENT_MAX 8

struct lender {
	bool on;
	struct rng_seeded dice; /* of the schedule */
	struct wg_run *lent[N_LENT_MAX];
	bool sealed[N_LENT_MAX];
	unsigned n, n_lent_ever, n_orphans;
};

struct play {
	struct wgpair pair;
	struct lender lender;
	struct rng_seeded dice; /* of what happens; the same for both */
	struct path_addr from_a, from_b;
	uint8_t wire[WG_HASH_LEN]; /* of all datagrams of a's so far */
	unsigned n_datagrams, n_received;
};

static uint64_t first_seed(void)
{
	const char *s = getenv("TEST_SEED");

	return s ? strtoull(s, NULL, 0) : 1;
}

/* ---- the threads that seal ---- */

static void lend(struct play *p, bool all)
{
	struct lender *l = &p->lender;

	if (!l->on || l->n == N_LENT_MAX)
		return;
	l->lent[l->n] = wg_device_lend(p->pair.a.dev, all);
	l->sealed[l->n] = false;
	l->n_lent_ever += l->lent[l->n] != NULL;
	l->n += l->lent[l->n] != NULL;
}

static void seal(struct play *p)
{
	struct lender *l = &p->lender;
	size_t i = l->n ? rng_below(&l->dice.rng, l->n) : 0;

	if (l->n == 0 || l->sealed[i])
		return;
	wg_run_seal(l->lent[i], 1 + rng_below(&l->dice.rng, WG_AEAD_LANES - 1));
	l->sealed[i] = true;
}

/* In any order, as several threads are done. */
static void give_back(struct play *p)
{
	struct lender *l = &p->lender;
	size_t i = l->n ? rng_below(&l->dice.rng, l->n) : 0;

	if (l->n == 0 || !l->sealed[i])
		return;
	wg_device_give_back(p->pair.a.dev, l->lent[i]);
	l->lent[i] = l->lent[--l->n];
	l->sealed[i] = l->sealed[l->n];
}

static void all_back(struct play *p)
{
	while (p->lender.n > 0) {
		seal(p);
		give_back(p);
	}
}

static void something(struct play *p)
{
	switch (rng_below(&p->lender.dice.rng, 4)) {
	case 0:
		lend(p, rng_below(&p->lender.dice.rng, 4) == 0);
		break;
	case 1:
		seal(p);
		break;
	case 2:
		give_back(p);
		break;
	}
}

/* ---- what happens ---- */

static void feed(struct play *p, struct wg_device *dev, const uint8_t *m, size_t len, const struct path_addr *from)
{
	struct wg_datagram d = { m, len, from };
	struct wg_event ev;
	struct wg_rx rx;

	wg_device_input(dev, p->pair.now, &d, 1);
	while (wg_device_next_rx(dev, &rx)) {
		p->n_received += dev == p->pair.b.dev;
		pktbuf_free(rx.pb);
	}
	while (wg_device_next_event(dev, &ev))
		;
}

/* All that @from has to say goes to @to. */
static void carry(struct play *p, struct wg_device *from, struct wg_device *to, const struct path_addr *path)
{
	struct wg_tx tx;

	while (wg_device_next_tx(from, p->pair.now, &tx)) {
		for (size_t off = 0; off < tx.len; off += tx.seg_len) {
			size_t len = MIN((size_t)tx.seg_len, tx.len - off);

			if (from == p->pair.a.dev) {
				wg_hash(p->wire, wg_bytes(p->wire, sizeof(p->wire)), wg_bytes(tx.p + off, len), wg_bytes(NULL, 0));
				p->n_datagrams++;
			}
			feed(p, to, tx.p + off, len, path);
		}
		wg_device_tx_done(from);
	}
}

static void settle(struct play *p)
{
	for (int i = 0; i < 4; i++) {
		lend(p, true);
		all_back(p);
		carry(p, p->pair.a.dev, p->pair.b.dev, &p->from_a);
		carry(p, p->pair.b.dev, p->pair.a.dev, &p->from_b);
	}
}

static void burst(struct play *p)
{
	size_t len = 28 + rng_below(&p->dice.rng, 1390);
	unsigned n = 1 + rng_below(&p->dice.rng, 150);

	for (unsigned i = 0; i < n; i++) {
		if (rng_below(&p->dice.rng, 40) == 0)
			len = 28 + rng_below(&p->dice.rng, 1390);
		wgpair_send(&p->pair, &p->pair.a, len, NULL);
		if (p->lender.on)
			something(p);
	}
}

static void add_again(struct play *p)
{
	struct wgside *a = &p->pair.a;
	struct ip_prefix inner = { p->pair.b.inner, 32 };

	/* What lies in the queue goes with the peer, so that no more than that is lost in either run. */
	if (!p->lender.on)
		while (wg_device_tx_bytes(a->dev) > 0) {
			struct wg_tx tx;

			assert_true(wg_device_next_tx(a->dev, p->pair.now, &tx));
			wg_device_tx_done(a->dev);
		}
	p->lender.n_orphans += p->lender.n;
	wg_peer_remove(a->dev, a->peer);
	assert_int_equal(wg_device_tx_bytes(a->dev), 0);
	assert_int_equal(wg_peer_add(a->dev, &p->pair.b.pub, p->pair.now, &a->peer), OK);
	assert_int_equal(wg_peer_allow(a->dev, a->peer, &inner), OK);
	wg_peer_set_endpoint(a->dev, a->peer, &p->pair.b.ep, p->pair.now);
}

static void step(struct play *p)
{
	struct wgside *a = &p->pair.a;

	p->pair.now += NSEC_PER_MSEC * (1 + rng_below(&p->dice.rng, 2000));
	wg_device_set_wall(a->dev, p->pair.now, p->pair.wall + p->pair.now);
	wg_device_set_wall(p->pair.b.dev, p->pair.now, p->pair.wall + p->pair.now);
	wg_device_expire(a->dev, p->pair.now);
	wg_device_expire(p->pair.b.dev, p->pair.now);
	burst(p);
	switch (rng_below(&p->dice.rng, 12)) {
	case 0:
		wg_peer_rehandshake(a->dev, a->peer, p->pair.now);
		break;
	case 1:
		wg_device_set_private(a->dev, &a->priv, p->pair.now);
		break;
	case 2:
		wg_peer_clear_src(a->dev, a->peer);
		break;
	case 3:
		add_again(p);
		break;
	case 4:
		wg_device_set_aead(a->dev, "libcrypto"); /* or stays where that is not here */
		break;
	case 5:
		wg_device_set_aead(a->dev, NULL);
		break;
	}
	settle(p);
}

static void open_lanes(struct wg_device *dev)
{
	static const char *const names[] = { "libcrypto", NULL };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (wg_device_set_aead(dev, names[i]))
			for (unsigned lane = 1; lane < WG_AEAD_LANES; lane++)
				assert_true(wg_device_open_lane(dev, lane));
}

static void play(struct play *p, uint64_t seed, bool with_lender)
{
	memset(p, 0, sizeof(*p));
	wgpair_init(&p->pair, seed);
	rng_seeded_init(&p->dice, seed);
	rng_seeded_init(&p->lender.dice, seed + 1);
	p->lender.on = with_lender;
	p->from_a.remote = p->pair.a.ep;
	p->from_b.remote = p->pair.b.ep;
	open_lanes(p->pair.a.dev);
	wgpair_connect(&p->pair);
	for (int i = 0; i < N_STEPS; i++)
		step(p);
	wgpair_fini(&p->pair);
}

static void the_same_bytes_with_and_without(void **state)
{
	uint64_t seed = first_seed(), end = getenv("TEST_SEED") ? seed + 1 : seed + N_SEEDS;
	static struct play with, without;
	unsigned n_lent = 0, n_orphans = 0;

	for (; seed < end; seed++) {
		play(&without, seed, false);
		play(&with, seed, true);
		if (memcmp(with.wire, without.wire, sizeof(with.wire)) != 0 || with.n_received != without.n_received)
			fail_msg("TEST_SEED=%llu: %u datagrams, %u received; without workers %u and %u", (unsigned long long)seed,
				 with.n_datagrams, with.n_received, without.n_datagrams, without.n_received);
		n_lent += with.lender.n_lent_ever;
		n_orphans += with.lender.n_orphans;
	}
	printf("%u runs lent, %u of them while their peer was removed\n", n_lent, n_orphans);
	assert_true(n_lent > 500 || getenv("TEST_SEED"));
	assert_true(n_orphans > 0 || getenv("TEST_SEED"));
}

/* ---- the contract, call by call ---- */

static void send_some(struct wgpair *p, unsigned n, size_t len)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(wgpair_send(p, &p->a, len, NULL), WG_SEND_OK);
}

static void the_queue_waits_for_its_front(void **state)
{
	struct wgpair p;
	struct wg_run *run;
	struct wg_tx tx;

	wgpair_init(&p, 1);
	wgpair_connect(&p);
	send_some(&p, 46, 1400); /* one run is full, one has begun */
	assert_true(wg_device_tx_is_full(p.a.dev));
	run = wg_device_lend(p.a.dev, false);
	assert_non_null(run);
	assert_null(wg_device_lend(p.a.dev, false));
	assert_null(wg_device_lend(p.a.dev, true)); /* the second is too short for anybody else */
	assert_ptr_equal(wg_device_front_lent(p.a.dev), run);
	assert_false(wg_device_next_tx(p.a.dev, p.now, &tx));
	wg_run_seal(run, 0);
	wg_device_give_back(p.a.dev, run);
	assert_null(wg_device_front_lent(p.a.dev));
	assert_true(wg_device_next_tx(p.a.dev, p.now, &tx));
	assert_int_equal(tx.n_segs, 45);
	wg_device_tx_done(p.a.dev);
	assert_true(wg_device_next_tx(p.a.dev, p.now, &tx));
	assert_int_equal(tx.n_segs, 1);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 1); /* the first run was taken off the wire above */
	wgpair_fini(&p);
}

static void small_runs_stay(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 2);
	wgpair_connect(&p);
	send_some(&p, 10, 1400);
	assert_null(wg_device_lend(p.a.dev, false));
	assert_null(wg_device_lend(p.a.dev, true));
	send_some(&p, 2, 1400); /* now it is long enough, but may grow */
	assert_null(wg_device_lend(p.a.dev, false));
	struct wg_run *run = wg_device_lend(p.a.dev, true);
	assert_non_null(run);
	send_some(&p, 1, 1400); /* into another */
	wg_run_seal(run, 0);
	wg_device_give_back(p.a.dev, run);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 13);
	wgpair_fini(&p);
}

static void what_is_lent_blocks_nobody(void **state)
{
	struct wgpair p;
	struct wg_run *run;
	enum wg_send r;

	wgpair_init(&p, 3);
	wgpair_connect(&p);
	while ((r = wgpair_send(&p, &p.a, 1400, NULL)) == WG_SEND_OK)
		;
	assert_int_equal(r, WG_SEND_BLOCKED);
	run = wg_device_lend(p.a.dev, false);
	assert_non_null(run);
	assert_int_equal(wgpair_send(&p, &p.a, 1400, NULL), WG_SEND_OK);
	wg_run_seal(run, 0);
	wg_device_give_back(p.a.dev, run);
	assert_int_equal(wgpair_send(&p, &p.a, 1400, NULL), WG_SEND_BLOCKED);
	wgpair_fini(&p);
}

static void a_removed_peers_run_is_dropped(void **state)
{
	struct wgpair p;
	struct wg_run *run;
	struct wg_tx tx;

	wgpair_init(&p, 4);
	wgpair_connect(&p);
	send_some(&p, 46, 1400);
	run = wg_device_lend(p.a.dev, false);
	assert_non_null(run);
	wg_peer_remove(p.a.dev, p.a.peer);
	assert_int_equal(wg_device_tx_bytes(p.a.dev), 0);
	assert_false(wg_device_next_tx(p.a.dev, p.now, &tx));
	wg_run_seal(run, 0); /* its bytes and its key are still there */
	wg_device_give_back(p.a.dev, run);
	assert_false(wg_device_next_tx(p.a.dev, p.now, &tx));
	wgpair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_queue_waits_for_its_front),
		cmocka_unit_test(small_runs_stay),
		cmocka_unit_test(what_is_lent_blocks_nobody),
		cmocka_unit_test(a_removed_peers_run_is_dropped),
		cmocka_unit_test(the_same_bytes_with_and_without),
	};

	return RUN_TESTS(tests);
}
