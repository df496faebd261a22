/*
 * test/unit/netstack/standstill_test.c - a flow on a short path never stands still for longer than its pauses and losses explain.
 *
 * Paths as between two programs of one machine, drawn at random: late wake-ups, pauses of everything, a socket that takes so
 * many packets and then drops or refuses more, few packet units. Seeded; STANDSTILL_FIRST and STANDSTILL_SEEDS say which are run.
 */
#include "test/lib/flows.h"

#define N_SEEDS 100
#define SPAN (300 * NSEC_PER_MSEC)
/* The retransmission timeout's floor, and as much again for what is lost once more. */
#define STAND_MAX (500 * NSEC_PER_MSEC)

static struct watch {
	struct flows f;
	uint64_t got;
	nsec_t moved_at, longest, longest_at, from;
} w;

static bool look(void *ctx)
{
	if (w.f.flows[0].got != w.got) {
		w.got = w.f.flows[0].got;
		w.moved_at = w.f.p.now;
	}
	if (w.f.p.now - w.moved_at > w.longest) {
		w.longest = w.f.p.now - w.moved_at;
		w.longest_at = w.moved_at - w.from;
	}
	return false;
}

static void draw(struct rng *rng, struct path *path, uint32_t *ret_queue_max)
{
	static const uint32_t units[] = { 0, 0, 300, 2000 };

	*path = (struct path){ .name = "drawn" };
	path->ms = 0.005 + (double)rng_below(rng, 200) / 1000;
	path->mbps = 300 + (double)rng_below(rng, 1700);
	path->queue = 20 + (uint32_t)rng_below(rng, 600);
	path->late_ms = (double)rng_below(rng, 3) * (double)rng_below(rng, 300) / 1000;
	path->stall_ms = (double)rng_below(rng, 2) * (double)rng_below(rng, 40000) / 1000;
	path->stall_every_ms = 2 + (double)rng_below(rng, 60000) / 1000;
	path->loss_ppm = (uint32_t)(rng_below(rng, 2) * rng_below(rng, 3000));
	path->units = units[rng_below(rng, 4)];
	*ret_queue_max = (uint32_t)(rng_below(rng, 3) ? 0 : 16 + rng_below(rng, 200));
}

/* Return: the longest time in which nothing arrived, without a pause of everything. */
static nsec_t stand_of(uint64_t seed)
{
	struct rng_seeded rng;
	struct path path;
	uint32_t queue_max;
	nsec_t pauses;

	rng_seeded_init(&rng, seed);
	memset(&w, 0, sizeof(w));
	draw(&rng.rng, &path, &queue_max);
	flows_begin(&w.f, &path, seed);
	flows_add(&w.f, &path, seed % 4 == 0 ? "bbr" : NULL);
	w.f.p.queue_max = queue_max;
	w.from = w.moved_at = w.f.p.now;
	netpair_run(&w.f.p, SPAN, look, NULL);
	look(NULL);
	/* A pause before what had arrived was seen, and one after. */
	pauses = 2 * w.f.p.stall_for + 2 * w.f.p.late;
	if (w.longest > pauses + 60 * NSEC_PER_MSEC || w.got < 100000)
		print_message("seed %llu: stood %.1f ms from %.1f ms on, got %llu; delay %.3f ms, %g Mb/s, queue %u, late %.3f ms, stall %.1f "
			      "every %.1f ms, loss %u, units %u, refuses beyond %u\n",
			      (unsigned long long)seed, (double)w.longest / 1e6, (double)w.longest_at / 1e6, (unsigned long long)w.got,
			      path.ms, path.mbps, path.queue, path.late_ms, path.stall_ms, path.stall_every_ms, path.loss_ppm,
			      path.units, queue_max);
	flows_end(&w.f);
	return w.longest > pauses ? w.longest - pauses : 0;
}

static void a_flow_goes_on(void **state)
{
	const char *first = getenv("STANDSTILL_FIRST"), *n = getenv("STANDSTILL_SEEDS");
	uint64_t from = first ? strtoull(first, NULL, 10) : 1, count = n ? strtoull(n, NULL, 10) : N_SEEDS;
	nsec_t worst = 0;

	for (uint64_t seed = from; seed < from + count; seed++) {
		nsec_t stood = stand_of(seed);

		worst = MAX(worst, stood);
	}
	print_message("%llu paths; the longest standstill beside pauses is %.1f ms\n", (unsigned long long)count, (double)worst / 1e6);
	assert_true(worst < STAND_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_flow_goes_on) };

	return RUN_TESTS(tests);
}
