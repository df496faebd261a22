/*
 * test/unit/wg/differential_test.c - the replay window and the allowed-IPs trie against twins that are too simple to be
 * wrong: a set of all counters ever accepted, and a list that is walked from end to end. A few long runs, and thousands of
 * short ones from TEST_SEED (1 unless given) on; a failure prints the seed that repeats it.
 */
#include "test/lib/testing.h"

#include "base/rng.h"
#include "wg/allowedips.h"
#include "wg/replay.h"

#define N_SHORT 3000

static uint64_t first_seed(void)
{
	const char *s = getenv("TEST_SEED");

	return s ? strtoull(s, NULL, 0) : 1;
}

/* ---- replay ---- */

#define WINDOW 8128 /* as wg/replay.h promises */
#define SET_BITS 21

static uint64_t *set; /* of counter + 1; 0 = free */
static unsigned set_bits;

/* Return: was it in? It is now, if @add. */
static bool set_has(uint64_t counter, bool add)
{
	size_t i = (size_t)(counter * 0x9e3779b97f4a7c15u >> (64 - set_bits));

	for (; set[i] != 0; i = (i + 1) & ((1u << set_bits) - 1))
		if (set[i] == counter + 1)
			return true;
	if (add)
		set[i] = counter + 1;
	return false;
}

static bool model_check(uint64_t next, uint64_t counter)
{
	if (counter >= WG_REJECT_AFTER_MESSAGES)
		return false;
	return counter >= next || (next - counter <= WINDOW && !set_has(counter, false));
}

static uint64_t some_counter(struct rng *rng, uint64_t next)
{
	switch (rng_below(rng, 8)) {
	case 0:
		return next + rng_below(rng, 100);
	case 1:
		return next - rng_below(rng, WINDOW * 2); /* may wrap: then it is beyond the limit */
	case 2:
		return next - WINDOW - 2 + rng_below(rng, 5);
	case 3:
		return rng_below(rng, 200) == 0 ? next + rng_below(rng, WINDOW * 4) : next - rng_below(rng, 64);
	default:
		return next + rng_below(rng, 3) - 1;
	}
}

static void compare(uint64_t seed, uint64_t from, int n)
{
	struct wg_replay r = { 0 };
	struct rng_seeded rng;
	uint64_t next = 0;

	set_bits = n > 1000 ? SET_BITS : 11;
	memset(set, 0, sizeof(*set) << set_bits);
	rng_seeded_init(&rng, seed);
	for (int i = 0; i < n; i++) {
		uint64_t c = i == 0 ? from : some_counter(&rng.rng, next);
		bool want = model_check(next, c), got = wg_replay_check(&r, c);

		if (got != want || wg_replay_accept(&r, c) != want)
			fail_msg("TEST_SEED=%llu, step %d: counter %llu at %llu, wanted %d", (unsigned long long)seed, i,
				 (unsigned long long)c, (unsigned long long)next, want);
		if (want) {
			set_has(c, true);
			next = c >= next ? c + 1 : next;
		}
	}
}

static void replay_window_equals_a_set(void **state)
{
	set = calloc(1u << SET_BITS, sizeof(*set));
	assert_non_null(set);
	compare(1, 0, 400000);
	compare(2, 1, 100000);
	compare(3, (1ULL << 32) - 20000, 200000);
	compare(4, 8191, 100000);
	compare(5, 1ULL << 63, 100000);
	compare(6, WG_REJECT_AFTER_MESSAGES - 20000, 100000);
	compare(7, WG_REJECT_AFTER_MESSAGES - 1, 1000);
	free(set);
}

