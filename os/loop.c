/*
 * os/loop.c - the event loop.
 *
 * libuv supplies readiness and signals. Its timers count milliseconds, so ours stand in a heap whose first
 * deadline is armed on one timerfd, watched like any descriptor. A turn is: uv polls and calls back, due timers run
 * (those that were due when the turn began: a timer that re-arms itself cannot starve the rest), then the
 * turn hook flushes what the callbacks queued. The clock is read before the first callback, and when uv returns from polling.
 *
 * Going to sleep and being woken on another core costs more than a packet's whole way through us (about 30 us against 5
 * in a virtual machine). So the loop asks for a while before it sleeps, as long as that pays: it begins after a few
 * sleeps that were short, and ends when asking was in vain more often than not. While it asks it gives the core to
 * whoever wants it, so that a busy machine does not lose by it; with one core it never asks.
 */
#include "os/loop.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <pthread.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

#define N_SIGNALS_MAX 8
#define ASK_FOR (50 * NSEC_PER_USEC)
#define SHORT_SLEEP (4 * ASK_FOR) /* one that asking would have found the end of, its own cost taken away */
#define N_SHORT 8		  /* so many of them begin it */
#define CREDIT_MAX 8		  /* an answer earns one, asking in vain costs two */

struct on_signal {
	uv_signal_t handle;
	struct os_loop *loop;
	void (*fn)(void *ctx, int signum);
	void *ctx;
};

struct os_loop {
	uv_loop_t uv;
	uv_poll_t timer_poll;
	uv_prepare_t prepare;
	uv_check_t check;
	int timer_fd;
	nsec_t armed; /* what the timerfd is set to */
	nsec_t now;
	struct heap timers;
	void (*turn)(void *ctx);
	void *turn_ctx;
	struct on_signal signals[N_SIGNALS_MAX];
	size_t n_signals;
	bool running, stopped, may_ask;
	int credit;	    /* asking goes on while it is above 0 */
	unsigned n_short;   /* short sleeps since asking ended */
	uint64_t n_events;  /* of descriptors */
	nsec_t sleeps_from; /* 0 while the loop only asks */
	bool awake;	    /* the clock was read since uv began to poll */
};

struct os_watch {
	struct os_loop *loop;
	uv_poll_t poll;
	void (*fn)(void *ctx, int events);
	void *ctx;
	int events;
};

static nsec_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + (nsec_t)ts.tv_nsec;
}

