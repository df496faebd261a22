/*
 * bench/workers.c - would a second thread for the cipher make a sender faster? (doc/datapath.md, "Several cores")
 *
 *	workers flow [--aead NAME] [--rest NS] [--worker 0|1] [--ends N] [--seconds S]
 *	workers latency [--aead NAME]
 *
 * flow: what a sender does for a run of 45 packets, again and again: gather them, work for NS a packet that stands for TCP and the
 * local socket, seal, and give the run to a UDP socket on loopback that nobody reads. With --worker 1 runs are sealed by
 * another thread, in order, out of a ring of eight; the first thread sends what is sealed, in order, and waits where the ring is
 * full. --ends 2: two such processes at once, as both ends on one machine are. A provider need not serve two threads at a time.
 * latency: one packet sealed here, by a worker that spins, by a worker that sleeps.
 *
 * A thread without work spins for SPIN_NS, then sleeps on a futex. One JSON object on standard output.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "os/loop.h"
#include "os/udp.h"
#include "tunnel/tunnel.h"
#include "wg/aead.h"

#define N_SEGS 45
#define PLAIN 1408 /* 1,368 of payload, padded as the tunnel does */
#define SEG (PLAIN + 32)
#define N_SLOTS 8
#define SPIN_NS 30000
#define SOURCE_BYTES (4u << 20)
#define N_SINGLE 20000

enum slot_state { SLOT_FREE, SLOT_READY, SLOT_SEALED };

struct slot {
	_Alignas(64) _Atomic int state;
	uint8_t *buf;
	size_t n_segs;
	uint64_t counter;
};

static struct {
	double seconds;
	unsigned rest_ns, n_ends;
	bool worker;
	const char *aead;
} opt = { .seconds = 2, .rest_ns = 1050, .n_ends = 1 };

static const struct wg_aead *aead;
static const uint8_t key[32] = "a key for measurements, 32 bytes";
static struct slot slots[N_SLOTS];
static size_t n_slots = N_SLOTS;
static _Atomic uint32_t bell; /* changes when there is something new to seal */
static _Atomic int sleeping, stop;
static uint64_t loops_per_us;
static volatile uint64_t sink;

static void die(const char *what)
{
	fprintf(stderr, "workers: %s\n", what);
	exit(1);
}

/* ---- work that stands for the rest ---- */

static void spin(uint64_t n)
{
	uint64_t x = n;

	for (uint64_t i = 0; i < n; i++)
		x = x * 6364136223846793005ULL + i;
	sink = x;
}

static void calibrate(void)
{
	nsec_t from, took;

	spin(1000000);
	from = os_now();
	spin(20000000);
	took = os_now() - from;
	loops_per_us = 20000000ULL * 1000 / took;
}

/* ---- the ring ---- */

static void seal_slot(struct slot *s)
{
	struct wg_aead_job jobs[N_SEGS];

	for (size_t i = 0; i < s->n_segs; i++) {
		uint8_t *p = s->buf + i * SEG + 16;

		jobs[i] = (struct wg_aead_job){ .key = key, .counter = s->counter + i, .src = p, .dst = p, .len = PLAIN };
	}
	aead->seal(jobs, s->n_segs);
	atomic_store_explicit(&s->state, SLOT_SEALED, memory_order_release);
}