/* From anywhere: near the beginning, the end, the borders of words of the map, or far out. */
static uint64_t some_start(uint64_t seed)
{
	struct rng_seeded rng;

	rng_seeded_init(&rng, ~seed);
	switch (rng_below(&rng.rng, 4)) {
	case 0:
		return rng_below(&rng.rng, 3 * WG_REPLAY_BITS);
	case 1:
		return WG_REJECT_AFTER_MESSAGES - 1 - rng_below(&rng.rng, 1000);
	case 2:
		return (uint64_t)rng_u32(&rng.rng) * WG_REPLAY_BITS + rng_below(&rng.rng, 3) - 1;
	default:
		return (uint64_t)rng_u32(&rng.rng) << rng_below(&rng.rng, 28);
	}
}

static void replay_window_from_many_seeds(void **state)
{
	uint64_t first = first_seed();

	set = calloc(1u << 11, sizeof(*set));
	assert_non_null(set);
	for (uint64_t seed = first; seed < first + N_SHORT; seed++)
		compare(seed, some_start(seed), 1000);
	free(set);
}

static void replay_window_edges(void **state)
{
	struct wg_replay r = { 0 };

	for (uint64_t c = 0; c < 3 * WG_REPLAY_BITS; c++)
		assert_true(wg_replay_accept(&r, c) && !wg_replay_accept(&r, c));
	r = (struct wg_replay){ 0 };
	for (uint64_t c = WINDOW; c-- > 0;) /* backwards fill */
		assert_true(wg_replay_accept(&r, c));
	for (uint64_t c = 0; c < WINDOW; c++)
		assert_false(wg_replay_accept(&r, c));
	r = (struct wg_replay){ 0 };
	assert_true(wg_replay_accept(&r, WINDOW));
	assert_false(wg_replay_accept(&r, 0)); /* one too old */
	assert_true(wg_replay_accept(&r, 1));
	assert_true(wg_replay_accept(&r, 1ULL << 40));
	assert_false(wg_replay_accept(&r, 1));
	assert_true(wg_replay_accept(&r, (1ULL << 40) - 1)); /* a leap leaves nothing behind */
	assert_true(wg_replay_accept(&r, WG_REJECT_AFTER_MESSAGES - 1));
	assert_false(wg_replay_accept(&r, WG_REJECT_AFTER_MESSAGES));
	assert_false(wg_replay_accept(&r, UINT64_MAX));
}

/* ---- allowed IPs ---- */

#define N_MAX 150
#define N_VALUES 12

static struct { struct ip_prefix p; void *value; } rows[N_MAX];
static size_t n_rows;
static char values[N_VALUES];

/* Few distinct bytes and often short prefixes, so that they nest and fork at all places. */
static struct ip_addr some_addr(struct rng *rng)
{
	static const uint8_t bytes[] = { 0, 0, 1, 0x80, 0xff, 0xfe, 10, 0x7f };
	struct ip_addr a = { .family = rng_below(rng, 2) ? IP_V4 : IP_V6 };

	for (unsigned i = 0; i < ip_addr_bits(&a) / 8; i++)
		a.b[i] = bytes[rng_below(rng, i < 2 ? 2 : sizeof(bytes))];
	return a;
}

static struct ip_prefix some_prefix(struct rng *rng)
{
	struct ip_prefix p = { .ip = some_addr(rng) };

	p.bits = (uint8_t)rng_below(rng, ip_addr_bits(&p.ip) + 1);
	return p;
}

static size_t row_of(const struct ip_prefix *p)
{
	struct ip_prefix m = *p;
	size_t i = 0;

	ip_prefix_mask(&m);
	while (i < n_rows && !(rows[i].p.bits == m.bits && ip_addr_equal(&rows[i].p.ip, &m.ip)))
		i++;
	return i;
}

static void *list_lookup(const struct ip_addr *a)
{
	void *best = NULL;
	int bits = -1;

	for (size_t i = 0; i < n_rows; i++)
		if (rows[i].p.bits > bits && ip_prefix_contains(&rows[i].p, a)) {
			best = rows[i].value;
			bits = rows[i].p.bits;
		}
	return best;
}

