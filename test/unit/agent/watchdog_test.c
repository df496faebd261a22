/* The watchdog on a virtual clock: when it looks, nudges, rebuilds and rests. */
#include "agent/watchdog.h"
#include "base/rng.h"
#include "test/lib/testing.h"

#define S NSEC_PER_SEC
#define T0 (1000 * S)

static struct watchdog w;
static nsec_t now;

/* Waits for the deadline and looks. Return: the action; *ret_waited = seconds until then. */
static enum watchdog_action look(enum watchdog_seen seen, unsigned *ret_waited)
{
	*ret_waited = (unsigned)((watchdog_deadline(&w) - now) / S);
	now = watchdog_deadline(&w);
	return watchdog_tick(&w, now, seen);
}

static void assert_look(enum watchdog_seen seen, unsigned want_wait, enum watchdog_action want)
{
	unsigned waited;
	enum watchdog_action got = look(seen, &waited);

	if (waited != want_wait || got != want)
		fail_msg("at %llu s: waited %u (want %u), action %d (want %d)", (unsigned long long)((now - T0) / S), waited,
			 want_wait, got, want);
}

static void begin(void)
{
	now = T0;
	watchdog_init(&w, now);
}

static void healthy_looks_each_minute(void **state)
{
	begin();
	assert_int_equal(watchdog_tick(&w, now + S, WATCHDOG_SEEN_STALE), WATCHDOG_DO_NOTHING);
	for (int i = 0; i < 5; i++)
		assert_look(i % 2 ? WATCHDOG_SEEN_IDLE : WATCHDOG_SEEN_ALIVE, 60, WATCHDOG_DO_NOTHING);
}

static void one_stale_look_is_only_nudged(void **state)
{
	begin();
	assert_look(WATCHDOG_SEEN_STALE, 60, WATCHDOG_DO_NUDGE);
	assert_look(WATCHDOG_SEEN_ALIVE, 15, WATCHDOG_DO_NOTHING);
	assert_look(WATCHDOG_SEEN_STALE, 60, WATCHDOG_DO_NUDGE);
	assert_look(WATCHDOG_SEEN_IDLE, 15, WATCHDOG_DO_NOTHING);
	assert_look(WATCHDOG_SEEN_ALIVE, 60, WATCHDOG_DO_NOTHING);
}

static void five_rebuilds_then_half_an_hour_of_rest_for_ever(void **state)
{
	begin();
	for (int round = 0; round < 3; round++) {
		unsigned rested = 0, waited = 0;

		if (round == 0)
			assert_look(WATCHDOG_SEEN_STALE, 60, WATCHDOG_DO_NUDGE);
		assert_look(WATCHDOG_SEEN_STALE, 15, WATCHDOG_DO_REBUILD);
		assert_look(WATCHDOG_SEEN_STALE, 5, WATCHDOG_DO_REBUILD);
		assert_look(WATCHDOG_SEEN_STALE, 10, WATCHDOG_DO_REBUILD);
		assert_look(WATCHDOG_SEEN_STALE, 20, WATCHDOG_DO_REBUILD);
		assert_look(WATCHDOG_SEEN_STALE, 40, WATCHDOG_DO_REBUILD);
		assert_look(WATCHDOG_SEEN_STALE, 80, WATCHDOG_DO_NUDGE);
		assert_int_equal(w.state, WATCHDOG_COOLING);
		while (w.state == WATCHDOG_COOLING) {
			assert_int_equal(look(WATCHDOG_SEEN_STALE, &waited), WATCHDOG_DO_NUDGE);
			rested += waited;
		}
		assert_int_equal(rested, 1800);
		assert_int_equal(w.state, WATCHDOG_SUSPECT);
	}
}

