/*
 * os/crew.c - see crew.h.
 *
 * A ring of slots. The loop fills them in turn; the threads look at one slot after the other and claim what they find by one
 * compare-and-swap, which the loop uses as well to take a piece back. A slot's state is one word: the number of the piece in
 * it, and its phase. So a thread that was asleep between look and claim cannot take a later piece for the one it saw.
 *
 *	FREE -> READY -> BUSY -> DONE -> FREE	done by a thread
 *	        READY -> FREE			taken back
 *
 * A thread without work asks for SPIN_FOR, giving its core to whoever wants it, then sleeps on a futex: a flow that is worth a
 * thread hands a piece over each 100 us or less, and waking one costs the loop a system call and the piece 30 us. A thread takes
 * no lock and holds none, blocks all signals and has a small stack, of which it touches a few pages.
 */
#include "os/crew.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_FOR (100 * NSEC_PER_USEC)
#define N_PAUSES 64 /* between two offers of the core */
#define STACK_BYTES (256u << 10)

enum phase { FREE, READY, BUSY, DONE, N_PHASES };

struct os_crew_piece {
	_Alignas(64) _Atomic uint64_t state; /* number * N_PHASES + phase */
	void *arg;
	nsec_t handed, begun, ended;
};

struct os_crew {
	/* The loop's */
	struct os_crew_config cfg;
	struct os_watch *watch;
	struct os_crew_stats stats;
	uint64_t n_handed; /* the number of the next piece */
	unsigned n_threads;
	int event_fd;
	/* Everybody's */
	_Alignas(64) _Atomic uint64_t next; /* the first piece that may not be claimed yet */
	_Alignas(64) _Atomic uint32_t bell; /* changes with each piece handed over */
	_Atomic uint32_t n_asleep;
	_Atomic bool stop, call;
	struct os_crew_piece ring[OS_CREW_PIECES];
	struct member {
		struct os_crew *crew;
		pthread_t thread;
		unsigned number;
	} members[OS_CREW_THREADS_MAX];
};

static uint64_t state_of(uint64_t number, enum phase phase)
{
	return number * N_PHASES + phase;
}

static enum phase phase_of(uint64_t state)
{
	return (enum phase)(state % N_PHASES);
}

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* ---- a thread ---- */

