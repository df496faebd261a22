/* The breaker: its rules one by one, then random histories against what may never be. */
#include "base/rng.h"
#include "ssh/breaker.h"
#include "test/lib/testing.h"

#define S NSEC_PER_SEC

/* One attempt after the other, each at once. */
static void fail_n(struct breaker *b, nsec_t *now, unsigned n, enum err e)
{
	for (unsigned i = 0; i < n; i++) {
		*now += S;
		assert_int_equal(breaker_ask(b, *now), BREAKER_GO);
		breaker_done(b, *now, *now, e);
	}
}

static void opens_after_so_many(void **state)
{
	struct breaker b = { 0 };
	nsec_t now = 100 * S;

	fail_n(&b, &now, BREAKER_FAILURES - 1, ERR_TIMEOUT);
	assert_int_equal(b.state, BREAKER_CLOSED);
	fail_n(&b, &now, 1, OK);
	fail_n(&b, &now, BREAKER_FAILURES - 1, ERR_TIMEOUT);
	assert_int_equal(b.state, BREAKER_CLOSED);
	assert_int_equal(breaker_ask(&b, now), BREAKER_GO);
	assert_true(breaker_done(&b, now, now, ERR_AUTH));
	assert_int_equal(b.state, BREAKER_OPEN);
	assert_int_equal(b.until, now + BREAKER_PAUSE);
	assert_int_equal(breaker_ask(&b, b.until - 1), BREAKER_REFUSE);
	assert_string_equal(breaker_reason(&b), "the server refused the login");
}

static void half_open_lets_one_through(void **state)
{
	struct breaker b = { 0 };
	nsec_t now = 100 * S, began;

	fail_n(&b, &now, BREAKER_FAILURES, ERR_REFUSED);
	for (unsigned i = 1; i < 9; i++) {
		began = now = b.until;
		assert_int_equal(breaker_ask(&b, now), BREAKER_GO);
		assert_int_equal(breaker_ask(&b, now), BREAKER_WAIT);
		now += 3 * S;
		assert_true(breaker_done(&b, now, began, ERR_REFUSED));
		assert_int_equal(b.until - now, MIN(BREAKER_PAUSE << i, BREAKER_PAUSE_MAX));
	}
	began = now = b.until;
	assert_int_equal(breaker_ask(&b, now), BREAKER_GO);
	/* One from before it opened ends now: not the probe. */
	assert_false(breaker_done(&b, now, 1, ERR_TIMEOUT));
	assert_int_equal(breaker_ask(&b, now), BREAKER_WAIT);
	assert_true(breaker_done(&b, now, began, OK));
	assert_int_equal(b.state, BREAKER_CLOSED);
	fail_n(&b, &now, BREAKER_FAILURES, ERR_REFUSED);
	assert_int_equal(b.until, now + BREAKER_PAUSE);
}

static void what_runs_together_counts_once(void **state)
{
	struct breaker b = { 0 };

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(breaker_ask(&b, 100 * S), BREAKER_GO);
	for (unsigned i = 0; i < 100; i++)
		assert_false(breaker_done(&b, 110 * S + i, 100 * S, ERR_TIMEOUT));
	assert_int_equal(b.n_failures, 1);
}

static void kinds_of_failures(void **state)
{
	struct breaker b = { 0 };
	nsec_t now = 100 * S;

	/* The warning of a changed key must be seen every time; our own want says nothing of the host. */
	fail_n(&b, &now, 50, ERR_HOST_KEY);
	fail_n(&b, &now, 50, ERR_NOMEM);
	fail_n(&b, &now, 50, ERR_CANCELLED);
	assert_int_equal(b.state, BREAKER_CLOSED);
	/* A busy sshd: twenty drops within 20 s are no reason; they are when they do not end. */
	fail_n(&b, &now, 20, ERR_CLOSED);
	assert_int_equal(b.state, BREAKER_CLOSED);
	fail_n(&b, &now, 11, ERR_CLOSED);
	assert_int_equal(b.state, BREAKER_OPEN);
	/* The server shows itself, with a wrong key: that is no failure of the probe. */
	now = b.until;
	fail_n(&b, &now, 1, ERR_HOST_KEY);
	assert_int_equal(b.state, BREAKER_CLOSED);
	/* A probe that ended by our own doing leaves the way to the next. */
	fail_n(&b, &now, BREAKER_FAILURES, ERR_TIMEOUT);
	now = b.until;
	fail_n(&b, &now, 1, ERR_CANCELLED);
	assert_int_equal(breaker_ask(&b, now), BREAKER_GO);
}

