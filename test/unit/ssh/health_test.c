/* When a connection is asked, given up for new users, and dead: a table over time, and a connection that talks at random. */
#include "base/rng.h"
#include "ssh/health.h"
#include "test/lib/testing.h"

#define S NSEC_PER_SEC

static void a_silent_one(void **state)
{
	struct ssh_health h = { 0 };
	nsec_t now = 1000 * S;

	ssh_health_heard(&h, now);
	assert_false(ssh_health_wants_ask(&h, now + S, true));
	assert_true(ssh_health_wants_ask(&h, now + HEALTH_FRESH, true));
	assert_false(ssh_health_wants_ask(&h, now + HEALTH_FRESH, false));
	assert_int_equal(ssh_health_next(&h, now), now + HEALTH_ASK_AFTER);
	now += HEALTH_ASK_AFTER;
	assert_true(ssh_health_wants_ask(&h, now, false));
	ssh_health_asked(&h, now);
	assert_false(ssh_health_wants_ask(&h, now + S, true));
	assert_int_equal(ssh_health_next(&h, now), now + HEALTH_SILENT);
	assert_false(ssh_health_is_silent(&h, now + HEALTH_SILENT - 1));
	assert_true(ssh_health_is_silent(&h, now + HEALTH_SILENT));
	assert_int_equal(ssh_health_next(&h, now + HEALTH_SILENT), now + HEALTH_DEAD);
	assert_false(ssh_health_is_dead(&h, now + HEALTH_DEAD - 1));
	assert_true(ssh_health_is_dead(&h, now + HEALTH_DEAD));
	ssh_health_heard(&h, now + HEALTH_DEAD);
	assert_false(ssh_health_is_silent(&h, now + HEALTH_DEAD));
	assert_false(ssh_health_is_dead(&h, now + 9 * HEALTH_DEAD));
}

/* One that answers within its time never dies; one that stops is found within ASK_AFTER + DEAD, by waking at next() alone. */
static void wakes_often_enough(void **state)
{
	struct rng_seeded seeded;

	for (uint64_t seed = 1; seed <= 500; seed++) {
		struct ssh_health h = { 0 };
		nsec_t now = 1000 * S, last, stops, answer = NSEC_NEVER;

		rng_seeded_init(&seeded, seed);
		ssh_health_heard(&h, now);
		last = now;
		stops = now + rng_below(&seeded.rng, 1000 * S);
		while (!ssh_health_is_dead(&h, now)) {
			nsec_t next = ssh_health_next(&h, now);

			assert_true(next > now);
			if (answer < next && answer < stops) {
				last = now = answer;
				ssh_health_heard(&h, now);
				answer = NSEC_NEVER;
				continue;
			}
			now = next;
			if (!ssh_health_wants_ask(&h, now, false))
				continue;
			ssh_health_asked(&h, now);
			answer = now + rng_below(&seeded.rng, HEALTH_DEAD - S);
		}
		assert_true(now >= stops);
		assert_true(now <= last + HEALTH_ASK_AFTER + HEALTH_DEAD);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_silent_one), cmocka_unit_test(wakes_often_enough) };

	return RUN_TESTS(tests);
}
