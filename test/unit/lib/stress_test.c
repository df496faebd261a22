/*
 * Eight threads that dial, write, read, shut down, cancel and close at random, while others open and close the tunnel: nothing
 * hangs, every byte that comes back is the one that was sent, no descriptor and no thread is left. Best run with SAN=thread.
 *
 * The seed is printed; `stress_test SEED` repeats the choices (not the interleaving).
 */
#include "test/unit/lib/rig.h"

#define N_THREADS 8
#ifdef __SANITIZE_THREAD__
#define N_ROUNDS 40
#else
#define N_ROUNDS 60
#endif
#define PORT 7000

static uint64_t seed;
static struct nefia *alice;

struct actor {
	uint64_t rng;
	unsigned n_ok, n_bytes_wrong;
	bool may_close;
	pthread_t thread;
};

static unsigned below(struct actor *a, unsigned n)
{
	a->rng ^= a->rng << 13;
	a->rng ^= a->rng >> 7;
	a->rng ^= a->rng << 17;
	return (unsigned)(a->rng >> 11) % n;
}

/* Writes some, reads it back, in pieces; true when all of it came. */
static bool talk(struct actor *a, struct nefia_stream *s)
{
	uint8_t out[30000], in[30000];
	size_t len = 1 + below(a, sizeof(out)), got = 0;
	uint8_t first = (uint8_t)below(a, 256);
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(first + i * 7);
	if (nefia_write(s, out, len, 30000) != (ssize_t)len)
		return false;
	while (got < len && (n = nefia_read(s, in, 1 + below(a, (unsigned)(len - got)), 30000)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			a->n_bytes_wrong += in[i] != out[got + (size_t)i];
		got += (size_t)n;
	}
	return got == len;
}

static void once(struct actor *a, struct nefia *n)
{
	struct nefia_stream *s = NULL;
	struct nefia_listener *l = NULL;
	unsigned what = below(a, 16);

	if (what == 0 && nefia_listen(n, 0, 1, 3000, &l) == NEFIA_OK) {
		nefia_accept(l, (int)below(a, 3), &s);
		nefia_listener_close(l);
		return;
	}
	if (nefia_dial(n, what == 1 ? "nowhere" : "bob", PORT, what == 1 ? 20 : 9000, &s) != NEFIA_OK)
		return;
	if (what == 2)
		nefia_cancel(s);
	for (unsigned i = below(a, 3); i > 0 && talk(a, s); i--)
		a->n_ok++;
	if (what == 3)
		nefia_shutdown(s);
	if (what == 4 && nefia_write(s, "unread", 6, 1000) == 6)
		usleep(below(a, 2000));
	nefia_stream_close(s);
}

static void *act(void *arg)
{
	struct actor *a = arg;

	for (int i = 0; i < N_ROUNDS; i++) {
		/* One of their own, which comes and goes beside the common one. */
		if (a->may_close && below(a, 8) == 0) {
			struct nefia *own = rig_open(ALICE);

			once(a, own);
			nefia_close(own);
		} else {
			once(a, alice);
		}
	}
	return NULL;
}

static void threads_at_random(void **state)
{
	struct actor actors[N_THREADS] = { { 0 } };
	struct echo bob;
	unsigned ok = 0;

	alice = rig_open(ALICE);
	echo_start(&bob, rig_open(BOB), PORT);
	for (int i = 0; i < N_THREADS; i++) {
		actors[i] = (struct actor){ .rng = seed + (uint64_t)i * 0x9e3779b97f4a7c15u, .may_close = i % 2 };
		assert_int_equal(pthread_create(&actors[i].thread, NULL, act, &actors[i]), 0);
	}
	for (int i = 0; i < N_THREADS; i++) {
		pthread_join(actors[i].thread, NULL);
		assert_int_equal(actors[i].n_bytes_wrong, 0);
		ok += actors[i].n_ok;
	}
	assert_in_range(ok, N_THREADS * N_ROUNDS / 4, N_THREADS * N_ROUNDS * 2);
	nefia_close(alice);
	echo_stop(&bob);
}

/* The tunnel is closed while they are at it, again and again. */
static void closed_during_everything(void **state)
{
	struct echo bob;

	echo_start(&bob, rig_open(BOB), PORT);
	for (int round = 0; round < 6; round++) {
		struct actor actors[N_THREADS] = { { 0 } };

		alice = rig_open(ALICE);
		for (int i = 0; i < N_THREADS; i++) {
			actors[i].rng = seed + (uint64_t)(round * 100 + i) * 0x9e3779b97f4a7c15u;
			assert_int_equal(pthread_create(&actors[i].thread, NULL, act, &actors[i]), 0);
		}
		usleep(10000 * (unsigned)round);
		/* Calls that come after it are refused; the memory is there until the last stream was given back. */
		nefia_stop(alice);
		for (int i = 0; i < N_THREADS; i++)
			pthread_join(actors[i].thread, NULL);
		nefia_close(alice);
	}
	echo_stop(&bob);
}

static void nothing_is_left(void **state)
{
	unsigned fds, threads;

	usleep(100000); /* detached echo threads */
	fds = count_in("/proc/self/fd");
	threads = count_in("/proc/self/task");
	threads_at_random(state);
	usleep(100000);
	assert_int_equal(count_in("/proc/self/fd"), fds);
	assert_int_equal(count_in("/proc/self/task"), threads);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_at_random),
		cmocka_unit_test(closed_during_everything),
		cmocka_unit_test(nothing_is_left),
	};
	int failed;

	seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL) * 2654435761u + (uint64_t)getpid();
	printf("seed %llu\n", (unsigned long long)seed);
	alarm(110); /* hung: say where by dying */
	rig_make();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_remove();
	return failed;
}
