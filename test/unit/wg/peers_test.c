/*
 * test/unit/wg/peers_test.c - peers by handle and by key, against a naive twin, and what a look-up among thousands costs.
 *
 * alone: processor time is compared
 */
#include <time.h>

#include "test/lib/testing.h"
#include "wg/wg.h"

#define N_MANY 10000
#define N_LOOKS 20000

struct known {
	struct wg_public_key key;
	wg_peer_id id; /* 0: it is not there */
};

static struct rng_seeded rng;
static struct pktpool *pool;
static struct wg_device *dev;
static const nsec_t now = 1000 * NSEC_PER_SEC;

static void begin(void)
{
	struct wg_private_key priv;
	struct wg_config cfg = { .rng = &rng.rng };

	rng_seeded_init(&rng, 1);
	cfg.pool = pool = pktpool_new(64);
	dev = wg_device_new(&cfg, now, 1700000000 * NSEC_PER_SEC);
	assert_non_null(dev);
	wg_generate_private(&rng.rng, &priv);
	wg_device_set_private(dev, &priv, now);
}

static void end(void)
{
	wg_device_free(dev);
	pktpool_free(pool);
}

static void add(struct known *k)
{
	wg_peer_id again;

	assert_int_equal(wg_peer_add(dev, &k->key, now, &k->id), OK);
	assert_int_equal(wg_peer_add(dev, &k->key, now, &again), ERR_EXISTS);
}

static void check(const struct known *k, size_t n)
{
	size_t n_there = 0, n_told = 0;
	struct wg_peer_info info;

	for (size_t i = 0; i < n; i++) {
		n_there += k[i].id != 0;
		assert_true(wg_peer_find(dev, &k[i].key) == k[i].id);
		if (k[i].id == 0)
			continue;
		assert_true(wg_peer_get_info(dev, k[i].id, now, &info));
		assert_memory_equal(info.key.b, k[i].key.b, sizeof(info.key.b));
	}
	for (wg_peer_id id = wg_peer_next(dev, 0); id; id = wg_peer_next(dev, id))
		n_told++;
	assert_int_equal(n_told, n_there);
}

static void peers_are_found_as_a_naive_list_finds_them(void **state)
{
	static struct known k[300];
	wg_peer_id gone;
	struct wg_peer_info info;

	memset(k, 0, sizeof(k));
	begin();
	for (size_t i = 0; i < ARRAY_SIZE(k); i++)
		rng_bytes(&rng.rng, k[i].key.b, sizeof(k[i].key.b));
	for (int step = 0; step < 3000; step++) {
		struct known *one = &k[rng_below(&rng.rng, step < 1500 ? ARRAY_SIZE(k) : 40)];

		if (one->id == 0) {
			add(one);
		} else {
			gone = one->id;
			wg_peer_remove(dev, gone);
			one->id = 0;
			/* Whoever takes its slot has another handle. */
			assert_false(wg_peer_get_info(dev, gone, now, &info));
		}
		if (step % 50 == 0)
			check(k, ARRAY_SIZE(k));
	}
	check(k, ARRAY_SIZE(k));
	end();
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Return: ns to look for somebody who is not there. */
static double miss(void)
{
	struct wg_public_key key;
	double start = cpu_ns();

	for (uint32_t i = 0; i < N_LOOKS; i++) {
		memset(key.b, 0, sizeof(key.b));
		memcpy(key.b, &i, sizeof(i));
		assert_true(wg_peer_find(dev, &key) == 0);
	}
	return (cpu_ns() - start) / N_LOOKS;
}

/* Whoever knows our key can send initiations in any name: each is one look-up. */
static void a_stranger_is_not_compared_with_everybody(void **state)
{
	struct known k;
	double few = 0, lots;

	begin();
	for (int i = 0; i < N_MANY; i++) {
		rng_bytes(&rng.rng, k.key.b, sizeof(k.key.b));
		assert_int_equal(wg_peer_add(dev, &k.key, now, &k.id), OK);
		if (i == 9)
			few = miss();
	}
	lots = miss();
	print_message("a stranger: %.0f ns among 10 peers, %.0f among %d\n", few, lots, N_MANY);
	assert_true(lots < 10 * few);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_are_found_as_a_naive_list_finds_them),
		cmocka_unit_test(a_stranger_is_not_compared_with_everybody),
	};

	return RUN_TESTS(tests);
}