static void a_session_ends_every_suspicion(void **state)
{
	begin();
	assert_look(WATCHDOG_SEEN_STALE, 60, WATCHDOG_DO_NUDGE);
	assert_look(WATCHDOG_SEEN_STALE, 15, WATCHDOG_DO_REBUILD);
	assert_look(WATCHDOG_SEEN_STALE, 5, WATCHDOG_DO_REBUILD);
	watchdog_session_up(&w, now + S);
	now += S;
	assert_look(WATCHDOG_SEEN_STALE, 60, WATCHDOG_DO_NUDGE);
	assert_look(WATCHDOG_SEEN_STALE, 15, WATCHDOG_DO_REBUILD);
	/* The backoff began anew. */
	assert_look(WATCHDOG_SEEN_ALIVE, 5, WATCHDOG_DO_NOTHING);
	assert_int_equal(w.state, WATCHDOG_HEALTHY);
}

static void a_network_change_does_not_wait(void **state)
{
	begin();
	now += 3 * S;
	watchdog_network_changed(&w, now);
	assert_look(WATCHDOG_SEEN_ALIVE, 0, WATCHDOG_DO_REBUILD);
	assert_look(WATCHDOG_SEEN_ALIVE, 5, WATCHDOG_DO_NOTHING);
	watchdog_network_changed(&w, now);
	assert_look(WATCHDOG_SEEN_IDLE, 0, WATCHDOG_DO_NOTHING);
}

/* A network that flaps each 100 ms for a minute: a rebuild each 5 s. One that returns ends the cooldown. */
static void flapping_and_returning_networks(void **state)
{
	unsigned n = 0;

	begin();
	for (nsec_t t = 0; t < 60 * S; t += S / 10) {
		now = T0 + t;
		watchdog_network_changed(&w, now);
		n += watchdog_tick(&w, now, WATCHDOG_SEEN_STALE) == WATCHDOG_DO_REBUILD;
	}
	assert_int_equal(n, 12);
	while (w.state != WATCHDOG_COOLING)
		look(WATCHDOG_SEEN_STALE, &n);
	now += 200 * S;
	watchdog_network_changed(&w, now);
	assert_look(WATCHDOG_SEEN_STALE, 0, WATCHDOG_DO_REBUILD);
	assert_int_equal(w.n_rebuilds, 1);
}

/* Over hours of chance: never two rebuilds within 5 s, at most five without a session or half an hour between. */
static void promises_hold_over_chance(void **state)
{
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct rng_seeded rng;
		nsec_t last = 0, since = 0;
		unsigned n = 0;

		rng_seeded_init(&rng, seed);
		begin();
		for (int i = 0; i < 400; i++) {
			enum watchdog_seen seen = rng_chance(&rng.rng, 30000) ? WATCHDOG_SEEN_ALIVE : WATCHDOG_SEEN_STALE;
			/* Looks come late after a suspend. */
			nsec_t late = rng_chance(&rng.rng, 20000) ? rng_below(&rng.rng, 7200 * S) : 0;
			enum watchdog_action a;

			now = watchdog_deadline(&w) + late;
			a = watchdog_tick(&w, now, seen);
			if (watchdog_deadline(&w) <= now || watchdog_deadline(&w) > now + WATCHDOG_BACKOFF_MAX)
				fail_msg("seed %llu: no next look", (unsigned long long)seed);
			n = seen == WATCHDOG_SEEN_ALIVE ? 0 : n;
			if (a != WATCHDOG_DO_REBUILD)
				continue;
			if ((last && now - last < 5 * S) || (n == 5 && now - since < 1800 * S))
				fail_msg("seed %llu: rebuilt too soon", (unsigned long long)seed);
			n = n == 5 ? 1 : n + 1;
			since = last = now;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(healthy_looks_each_minute),
		cmocka_unit_test(one_stale_look_is_only_nudged),
		cmocka_unit_test(five_rebuilds_then_half_an_hour_of_rest_for_ever),
		cmocka_unit_test(a_session_ends_every_suspicion),
		cmocka_unit_test(a_network_change_does_not_wait),
		cmocka_unit_test(flapping_and_returning_networks),
		cmocka_unit_test(promises_hold_over_chance),
	};

	return RUN_TESTS(tests);
}