static void pause_a_little(void)
{
	for (int i = 0; i < N_PAUSES; i++)
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#else
		atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* The oldest piece that nobody has; NULL: there is none. */
static struct os_crew_piece *claim(struct os_crew *crew, uint64_t *ret_number)
{
	for (;;) {
		uint64_t n = atomic_load(&crew->next), after = n;
		struct os_crew_piece *p = &crew->ring[n % OS_CREW_PIECES];
		uint64_t state = atomic_load(&p->state);

		/* Not handed over yet: it still has an older number. */
		if (state / N_PHASES < n)
			return NULL;
		if (state == state_of(n, READY) && atomic_compare_exchange_strong(&p->state, &state, state_of(n, BUSY))) {
			atomic_compare_exchange_strong(&crew->next, &after, n + 1);
			*ret_number = n;
			return p;
		}
		/* Somebody else has it, or had it. */
		atomic_compare_exchange_strong(&crew->next, &after, n + 1);
	}
}

static void finish(struct os_crew *crew, struct os_crew_piece *p, uint64_t number)
{
	uint64_t one = 1;

	p->ended = os_now();
	atomic_store(&p->state, state_of(number, DONE));
	/* It cannot block: the counter does not come near its end. */
	if (atomic_load(&crew->call) && atomic_exchange(&crew->call, false) && write(crew->event_fd, &one, sizeof(one)) < 0)
		abort();
}

static void wait_for_work(struct os_crew *crew, uint32_t seen)
{
	nsec_t until = os_now() + SPIN_FOR;

	while (os_now() < until) {
		pause_a_little();
		if (atomic_load(&crew->bell) != seen)
			return;
		sched_yield();
	}
	atomic_fetch_add(&crew->n_asleep, 1);
	futex(&crew->bell, FUTEX_WAIT_PRIVATE, seen);
	atomic_fetch_sub(&crew->n_asleep, 1);
}

static void *run(void *arg)
{
	struct member *m = arg;
	struct os_crew *crew = m->crew;

	while (!atomic_load(&crew->stop)) {
		uint32_t seen = atomic_load(&crew->bell);
		uint64_t number;
		struct os_crew_piece *p = claim(crew, &number);

		if (!p) {
			wait_for_work(crew, seen);
			continue;
		}
		p->begun = os_now();
		crew->cfg.work(p->arg, m->number);
		finish(crew, p, number);
	}
	return NULL;
}

/* ---- the loop's side ---- */

struct os_crew_piece *os_crew_hand(struct os_crew *crew, void *arg)
{
	struct os_crew_piece *p = &crew->ring[crew->n_handed % OS_CREW_PIECES];

	if (phase_of(atomic_load(&p->state)) != FREE)
		return NULL;
	p->arg = arg;
	p->handed = os_now();
	atomic_store(&p->state, state_of(crew->n_handed++, READY));
	crew->stats.n_handed++;
	atomic_fetch_add(&crew->bell, 1);
	if (atomic_load(&crew->n_asleep) > 0)
		futex(&crew->bell, FUTEX_WAKE_PRIVATE, 1);
	return p;
}

bool os_crew_take_back(struct os_crew *crew, struct os_crew_piece *p)
{
	uint64_t state = atomic_load(&p->state);

	/* Its number stays: to a thread it is one that somebody else had. */
	if (phase_of(state) != READY || !atomic_compare_exchange_strong(&p->state, &state, state_of(state / N_PHASES, FREE)))
		return false;
	crew->stats.n_taken_back++;
	return true;
}

bool os_crew_is_done(struct os_crew *crew, struct os_crew_piece *p)
{
	uint64_t state = atomic_load(&p->state);

	if (phase_of(state) != DONE)
		return false;
	crew->stats.n_done++;
	crew->stats.n_late += p->ended - p->handed > OS_CREW_LATE;
	crew->stats.delay += p->begun - p->handed;
	crew->stats.work += p->ended - p->begun;
	atomic_store(&p->state, state_of(state / N_PHASES, FREE));
	return true;
}

void os_crew_call(struct os_crew *crew)
{
	atomic_store(&crew->call, true);
}

nsec_t os_crew_handed(const struct os_crew_piece *p)
{
	return p->handed;
}

void os_crew_get_stats(const struct os_crew *crew, struct os_crew_stats *ret)
{
	*ret = crew->stats;
}

static void on_event(void *ctx, int events)
{
	struct os_crew *crew = ctx;
	uint64_t n;

	if (read(crew->event_fd, &n, sizeof(n)) == sizeof(n))
		crew->cfg.on_done(crew->cfg.ctx);
}

/* ---- life ---- */

static enum err start_thread(struct os_crew *crew, const pthread_attr_t *attr)
{
	struct member *m = &crew->members[crew->n_threads];

	m->crew = crew;
	m->number = crew->n_threads + 1;
	if (pthread_create(&m->thread, attr, run, m) != 0)
		return ERR_UNSUPPORTED;
	crew->n_threads++;
	return OK;
}

/* Signals are the loop's: a thread inherits the mask of who starts it. */
static enum err start_threads(struct os_crew *crew)
{
	pthread_attr_t attr;
	sigset_t all, before;
	enum err e = OK;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned i = 0; i < crew->cfg.n_threads && e == OK; i++)
		e = start_thread(crew, &attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return e;
}

enum err os_crew_new(struct os_loop *loop, const struct os_crew_config *cfg, struct os_crew **ret)
{
	struct os_crew *crew = aligned_alloc(64, sizeof(*crew));
	enum err e;

	ASSERT(cfg->n_threads >= 1 && cfg->n_threads <= OS_CREW_THREADS_MAX);
	if (!crew)
		return ERR_NOMEM;
	*crew = (struct os_crew){ .cfg = *cfg, .n_handed = 1, .next = 1 };
	crew->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e = crew->event_fd < 0 ? ERR_FULL : os_watch_new(loop, crew->event_fd, on_event, crew, &crew->watch);
	if (e == OK)
		e = start_threads(crew);
	if (e != OK) {
		os_crew_free(crew);
		return e;
	}
	os_watch_set(crew->watch, OS_READ);
	*ret = crew;
	return OK;
}

void os_crew_free(struct os_crew *crew)
{
	if (!crew)
		return;
	atomic_store(&crew->stop, true);
	atomic_fetch_add(&crew->bell, 1);
	futex(&crew->bell, FUTEX_WAKE_PRIVATE, INT32_MAX);
	for (unsigned i = 0; i < crew->n_threads; i++)
		pthread_join(crew->members[i].thread, NULL);
	for (size_t i = 0; i < OS_CREW_PIECES; i++)
		ASSERT(phase_of(crew->ring[i].state) == FREE);
	os_watch_free(crew->watch);
	if (crew->event_fd >= 0)
		close(crew->event_fd);
	free(crew);
}