static void insert_both(struct wg_allowedips *t, struct rng *rng)
{
	struct ip_prefix p = some_prefix(rng);
	void *value = &values[rng_below(rng, N_VALUES)];
	size_t i = row_of(&p);

	if (i == N_MAX)
		return;
	assert_int_equal(wg_allowedips_insert(t, &p, value), OK);
	ip_prefix_mask(&p);
	rows[i].p = p;
	rows[i].value = value;
	n_rows += i == n_rows;
}

static void remove_both(struct wg_allowedips *t, struct rng *rng)
{
	struct ip_prefix p = n_rows && rng_below(rng, 4) ? rows[rng_below(rng, n_rows)].p : some_prefix(rng);
	size_t i = row_of(&p);
	void *value = i < n_rows && rng_below(rng, 4) ? rows[i].value : &values[rng_below(rng, N_VALUES)];
	bool there = i < n_rows && rows[i].value == value;

	assert_int_equal(wg_allowedips_remove(t, &p, value), there);
	if (there)
		rows[i] = rows[--n_rows];
}

static void remove_all_both(struct wg_allowedips *t, struct rng *rng)
{
	void *value = &values[rng_below(rng, N_VALUES)];

	wg_allowedips_remove_all(t, value);
	for (size_t i = n_rows; i-- > 0;)
		if (rows[i].value == value)
			rows[i] = rows[--n_rows];
}

/* Each value's listing holds its rows and no others; the pages of it are cut anywhere. */
static void compare_listings(const struct wg_allowedips *t)
{
	struct ip_prefix got[7];
	size_t n_all = 0, n;

	for (int v = 0; v < N_VALUES; v++)
		for (size_t skip = 0; (n = wg_allowedips_list(t, &values[v], skip, got, ARRAY_SIZE(got))) > 0; skip += n)
			for (size_t i = 0; i < n; i++, n_all++) {
				size_t row = row_of(&got[i]);

				assert_true(row < n_rows && rows[row].value == &values[v]);
			}
	assert_int_equal(n_all, n_rows);
	assert_int_equal(t->n, n_rows);
}

static void compare_tries(uint64_t seed, int n_steps, int n_lookups)
{
	struct wg_allowedips t = { 0 };
	struct rng_seeded rng;

	n_rows = 0;
	rng_seeded_init(&rng, seed);
	for (int step = 0; step < n_steps; step++) {
		uint64_t what = rng_below(&rng.rng, 100);

		if (what < 60)
			insert_both(&t, &rng.rng);
		else if (what < 98)
			remove_both(&t, &rng.rng);
		else
			remove_all_both(&t, &rng.rng);
		for (int i = 0; i < n_lookups; i++) {
			struct ip_addr a = some_addr(&rng.rng);

			if (wg_allowedips_lookup(&t, &a) != list_lookup(&a))
				fail_msg("TEST_SEED=%llu: step %d, look-up %d differ", (unsigned long long)seed, step, i);
		}
		if (step % 16 == 0)
			compare_listings(&t);
	}
	for (int v = 0; v < N_VALUES; v++)
		wg_allowedips_remove_all(&t, &values[v]);
	assert_true(t.n == 0 && !t.root4 && !t.root6); /* no fork is left behind */
	wg_allowedips_fini(&t);
}

static void trie_equals_a_list(void **state)
{
	compare_tries(42, 12000, 100);
}

static void trie_equals_a_list_from_many_seeds(void **state)
{
	uint64_t first = first_seed();

	for (uint64_t seed = first; seed < first + N_SHORT; seed++)
		compare_tries(seed, 60, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replay_window_equals_a_set),
		cmocka_unit_test(replay_window_from_many_seeds),
		cmocka_unit_test(replay_window_edges),
		cmocka_unit_test(trie_equals_a_list),
		cmocka_unit_test(trie_equals_a_list_from_many_seeds),
	};
	return RUN_TESTS(tests);
}
