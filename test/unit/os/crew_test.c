/* Threads that do pieces of the loop's work: all done once, whoever does them; taken back; none lost at the end (under TSan too). */
#include <stdatomic.h>
#include <unistd.h>

#include "base/rng.h"
#include "os/crew.h"
#include "test/lib/testing.h"

#define N_JOBS 4000

struct job {
	uint64_t in, out;
	unsigned n_times, by; /* not atomic: TSan sees it if two do one */
	struct os_crew_piece *piece;
};

static struct os_loop *loop;
static struct job jobs[N_JOBS];
static unsigned n_called;
static _Atomic bool slow;
static _Atomic unsigned n_begun;

static uint64_t answer(uint64_t x)
{
	for (int i = 0; i < 200; i++)
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
	return x;
}

static void work(void *arg, unsigned thread)
{
	struct job *j = arg;

	atomic_fetch_add(&n_begun, 1);
	while (atomic_load(&slow))
		;
	j->out = answer(j->in);
	j->n_times++;
	j->by = thread;
}

static void on_done(void *ctx)
{
	n_called++;
	os_loop_stop(loop);
}

static struct os_crew *new_crew(unsigned n)
{
	struct os_crew_config cfg = { n, work, on_done, NULL };
	struct os_crew *crew;

	assert_int_equal(os_crew_new(loop, &cfg, &crew), OK);
	memset(jobs, 0, sizeof(jobs));
	for (size_t i = 0; i < N_JOBS; i++)
		jobs[i].in = i;
	return crew;
}

static bool settle(struct os_crew *crew, struct job *j, bool take)
{
	if (take && os_crew_take_back(crew, j->piece))
		work(j, 0);
	else if (!os_crew_is_done(crew, j->piece))
		return false;
	j->piece = NULL;
	return true;
}

/* Hands over, takes back and collects in an order of the seed's. */
static void play(unsigned n_threads, uint64_t seed)
{
	struct os_crew *crew = new_crew(n_threads);
	struct rng_seeded rng;
	size_t next = 0, n_out = 0;

	rng_seeded_init(&rng, seed);
	while (next < N_JOBS || n_out > 0) {
		uint32_t dice = rng_below(&rng.rng, 8);

		if (next < N_JOBS && dice < 5) {
			jobs[next].piece = os_crew_hand(crew, &jobs[next]);
			n_out += jobs[next].piece != NULL;
			next += jobs[next].piece != NULL;
		}
		if (dice == 7 && rng_below(&rng.rng, 64) == 0)
			usleep(300); /* they sleep */
		for (size_t i = next > 32 ? next - 32 : 0; i < next; i++)
			if (jobs[i].piece && (dice >= 4 || n_out > 12))
				n_out -= settle(crew, &jobs[i], dice == 6);
	}
	os_crew_free(crew);
	for (size_t i = 0; i < N_JOBS; i++)
		if (jobs[i].n_times != 1 || jobs[i].out != answer(i))
			fail_msg("seed %llu, %u threads: piece %zu done %u times", (unsigned long long)seed, n_threads, i,
				 jobs[i].n_times);
}

static void each_piece_is_done_once(void **state)
{
	const char *s = getenv("TEST_SEED");
	uint64_t seed = s ? strtoull(s, NULL, 0) : 1;

	for (unsigned n = 1; n <= OS_CREW_THREADS_MAX; n *= 2)
		for (uint64_t i = 0; i < 4; i++)
			play(n, seed + i);
}

static void the_ring_has_an_end(void **state)
{
	struct os_crew *crew;
	struct os_crew_stats st;
	size_t n = 0;

	crew = new_crew(1);
	atomic_store(&slow, true);
	while ((jobs[n].piece = os_crew_hand(crew, &jobs[n])))
		n++;
	assert_int_equal(n, OS_CREW_PIECES);
	atomic_store(&slow, false);
	for (size_t i = 0; i < n; i++)
		while (!settle(crew, &jobs[i], i % 2))
			;
	os_crew_get_stats(crew, &st);
	assert_int_equal(st.n_handed, n);
	assert_int_equal(st.n_done + st.n_taken_back, n);
	os_crew_free(crew);
}

/* The thread is at the piece before it. */
static void what_is_taken_back_is_left_alone(void **state)
{
	struct os_crew *crew = new_crew(1);

	atomic_store(&slow, true);
	atomic_store(&n_begun, 0);
	jobs[0].piece = os_crew_hand(crew, &jobs[0]);
	jobs[1].piece = os_crew_hand(crew, &jobs[1]);
	while (atomic_load(&n_begun) == 0)
		;
	assert_false(os_crew_take_back(crew, jobs[0].piece));
	assert_true(os_crew_take_back(crew, jobs[1].piece));
	atomic_store(&slow, false);
	while (!os_crew_is_done(crew, jobs[0].piece))
		;
	os_crew_free(crew);
	assert_int_equal(jobs[0].by, 1);
	assert_int_equal(jobs[1].n_times, 0);
}

static void the_loop_is_called(void **state)
{
	struct os_crew *crew = new_crew(2);

	n_called = 0;
	for (unsigned i = 0; i < 50; i++) {
		jobs[i].piece = os_crew_hand(crew, &jobs[i]);
		os_crew_call(crew);
		if (os_crew_is_done(crew, jobs[i].piece))
			continue;
		os_loop_run(loop);
		while (!os_crew_is_done(crew, jobs[i].piece))
			;
	}
	os_crew_free(crew);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(jobs[i].n_times, 1);
	printf("called %u times for 50 pieces\n", n_called);
}

static void threads_that_sleep_end_at_once(void **state)
{
	nsec_t from;

	for (unsigned n = 1; n <= OS_CREW_THREADS_MAX; n++) {
		struct os_crew *crew = new_crew(n);

		usleep(2000);
		from = os_now();
		os_crew_free(crew);
		assert_true(os_now() - from < 2 * NSEC_PER_SEC);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_piece_is_done_once),
		cmocka_unit_test(the_ring_has_an_end),
		cmocka_unit_test(what_is_taken_back_is_left_alone),
		cmocka_unit_test(the_loop_is_called),
		cmocka_unit_test(threads_that_sleep_end_at_once),
	};
	int r;

	loop = os_loop_new();
	r = RUN_TESTS(tests);
	os_loop_free(loop);
	return r;
}