static void ring(void)
{
	atomic_fetch_add(&bell, 1);
	if (atomic_load(&sleeping))
		syscall(SYS_futex, &bell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void rest_until(uint32_t seen, nsec_t spin_ns)
{
	nsec_t from = os_now();

	while (atomic_load_explicit(&bell, memory_order_acquire) == seen && os_now() - from < spin_ns)
		;
	if (atomic_load(&bell) != seen)
		return;
	atomic_store(&sleeping, 1);
	syscall(SYS_futex, &bell, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
	atomic_store(&sleeping, 0);
}

static bool is(const struct slot *s, enum slot_state state)
{
	return atomic_load_explicit(&s->state, memory_order_acquire) == (int)state;
}

/* Seals slot after slot; the argument is how long it spins. */
static void *work(void *spin_ns)
{
	size_t at = 0;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint32_t seen = atomic_load(&bell);

		if (!is(&slots[at], SLOT_READY)) {
			rest_until(seen, (nsec_t)(uintptr_t)spin_ns);
			continue;
		}
		seal_slot(&slots[at]);
		at = (at + 1) % n_slots;
	}
	return NULL;
}

static void start(pthread_t *t, uintptr_t spin_ns)
{
	atomic_store(&stop, 0);
	if (pthread_create(t, NULL, work, (void *)spin_ns) != 0)
		die("no thread");
}

static void end(pthread_t t)
{
	atomic_store(&stop, 1);
	ring();
	pthread_join(t, NULL);
}

/* ---- a flow ---- */

static struct os_udp *udp;
static struct path_addr to;

static void on_dgram(void *ctx, const struct os_udp_dgram *d, size_t n)
{
}

static void on_writable(void *ctx)
{
}

static void open_sockets(void)
{
	struct os_udp_handler h = { on_dgram, on_writable, NULL };
	struct os_loop *loop = os_loop_new();
	uint16_t port = (uint16_t)(20000 + rng_below(os_rng(), 10000));
	struct os_udp *deaf;

	if (!loop || os_udp_open(loop, port, &h, &deaf) != OK || os_udp_open(loop, 0, &h, &udp) != OK)
		die("no socket");
	to.remote = (struct endpoint){ { .family = IP_V4, .b = { 127, 0, 0, 1 } }, port, 0 };
}

static void gather(struct slot *s, const uint8_t *source, size_t *off)
{
	for (size_t i = 0; i < N_SEGS; i++) {
		uint8_t *p = s->buf + i * SEG;

		put_le64(p + 8, s->counter + i);
		memcpy(p + 16, source + *off, PLAIN);
		*off = (*off + PLAIN) % (SOURCE_BYTES - PLAIN);
	}
	s->n_segs = N_SEGS;
	spin((uint64_t)opt.rest_ns * N_SEGS * loops_per_us / 1000);
}

/* On busy cores the other thread may wait for this very core. */
static void wait_sealed(const struct slot *s)
{
	nsec_t from = os_now();

	while (!is(s, SLOT_SEALED))
		if (os_now() - from > SPIN_NS)
			sched_yield();
}

static void give_to_socket(struct slot *s)
{
	/* A full socket at the other end is not seen here; a busy device would be tried again. */
	(void)!os_udp_send(udp, &to, s->buf, N_SEGS * SEG, SEG);
	atomic_store_explicit(&s->state, SLOT_FREE, memory_order_relaxed);
}

static double flow(void)
{
	uint8_t *source = calloc(1, SOURCE_BYTES);
	uint64_t n_made = 0, n_sent = 0, counter = 0;
	pthread_t t;
	nsec_t from = os_now(), until = from + (nsec_t)(opt.seconds * 1e9);
	size_t off = 0;

	if (opt.worker)
		start(&t, SPIN_NS);
	while (os_now() < until) {
		struct slot *s = &slots[n_made++ % N_SLOTS];

		s->counter = counter;
		counter += N_SEGS;
		gather(s, source, &off);
		if (!opt.worker) {
			seal_slot(s);
			give_to_socket(s);
			n_sent++;
			continue;
		}
		atomic_store_explicit(&s->state, SLOT_READY, memory_order_release);
		ring();
		/* What is sealed leaves, in order; with the ring full the oldest is waited for. */
		while (n_sent < n_made && (n_made - n_sent == N_SLOTS ||
					   is(&slots[n_sent % N_SLOTS], SLOT_SEALED))) {
			wait_sealed(&slots[n_sent % N_SLOTS]);
			give_to_socket(&slots[n_sent++ % N_SLOTS]);
		}
	}
	if (opt.worker)
		end(t);
	free(source);
	return (double)n_sent * N_SEGS * 1368 * 8 / ((double)(os_now() - from) / 1e9) / 1e9;
}

static double cpu_s(int who)
{
	struct rusage r;

	getrusage(who, &r);
	return (double)r.ru_utime.tv_sec + (double)r.ru_utime.tv_usec / 1e6 + (double)r.ru_stime.tv_sec + (double)r.ru_stime.tv_usec / 1e6;
}

static void run_flow(void)
{
	double *gbps = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), sum = 0;

	if (gbps == MAP_FAILED)
		die("no memory");
	calibrate();
	for (unsigned i = 0; i < opt.n_ends; i++)
		if (fork() == 0) {
			open_sockets();
			gbps[i] = flow();
			_exit(0);
		}
	for (unsigned i = 0; i < opt.n_ends; i++)
		wait(NULL);
	for (unsigned i = 0; i < opt.n_ends; i++)
		sum += gbps[i];
	printf("{\"aead\":\"%s\",\"worker\":%d,\"ends\":%u,\"rest_ns\":%u,\"gbps_an_end\":%.2f,\"cpu_s_per_gb\":%.2f}\n", aead->name,
	       opt.worker, opt.n_ends, opt.rest_ns, sum / opt.n_ends, cpu_s(RUSAGE_CHILDREN) / (sum * opt.seconds / 8));
}

/* ---- latency ---- */

static int by_value(const void *a, const void *b)
{
	nsec_t x = *(const nsec_t *)a, y = *(const nsec_t *)b;

	return (x > y) - (x < y);
}

/* Median and 99th percentile, in µs, of one packet; @pause µs between two. */
static void singles(const char *name, bool worker, uintptr_t spin_ns, unsigned pause, size_t n)
{
	static nsec_t took[N_SINGLE];
	struct slot *s = &slots[0];
	pthread_t t;

	n_slots = 1;
	s->n_segs = 1;
	if (worker)
		start(&t, spin_ns);
	for (size_t i = 0; i < n; i++) {
		nsec_t from;

		if (pause)
			usleep(pause);
		from = os_now();
		atomic_store_explicit(&s->state, SLOT_READY, memory_order_release);
		if (worker)
			ring();
		else
			seal_slot(s);
		while (!is(s, SLOT_SEALED))
			;
		took[i] = os_now() - from;
	}
	if (worker)
		end(t);
	qsort(took, n, sizeof(*took), by_value);
	printf("%s\"%s\":[%.2f,%.2f]", name[0] == 'h' ? "{" : ",", name, (double)took[n / 2] / 1e3, (double)took[n * 99 / 100] / 1e3);
}

static void run_latency(void)
{
	singles("here", false, 0, 0, N_SINGLE);
	singles("spinning worker", true, 1000 * NSEC_PER_MSEC, 0, N_SINGLE);
	singles("sleeping worker", true, 0, 200, 2000);
	printf("}\n");
}

/* ---- main ---- */

static bool read_options(int argc, char **argv)
{
	for (int i = 2; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--aead") == 0)
			opt.aead = argv[i + 1];
		else if (strcmp(argv[i], "--rest") == 0)
			opt.rest_ns = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--worker") == 0)
			opt.worker = atoi(argv[i + 1]) > 0;
		else if (strcmp(argv[i], "--ends") == 0)
			opt.n_ends = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--seconds") == 0)
			opt.seconds = atof(argv[i + 1]);
		else
			return false;
	}
	return argc > 1 && argc % 2 == 0 && opt.n_ends >= 1 && opt.n_ends <= 64 && opt.seconds > 0;
}

int main(int argc, char **argv)
{
	bool known = read_options(argc, argv) && (strcmp(argv[1], "flow") == 0 || strcmp(argv[1], "latency") == 0);

	if (!known) {
		fprintf(stderr, "usage: workers flow|latency [--aead NAME] [--rest NS] [--worker 0|1] [--ends N] [--seconds S]\n");
		return 2;
	}
	aead = wg_aead_find(opt.aead ? opt.aead : wg_aead_pick(os_now));
	if (!aead)
		die("there is no such cipher here");
	for (size_t i = 0; i < N_SLOTS; i++) {
		slots[i].buf = calloc(N_SEGS, SEG);
		if (!slots[i].buf)
			die("no memory");
	}
	if (strcmp(argv[1], "flow") == 0)
		run_flow();
	else
		run_latency();
	return 0;
}