static void at_once(void **state)
{
	struct breaker b = { 0 };
	nsec_t now = 100 * S;

	fail_n(&b, &now, BREAKER_FAILURES, ERR_AUTH);
	breaker_nudge(&b, now);
	assert_int_equal(breaker_ask(&b, now), BREAKER_REFUSE); /* it was there all the time */
	assert_true(breaker_reset(&b));
	assert_false(breaker_reset(&b));
	fail_n(&b, &now, BREAKER_FAILURES, ERR_TIMEOUT);
	assert_int_equal(breaker_ask(&b, now), BREAKER_REFUSE);
	breaker_nudge(&b, now);
	assert_int_equal(breaker_ask(&b, now), BREAKER_GO);
}

#define FLYING_MAX 40

/*
 * Attempts of random length and outcome. Never: an attempt while it rests; two probes; a change of state but by these rules; a
 * rest that is too long; a host without failures that rests.
 */
static void random_history(uint64_t seed)
{
	static const enum err outcomes[] = { OK, ERR_TIMEOUT, ERR_REFUSED, ERR_CLOSED, ERR_AUTH, ERR_HOST_KEY, ERR_CANCELLED };
	struct rng_seeded seeded;
	struct rng *r = &seeded.rng;
	struct {
		nsec_t began, ends;
	} flying[FLYING_MAX];
	struct breaker b = { 0 };
	unsigned n = 0, n_bad = 0;
	bool sick = false;
	nsec_t now = 100 * S;

	rng_seeded_init(&seeded, seed);
	for (unsigned i = 0; i < 3000; i++) {
		enum breaker_state before;
		unsigned n_probes;

		now += rng_below(r, 2 * S) + 1;
		if (rng_below(r, 200) == 0)
			sick = !sick;
		for (unsigned k = 0; k < n;) {
			enum err e = sick ? outcomes[rng_below(r, ARRAY_SIZE(outcomes) - 1) + 1] : outcomes[rng_below(r, 8) % 7];
			bool changed;

			if (flying[k].ends > now) {
				k++;
				continue;
			}
			before = b.state;
			changed = breaker_done(&b, now, flying[k].began, e);
			assert_int_equal(changed, before != b.state);
			n_bad = e == OK ? 0 : n_bad + (e != ERR_HOST_KEY && e != ERR_CANCELLED);
			assert_true(b.n_failures <= n_bad);
			if (e == OK)
				assert_int_equal(b.state, BREAKER_CLOSED);
			if (b.state == BREAKER_OPEN && before == BREAKER_CLOSED)
				assert_true(b.n_failures >= BREAKER_FAILURES && b.until == now + BREAKER_PAUSE);
			assert_true(b.state != BREAKER_OPEN || b.until <= now + BREAKER_PAUSE_MAX);
			flying[k] = flying[--n];
		}
		for (unsigned k = rng_below(r, 4); k > 0 && n < FLYING_MAX; k--) {
			enum breaker_answer a;

			before = b.state;
			a = breaker_ask(&b, now);
			assert_true(before != BREAKER_CLOSED || a == BREAKER_GO);
			assert_true(before != BREAKER_HALF_OPEN || a == BREAKER_WAIT);
			assert_true(before != BREAKER_OPEN || a == (now < b.until ? BREAKER_REFUSE : BREAKER_GO));
			if (a != BREAKER_GO)
				continue;
			flying[n].began = now;
			flying[n++].ends = now + rng_below(r, 20 * S);
		}
		/* A probe under way always ends the half-open state: it never stays without one. */
		for (unsigned k = n_probes = 0; k < n; k++)
			n_probes += flying[k].began >= b.until;
		assert_true(b.state != BREAKER_HALF_OPEN || n_probes == 1);
	}
}

static void random_histories(void **state)
{
	const char *text = getenv("TEST_SEED");
	uint64_t first = text ? strtoull(text, NULL, 10) : 1;

	for (uint64_t seed = first; seed < first + (text ? 1 : 300); seed++) {
		print_message("TEST_SEED=%llu\r", (unsigned long long)seed);
		random_history(seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_after_so_many), cmocka_unit_test(half_open_lets_one_through),
		cmocka_unit_test(what_runs_together_counts_once), cmocka_unit_test(kinds_of_failures),
		cmocka_unit_test(at_once), cmocka_unit_test(random_histories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
