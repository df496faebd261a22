/*
 * test/unit/netstack/sent_test.c - the log of what was sent: its list by time against a naive twin, and what a mistaken loss costs
 * when it is taken back.
 *
 * alone: processor time is measured
 */
#include <time.h>

#include "base/rng.h"
#include "netstack/sent.h"
#include "test/lib/testing.h"

#define SEG 1000u

struct world {
	struct net_sent_log log;
	struct rng_seeded rng;
	nsec_t now;
	uint32_t next, lost; /* bytes */
};

static void begin(struct world *w, uint64_t seed)
{
	*w = (struct world){ .now = NSEC_PER_SEC, .next = 0xffff0000u };
	rng_seeded_init(&w->rng, seed);
	net_sent_init(&w->log);
}

static void send_new(struct world *w)
{
	assert_non_null(net_sent_push(&w->log, w->next, w->next + SEG, w->now));
	w->next += SEG;
}

static void lose(struct world *w, uint64_t i)
{
	net_sent_set(&w->log, i, NET_SENT_LOST);
	w->lost += SEG;
}

static void send_again(struct world *w, uint64_t i)
{
	struct net_sent *e = net_sent_at(&w->log, i);

	e->at = w->now;
	e->resent = true;
	net_sent_set(&w->log, i, NET_SENT_FLIGHT);
	w->lost -= SEG;
}

static uint64_t first_lost(const struct world *w)
{
	for (uint64_t i = w->log.head; i != w->log.tail; i++)
		if (net_sent_at(&w->log, i)->state == NET_SENT_LOST)
			return i;
	return w->log.tail;
}

static void revive(struct world *w)
{
	uint32_t want = 0;

	for (uint64_t i = w->log.head; i != w->log.tail; i++) {
		const struct net_sent *e = net_sent_at(&w->log, i);

		want += e->state == NET_SENT_LOST && !e->resent ? SEG : 0;
	}
	assert_int_equal(net_sent_revive(&w->log, first_lost(w), w->lost), want);
	w->lost -= want;
	for (uint64_t i = w->log.head; i != w->log.tail; i++) {
		const struct net_sent *e = net_sent_at(&w->log, i);

		assert_true(e->state != NET_SENT_LOST || e->resent);
	}
}

/* All that are in the network and no others, both ways round, by time; what left in one instant, in the order in which it left. */
static void check_list(const struct world *w)
{
	const struct net_sent_log *l = &w->log;
	uint64_t before = NET_SENT_NONE, n = 0;

	for (uint64_t i = l->oldest; i != NET_SENT_NONE; before = i, i = net_sent_at(l, i)->newer, n++) {
		const struct net_sent *e = net_sent_at(l, i);

		assert_int_equal(e->state, NET_SENT_FLIGHT);
		assert_true(e->older == before);
		if (before == NET_SENT_NONE)
			continue;
		assert_true(net_sent_at(l, before)->at <= e->at);
		assert_true(net_sent_at(l, before)->at < e->at || before < i);
	}
	assert_true(l->newest == before);
	for (uint64_t i = l->head; i != l->tail; i++)
		n -= net_sent_at(l, i)->state == NET_SENT_FLIGHT;
	assert_int_equal(n, 0);
}

static void any_step(struct world *w)
{
	uint64_t n = net_sent_count(&w->log), i = n ? w->log.head + rng_below(&w->rng.rng, n) : 0;
	enum net_sent_state at_i = n ? (enum net_sent_state)net_sent_at(&w->log, i)->state : NET_SENT_SACKED;

	w->now += rng_chance(&w->rng.rng, 500000) ? NSEC_PER_USEC : 0;
	switch (rng_below(&w->rng.rng, 16)) {
	case 0:
		revive(w);
		break;
	case 1:
		if (n == 0)
			break;
		w->lost -= net_sent_at(&w->log, w->log.head)->state == NET_SENT_LOST ? SEG : 0;
		net_sent_pop(&w->log);
		break;
	case 2:
		if (at_i == NET_SENT_FLIGHT)
			net_sent_set(&w->log, i, NET_SENT_SACKED);
		break;
	case 3 ... 6:
		if (at_i == NET_SENT_FLIGHT)
			lose(w, i);
		break;
	case 7:
		/* What is sent again is the first that is lost, and leaves before anything new of that instant. */
		w->now++;
		if (w->lost > 0)
			send_again(w, first_lost(w));
		break;
	default:
		send_new(w);
	}
}

static void the_list_by_time_is_as_a_naive_one(void **state)
{
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct world w;

		begin(&w, seed);
		for (int i = 0; i < 2000; i++) {
			any_step(&w);
			if (i % 16 == 0)
				check_list(&w);
		}
		revive(&w);
		check_list(&w);
		net_sent_fini(&w.log);
	}
}

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* @n counted as lost, wrongly; as many follow them. Return: ms until they are back. */
static double take_back(uint64_t n)
{
	struct world w;
	double start;

	begin(&w, 1);
	for (uint64_t i = 0; i < 2 * n; i++, w.now += NSEC_PER_USEC)
		send_new(&w);
	for (uint64_t i = 0; i < n; i++)
		lose(&w, i);
	start = cpu_ms();
	assert_int_equal(net_sent_revive(&w.log, 0, w.lost), n * SEG);
	start = cpu_ms() - start;
	check_list(&w);
	net_sent_fini(&w.log);
	return start;
}

static void thousands_are_taken_back_at_once(void **state)
{
	double least = 1e9;

	for (int i = 0; i < 3; i++)
		least = MIN(least, take_back(30000));
	print_message("30,000 of 60,000: %.2f ms\n", least);
	assert_true(least < 50);
}

/* One hole at the front of a full window: what lies behind it is not looked at. */
static void a_hole_costs_no_walk_over_the_window(void **state)
{
	struct world w;
	double start;

	begin(&w, 1);
	for (unsigned i = 0; i < 60000; i++, w.now += NSEC_PER_USEC)
		send_new(&w);
	start = cpu_ms();
	for (unsigned i = 0; i < 3000; i++) {
		lose(&w, i % 10);
		assert_int_equal(net_sent_revive(&w.log, i % 10, SEG), SEG);
	}
	start = cpu_ms() - start;
	print_message("3,000 times one of 60,000: %.2f ms\n", start);
	assert_true(start < 50);
	check_list(&w);
	net_sent_fini(&w.log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_list_by_time_is_as_a_naive_one),
		cmocka_unit_test(thousands_are_taken_back_at_once),
		cmocka_unit_test(a_hole_costs_no_walk_over_the_window),
	};

	return RUN_TESTS(tests);
}