nsec_t os_now(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

uint64_t os_wall_now(void)
{
	return read_clock(CLOCK_REALTIME);
}

/* ---- randomness ---- */

/* Small draws (jitter, ports, hash keys) share one call to the kernel; keys never pass through here. */
static struct {
	uint8_t bytes[512];
	size_t left;
} spare;

#define SMALL_DRAW 16

void os_rng_forget(void)
{
	spare.left = 0;
}

static void from_kernel(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		ASSERT(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

static void kernel_fill(struct rng *rng, void *buf, size_t len)
{
	if (len > SMALL_DRAW) {
		from_kernel(buf, len);
		return;
	}
	if (spare.left < len) {
		from_kernel(spare.bytes, sizeof(spare.bytes));
		spare.left = sizeof(spare.bytes);
	}
	spare.left -= len;
	memcpy(buf, spare.bytes + spare.left, len);
	explicit_bzero(spare.bytes + spare.left, len);
}

struct rng *os_rng(void)
{
	static struct rng rng = { kernel_fill };
	static bool guarded;

	/* Parent and child must not draw the same bytes. */
	if (!guarded)
		ASSERT(pthread_atfork(NULL, NULL, os_rng_forget) == 0);
	guarded = true;
	return &rng;
}

/* ---- timers ---- */

static void arm(struct os_loop *loop)
{
	struct heap_node *first = heap_first(&loop->timers);
	nsec_t at = first ? MAX(first->key, 1ULL) : 0;
	struct itimerspec its = { .it_value = { (time_t)(at / NSEC_PER_SEC), (long)(at % NSEC_PER_SEC) } };

	/* A deadline that moved away leaves the earlier one armed: one wake for nothing is cheaper than a call each turn. */
	if (at == 0 || (loop->armed && loop->armed <= at))
		return;
	loop->armed = at;
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

static void run_timers(struct os_loop *loop)
{
	uint64_t limit = loop->timers.next_seq;

	for (;;) {
		struct heap_node *first = heap_first(&loop->timers);
		struct os_timer *t;

		if (!first || first->key > loop->now || first->seq >= limit)
			break;
		t = container_of(first, struct os_timer, node);
		heap_remove(&loop->timers, first);
		t->fn(t->ctx);
	}
}

/* uv calls back while it polls, before on_check: the first one finds the time of before the sleep. */
static void wake(struct os_loop *loop)
{
	if (loop->awake)
		return;
	loop->awake = true;
	loop->now = os_now();
}

static void on_timer_fd(uv_poll_t *poll, int status, int events)
{
	struct os_loop *loop = poll->data;
	uint64_t n;

	wake(loop);

	if (read(loop->timer_fd, &n, sizeof(n)) == sizeof(n))
		loop->armed = 0;
}

void os_timer_init(struct os_timer *t, struct os_loop *loop, void (*fn)(void *ctx), void *ctx)
{
	*t = (struct os_timer){ .loop = loop, .fn = fn, .ctx = ctx };
	heap_node_init(&t->node);
}

void os_timer_set(struct os_timer *t, nsec_t at)
{
	if (at == NSEC_NEVER) {
		heap_remove(&t->loop->timers, &t->node);
		return;
	}
	/* Out of memory here would mean a timer that never fires: better to end. */
	ASSERT(heap_set(&t->loop->timers, &t->node, at) == OK);
}

void os_timer_cancel(struct os_timer *t)
{
	if (t->loop)
		heap_remove(&t->loop->timers, &t->node);
}

/* ---- the turn ---- */

static void on_prepare(uv_prepare_t *prepare)
{
	struct os_loop *loop = prepare->data;

	run_timers(loop);
	if (loop->turn)
		loop->turn(loop->turn_ctx);
	arm(loop);
	loop->awake = false;
	if (loop->sleeps_from)
		loop->sleeps_from = os_now();
}

static void on_check(uv_check_t *check)
{
	struct os_loop *loop = check->data;

	loop->now = os_now();
	if (loop->sleeps_from)
		loop->n_short += loop->now - loop->sleeps_from < SHORT_SLEEP;
}

nsec_t os_loop_now(const struct os_loop *loop)
{
	return loop->now;
}

void os_loop_set_turn(struct os_loop *loop, void (*fn)(void *ctx), void *ctx)
{
	loop->turn = fn;
	loop->turn_ctx = ctx;
}

struct os_loop *os_loop_new(void)
{
	struct os_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop->timer_fd < 0 || uv_loop_init(&loop->uv) != 0) {
		if (loop->timer_fd >= 0)
			close(loop->timer_fd);
		free(loop);
		return NULL;
	}
	heap_init(&loop->timers);
	loop->now = os_now();
	uv_prepare_init(&loop->uv, &loop->prepare);
	uv_check_init(&loop->uv, &loop->check);
	ASSERT(uv_poll_init(&loop->uv, &loop->timer_poll, loop->timer_fd) == 0);
	loop->prepare.data = loop->check.data = loop->timer_poll.data = loop;
	uv_prepare_start(&loop->prepare, on_prepare);
	uv_check_start(&loop->check, on_check);
	uv_poll_start(&loop->timer_poll, UV_READABLE, on_timer_fd);
	return loop;
}

void os_loop_free(struct os_loop *loop)
{
	if (!loop)
		return;
	uv_close((uv_handle_t *)&loop->prepare, NULL);
	uv_close((uv_handle_t *)&loop->check, NULL);
	uv_close((uv_handle_t *)&loop->timer_poll, NULL);
	for (size_t i = 0; i < loop->n_signals; i++)
		uv_close((uv_handle_t *)&loop->signals[i].handle, NULL);
	uv_run(&loop->uv, UV_RUN_NOWAIT);
	/* A watch that its owner did not free is our own bug. */
	ASSERT(uv_loop_close(&loop->uv) == 0);
	close(loop->timer_fd);
	heap_fini(&loop->timers);
	free(loop);
}

static bool several_cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 1;
}

/* Asks until something came; false: in vain, or it does not pay now. */
static bool ask(struct os_loop *loop)
{
	uint64_t before = loop->n_events;
	nsec_t from;

	if (loop->credit <= 0 && loop->n_short >= N_SHORT)
		loop->credit = CREDIT_MAX / 2;
	if (loop->credit <= 0 || !loop->may_ask)
		return false;
	loop->n_short = 0;
	loop->sleeps_from = 0;
	from = os_now();
	do {
		uv_run(&loop->uv, UV_RUN_NOWAIT);
		if (loop->n_events != before || loop->stopped) {
			loop->credit = MIN(loop->credit + 1, CREDIT_MAX);
			return true;
		}
		sched_yield();
	} while (loop->now - from < ASK_FOR);
	loop->credit -= 2;
	return false;
}

void os_loop_run(struct os_loop *loop)
{
	loop->now = os_now();
	loop->may_ask = several_cores();
	loop->running = true;
	while (!loop->stopped && uv_loop_alive(&loop->uv)) {
		if (ask(loop))
			continue;
		loop->sleeps_from = loop->now;
		uv_run(&loop->uv, UV_RUN_ONCE);
	}
	loop->running = loop->stopped = false;
}

void os_loop_stop(struct os_loop *loop)
{
	loop->stopped = true;
	if (loop->running)
		uv_stop(&loop->uv); /* a timer or the turn hook may say so just before uv sleeps */
}

/* ---- descriptors ---- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct os_watch *w = poll->data;
	int ev = 0, wanted = w->events;

	wake(w->loop);
	w->loop->n_events++;
	if (status < 0) {
		/* libuv stops watching at an error. What came before it may be unread yet, so that is taken back. */
		ev = wanted | OS_HANGUP;
		w->events = 0;
		os_watch_set(w, wanted);
	}
	if (events & UV_READABLE)
		ev |= OS_READ;
	if (events & UV_WRITABLE)
		ev |= OS_WRITE;
	if (events & UV_DISCONNECT)
		ev |= OS_HANGUP;
	w->fn(w->ctx, ev);
}

