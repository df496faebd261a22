#include "os/loop.h"
#include "test/lib/testing.h"

struct shot {
	struct os_timer timer;
	struct os_timer *victim; /* cancelled when this one fires */
	nsec_t fired_at;
	unsigned n_fired, order;
	bool last;
};

static unsigned n_shots;

static void on_shot(void *ctx)
{
	struct shot *s = ctx;

	s->fired_at = os_now();
	s->n_fired++;
	s->order = n_shots++;
	if (s->victim)
		os_timer_cancel(s->victim);
	if (s->last)
		os_loop_stop(s->timer.loop);
}

static void timers_fire_in_order_of_time(void **state)
{
	static const unsigned ms[] = { 9, 3, 12, 1, 6, 30 };
	static const unsigned order[] = { 3, 1, 4, 0, 2, 5 };
	struct shot s[ARRAY_SIZE(ms)] = { 0 };
	struct os_loop *loop = os_loop_new();
	nsec_t start = os_now();

	n_shots = 0;
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		os_timer_init(&s[i].timer, loop, on_shot, &s[i]);
		os_timer_set(&s[i].timer, start + ms[i] * NSEC_PER_MSEC);
	}
	s[5].last = true;
	os_loop_run(loop);
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		assert_int_equal(s[order[i]].order, i);
		assert_int_equal(s[i].n_fired, 1);
		assert_true(s[i].fired_at >= start + ms[i] * NSEC_PER_MSEC);
	}
	os_loop_free(loop);
}

static void cancelled_timers_stay_silent(void **state)
{
	struct shot s[4] = { 0 };
	struct os_loop *loop = os_loop_new();
	nsec_t at = os_now() + 5 * NSEC_PER_MSEC;

	n_shots = 0;
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		os_timer_init(&s[i].timer, loop, on_shot, &s[i]);
	os_timer_set(&s[0].timer, at);
	os_timer_set(&s[1].timer, at);
	os_timer_set(&s[2].timer, at + 1);
	os_timer_set(&s[3].timer, at + 10 * NSEC_PER_MSEC);
	os_timer_set(&s[1].timer, NSEC_NEVER);
	s[0].victim = &s[2].timer; /* due in the same turn */
	s[3].last = true;
	os_loop_run(loop);
	assert_int_equal(s[0].n_fired, 1);
	assert_int_equal(s[1].n_fired, 0);
	assert_int_equal(s[2].n_fired, 0);
	assert_int_equal(s[3].n_fired, 1);
	os_loop_free(loop);
}

static void a_later_set_replaces_the_earlier(void **state)
{
	struct shot s = { .last = true };
	struct os_loop *loop = os_loop_new();
	nsec_t start = os_now();

	os_timer_init(&s.timer, loop, on_shot, &s);
	os_timer_set(&s.timer, start + NSEC_PER_MSEC);
	os_timer_set(&s.timer, start + 20 * NSEC_PER_MSEC);
	os_loop_run(loop);
	assert_int_equal(s.n_fired, 1);
	assert_true(s.fired_at >= start + 20 * NSEC_PER_MSEC);
	os_loop_free(loop);
}

/* Below a millisecond; the best of many, as the machine is shared. */
static void short_timers_are_exact(void **state)
{
	struct os_loop *loop = os_loop_new();
	nsec_t best = NSEC_NEVER;

	for (int i = 0; i < 50; i++) {
		struct shot s = { .last = true };
		nsec_t at = os_now() + 300 * NSEC_PER_USEC;

		os_timer_init(&s.timer, loop, on_shot, &s);
		os_timer_set(&s.timer, at);
		os_loop_run(loop);
		assert_true(s.fired_at >= at);
		if (s.fired_at - at < best)
			best = s.fired_at - at;
	}
	assert_true(best < NSEC_PER_MSEC / 2);
	os_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_of_time),
		cmocka_unit_test(cancelled_timers_stay_silent),
		cmocka_unit_test(a_later_set_replaces_the_earlier),
		cmocka_unit_test(short_timers_are_exact),
	};

	return RUN_TESTS(tests);
}
