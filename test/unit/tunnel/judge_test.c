/* When threads for the cipher are used: a table of machines, each played for some seconds in steps of a turn. */
#include "test/lib/testing.h"
#include "tunnel/judge.h"

#define TURN NSEC_PER_MSEC

/* What a machine does with and without threads, in % of time, and bytes a second. */
struct machine {
	const char *name;
	unsigned n_cores;
	bool tells_idle;
	struct {
		unsigned busy, idle, delayed, work, n_late_per_s;
		uint64_t rate;
	} off, on;
	bool want;
	unsigned trials_max; /* in 20 s */
};

static const struct machine machines[] = {
	{ "an idle core, a full loop", 2, true, { 100, 100, 0, 0, 0, 800 }, { 100, 30, 0, 40, 0, 1000 }, true, 1 },
	{ "many cores", 64, true, { 97, 6000, 0, 0, 0, 800 }, { 95, 5900, 0, 40, 0, 1000 }, true, 1 },
	{ "both ends on two cores", 2, true, { 90, 35, 5, 0, 0, 600 }, { 80, 0, 30, 40, 100, 450 }, false, 0 },
	{ "the loop is not what is full", 8, true, { 60, 700, 0, 0, 0, 800 }, { 40, 700, 0, 30, 0, 800 }, false, 0 },
	{ "idle by the count, but slower", 2, true, { 100, 80, 0, 0, 0, 800 }, { 100, 0, 0, 60, 0, 700 }, false, 5 },
	{ "no faster", 8, true, { 100, 500, 0, 0, 0, 800 }, { 100, 400, 0, 40, 0, 802 }, false, 5 },
	{ "threads that are late", 2, true, { 100, 90, 0, 0, 0, 800 }, { 100, 0, 0, 40, 500, 810 }, false, 5 },
	{ "late, and faster all the same", 2, true, { 100, 90, 0, 0, 0, 800 }, { 100, 0, 30, 40, 500, 900 }, true, 1 },
	{ "a loop that waits for its core", 2, true, { 100, 90, 0, 0, 0, 800 }, { 100, 0, 25, 40, 0, 750 }, false, 5 },
	{ "one core", 1, true, { 100, 100, 0, 0, 0, 800 }, { 100, 100, 0, 40, 0, 1000 }, false, 0 },
	{ "four cores that tell nothing", 4, false, { 100, 0, 0, 0, 0, 800 }, { 100, 0, 0, 40, 0, 1000 }, true, 1 },
	{ "two cores that tell nothing", 2, false, { 100, 0, 0, 0, 0, 800 }, { 100, 0, 0, 40, 0, 1000 }, false, 0 },
};

static void advance(struct tunnel_judge_counts *c, const struct machine *m, bool on, nsec_t t)
{
	unsigned busy = on ? m->on.busy : m->off.busy, late = on ? m->on.n_late_per_s : m->off.n_late_per_s;

	c->waited += TURN * (100 - busy) / 100;
	c->delayed += TURN * (on ? m->on.delayed : m->off.delayed) / 100;
	c->idle += TURN * (on ? m->on.idle : m->off.idle) / 100;
	c->bytes += (on ? m->on.rate : m->off.rate) * 1000;
	c->work += TURN * (on ? m->on.work : m->off.work) / 100;
	if (late > 0 && t / TURN % (1000 / late) == 0)
		c->n_late++;
}

/* Return: the share of the last 5 s of @s in which threads were used, in % */
static unsigned play(struct tunnel_judge *j, struct tunnel_judge_counts *c, const struct machine *m, nsec_t from, nsec_t s)
{
	nsec_t n_on = 0, n = 0;

	for (nsec_t t = from; t < from + s; t += TURN) {
		bool on = j->state != JUDGE_OFF;

		advance(c, m, on, t);
		n++;
		n_on += on && t > from + s - 5 * NSEC_PER_SEC;
		if (!tunnel_judge_wants(j, t))
			continue;
		c->idle_known = m->tells_idle && j->state == JUDGE_OFF;
		tunnel_judge_look(j, t, c);
	}
	return (unsigned)(n_on * 100 / (5 * NSEC_PER_SEC / TURN));
}

static void machines_are_judged(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		const struct machine *m = &machines[i];
		struct tunnel_judge_counts c = { 0 };
		struct tunnel_judge j;
		unsigned share;

		tunnel_judge_init(&j, m->n_cores);
		share = play(&j, &c, m, NSEC_PER_SEC, 20 * NSEC_PER_SEC);
		if (m->want ? share < 90 : share > 10)
			fail_msg("%s: on threads %u %% of the time", m->name, share);
		if (j.n_trials > m->trials_max)
			fail_msg("%s: %llu trials", m->name, (unsigned long long)j.n_trials);
	}
}

static unsigned looks_until_off(struct tunnel_judge *j, struct tunnel_judge_counts *c, const struct machine *m, nsec_t *t)
{
	unsigned ms = 0;

	for (; j->state != JUDGE_OFF && ms < 1000; ms++, *t += TURN) {
		advance(c, m, true, *t);
		c->idle_known = false;
		if (tunnel_judge_wants(j, *t))
			tunnel_judge_look(j, *t, c);
	}
	return ms;
}

static void it_ends_within_milliseconds(void **state)
{
	struct machine crowded = machines[0];
	struct tunnel_judge_counts c = { 0 };
	struct tunnel_judge j;
	nsec_t t = 11 * NSEC_PER_SEC;
	unsigned ms;

	tunnel_judge_init(&j, 2);
	assert_true(play(&j, &c, &machines[0], NSEC_PER_SEC, 10 * NSEC_PER_SEC) > 90);
	assert_int_equal(j.state, JUDGE_ON);
	crowded.on.delayed = 40;
	crowded.on.rate = 600;
	ms = looks_until_off(&j, &c, &crowded, &t);
	printf("ended after %u ms\n", ms);
	assert_true(ms <= 31);
	/* Banned for a while, then tried again, and kept. */
	assert_true(play(&j, &c, &machines[0], t, NSEC_PER_SEC / 2) == 0);
	assert_true(play(&j, &c, &machines[0], t + NSEC_PER_SEC / 2, 10 * NSEC_PER_SEC) > 90);
}

static void a_flow_that_ends_needs_none(void **state)
{
	struct machine quiet = machines[0];
	struct tunnel_judge_counts c = { 0 };
	struct tunnel_judge j;

	tunnel_judge_init(&j, 2);
	assert_true(play(&j, &c, &machines[0], NSEC_PER_SEC, 10 * NSEC_PER_SEC) > 90);
	quiet.on.busy = quiet.off.busy = 20;
	quiet.on.work = 5;
	assert_int_equal(play(&j, &c, &quiet, 11 * NSEC_PER_SEC, 10 * NSEC_PER_SEC), 0);
	assert_int_equal(j.n_failed, 0);
}

/* A turn that comes late: the flow has gaps, and what is counted over them says nothing. */
static void gaps_are_no_flow(void **state)
{
	struct tunnel_judge_counts c = { .idle_known = true };
	struct tunnel_judge j;

	tunnel_judge_init(&j, 8);
	for (nsec_t t = NSEC_PER_SEC; t < 60 * NSEC_PER_SEC; t += 400 * NSEC_PER_MSEC) {
		c.idle += 8 * 400 * NSEC_PER_MSEC;
		assert_false(tunnel_judge_look(&j, t, &c));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machines_are_judged),
		cmocka_unit_test(it_ends_within_milliseconds),
		cmocka_unit_test(a_flow_that_ends_needs_none),
		cmocka_unit_test(gaps_are_no_flow),
	};

	return RUN_TESTS(tests);
}