enum err os_watch_new(struct os_loop *loop, int fd, void (*fn)(void *ctx, int events), void *ctx,
		      struct os_watch **ret)
{
	struct os_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return ERR_NOMEM;
	w->loop = loop;
	w->fn = fn;
	w->ctx = ctx;
	if (uv_poll_init(&loop->uv, &w->poll, fd) != 0) {
		free(w);
		return ERR_INVALID;
	}
	w->poll.data = w;
	*ret = w;
	return OK;
}

void os_watch_set(struct os_watch *w, int events)
{
	int ev = (events & OS_READ ? UV_READABLE : 0) | (events & OS_WRITE ? UV_WRITABLE : 0) |
		 (events & OS_HANGUP ? UV_DISCONNECT : 0);

	if (events == w->events)
		return;
	w->events = events;
	if (ev)
		uv_poll_start(&w->poll, ev, on_poll);
	else
		uv_poll_stop(&w->poll);
}

static void on_watch_closed(uv_handle_t *h)
{
	free(h->data);
}

void os_watch_free(struct os_watch *w)
{
	if (w)
		uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

/* ---- signals ---- */

static void on_uv_signal(uv_signal_t *handle, int signum)
{
	struct on_signal *s = handle->data;

	wake(s->loop);
	s->fn(s->ctx, signum);
}

enum err os_signal_on(struct os_loop *loop, int signum, void (*fn)(void *ctx, int signum), void *ctx)
{
	struct on_signal *s;

	if (loop->n_signals == N_SIGNALS_MAX)
		return ERR_FULL;
	s = &loop->signals[loop->n_signals];
	s->fn = fn;
	s->ctx = ctx;
	s->loop = loop;
	if (uv_signal_init(&loop->uv, &s->handle) != 0)
		return ERR_NOMEM;
	s->handle.data = s;
	loop->n_signals++;
	return uv_signal_start(&s->handle, on_uv_signal, signum) == 0 ? OK : ERR_INVALID;
}
