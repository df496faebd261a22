/*
 * os/loop.c - the event loop.
 *
 * libuv sleeps, wakes and has the signals. Its timers count milliseconds, so ours stand in a heap whose first
 * deadline is armed on one timerfd that it watches. A turn is: descriptors call back, due timers run (those that were due when the
 * turn's timers began: one that re-arms itself cannot starve the rest), then those who asked for it flush what all of these
 * queued. The clock is read before the first callback, and again before the timers.
 *
 * Descriptors are in one epoll set, which libuv watches as a single one. So what a watch wants is told to the kernel once a
 * turn, before it is asked: streams change their mind several times in between (full, not full; opened, ended), and most
 * of that has cancelled out by then. A short connection costs one call to come and one to go; uv_poll alone takes three
 * to come. While there is something to do the set is asked directly; libuv's turn comes when there is nothing, before sleeping,
 * and every UV_EVERY for signals.
 *
 * Going to sleep and being woken on another core costs more than a packet's whole way through us (about 30 us against 5
 * in a virtual machine). So the loop asks for a while before it sleeps, as long as that pays: it begins after a few
 * sleeps that were short, and ends when asking was in vain more often than not. While it asks it gives the core to
 * whoever wants it, so that a busy machine does not lose by it; with one core it never asks.
 *
 * Where pieces from many come faster than one can be waited for, all of that is waste: asking takes a core that others would use, and each piece that
 * finds us asleep wakes us at the cost of who sent it. Then we sleep for a moment that nobody ends (os_loop_coalesce).
 */
#include "os/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

#define N_SIGNALS_MAX 8
#define N_BATCH 256 /* events of one turn */
#define UV_EVERY NSEC_PER_MSEC
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

struct os_watch {
	struct os_loop *loop;
	struct list change; /* in loop->changes while wanted and told may differ */
	int fd;
	int wanted, told; /* OS_*; told to the kernel, 0: it does not know the descriptor */
	void (*fn)(void *ctx, int events);
	void *ctx;
};

struct os_loop {
	uv_loop_t uv;
	uv_poll_t set_poll, timer_poll;
	int epoll_fd, timer_fd;
	nsec_t armed; /* what the timerfd is set to */
	nsec_t now;
	struct heap timers;
	struct list lates, late_mark; /* those behind the mark are of the next turn */
	struct list changes;
	size_t n_watches;
	struct epoll_event batch[N_BATCH];
	int n_batch, at; /* of the batch that is being told */
	struct on_signal signals[N_SIGNALS_MAX];
	size_t n_signals;
	bool stopped, may_ask;
	int credit;	   /* asking goes on while it is above 0 */
	unsigned n_short;  /* short sleeps since asking ended */
	uint64_t n_events; /* of descriptors */
	nsec_t waited;
	nsec_t coalesce;   /* until the end of this turn */
	nsec_t uv_at;	   /* its last turn */
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

/* Where getrandom(2) is refused. Without random numbers there are no keys: nothing can go on. */
static ssize_t from_device(void *buf, size_t len)
{
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buf, len) : -1;

	if (n <= 0) {
		fprintf(stderr, "nefia: no random numbers: neither getrandom(2) nor /dev/urandom works here\n");
		abort();
	}
	close(fd);
	return n;
}

static void from_kernel(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			n = from_device(p, len);
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

/* Before a sleep. */
static void arm(struct os_loop *loop)
{
	struct heap_node *first = heap_first(&loop->timers);
	nsec_t at = first ? MAX(first->key, 1ULL) : 0;
	struct itimerspec its = { .it_value = { (time_t)(at / NSEC_PER_SEC), (long)(at % NSEC_PER_SEC) } };

	/* A deadline that moved away leaves the earlier one armed: one wake for nothing is cheaper than a call each time. */
	if (at == 0 || (loop->armed > loop->now && loop->armed <= at))
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

static void on_timer_fd(uv_poll_t *poll, int status, int events)
{
	struct os_loop *loop = poll->data;
	uint64_t n;

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
	/* A time in the past is now: behind all that is due, or one that re-arms itself would be the first each time. */
	at = MAX(at, t->loop->now);
	heap_set(&t->loop->timers, &t->node, at);
}

void os_timer_cancel(struct os_timer *t)
{
	if (t->loop)
		heap_remove(&t->loop->timers, &t->node);
}

/* ---- descriptors ---- */

static uint32_t to_epoll(int events)
{
	return (events & OS_READ ? EPOLLIN : 0u) | (events & OS_WRITE ? EPOLLOUT : 0u) | (events & OS_HANGUP ? EPOLLRDHUP : 0u);
}

/* What the kernel says, as far as it was asked. An error, or a hangup that came alone, is for whoever asked for anything. */
static int from_epoll(uint32_t events, int wanted)
{
	int ev = (events & EPOLLIN ? OS_READ : 0) | (events & EPOLLOUT ? OS_WRITE : 0) | (events & EPOLLRDHUP ? OS_HANGUP : 0);

	if (events & EPOLLERR)
		return wanted ? wanted | OS_HANGUP : 0;
	return (events & EPOLLHUP) && !ev ? wanted : ev & wanted;
}

static int tell_kernel(struct os_watch *w)
{
	int op = w->wanted == 0 ? EPOLL_CTL_DEL : w->told == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
	struct epoll_event ev = { .events = to_epoll(w->wanted), .data.ptr = w };

	w->told = w->wanted;
	return epoll_ctl(w->loop->epoll_fd, op, w->fd, &ev);
}

static void tell_changes(struct os_loop *loop)
{
	struct list *first;

	while ((first = list_first(&loop->changes))) {
		struct os_watch *w = container_of(first, struct os_watch, change);
		bool ends = w->wanted == 0;

		list_del(&w->change);
		if (w->wanted == w->told)
			continue;
		/* Out of memory here would mean a watch that never fires: better to end. */
		ASSERT(tell_kernel(w) == 0 || ends);
	}
}

void os_watch_set(struct os_watch *w, int events)
{
	w->wanted = events;
	if (w->wanted != w->told && list_empty(&w->change))
		list_add_tail(&w->loop->changes, &w->change);
}

/* The kernel is told at once, to learn whether it can be watched; nearly all want to read first. */
enum err os_watch_new(struct os_loop *loop, int fd, void (*fn)(void *ctx, int events), void *ctx,
		      struct os_watch **ret)
{
	struct os_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return ERR_NOMEM;
	*w = (struct os_watch){ .loop = loop, .fd = fd, .wanted = OS_READ, .fn = fn, .ctx = ctx };
	list_init(&w->change);
	if (tell_kernel(w) != 0) {
		free(w);
		return ERR_INVALID;
	}
	loop->n_watches++;
	os_watch_set(w, 0);
	*ret = w;
	return OK;
}

void os_watch_free(struct os_watch *w)
{
	struct os_loop *loop;

	if (!w)
		return;
	loop = w->loop;
	w->wanted = 0;
	if (w->told)
		tell_kernel(w);
	for (int i = loop->at; i < loop->n_batch; i++)
		if (loop->batch[i].data.ptr == w)
			loop->batch[i].data.ptr = NULL;
	list_del(&w->change);
	loop->n_watches--;
	free(w);
}

/* Asks the set, without sleeping, and tells whom it concerns. False: nothing. */
static bool look(struct os_loop *loop)
{
	uint64_t before = loop->n_events;
	int n = epoll_wait(loop->epoll_fd, loop->batch, N_BATCH, 0);

	loop->now = os_now();
	ASSERT(n >= 0 || errno == EINTR);
	loop->n_batch = MAX(n, 0);
	for (loop->at = 0; loop->at < loop->n_batch;) {
		const struct epoll_event *e = &loop->batch[loop->at++];
		struct os_watch *w = e->data.ptr;
		int ev = w ? from_epoll(e->events, w->wanted) : 0;

		if (!ev)
			continue;
		loop->n_events++;
		w->fn(w->ctx, ev);
	}
	loop->n_batch = 0;
	return loop->n_events != before;
}

static void on_set(uv_poll_t *poll, int status, int events)
{
	look(poll->data);
}

/* ---- the turn ---- */

nsec_t os_loop_now(const struct os_loop *loop)
{
	return loop->now;
}

void os_loop_coalesce(struct os_loop *loop, nsec_t span)
{
	loop->coalesce = span;
}

nsec_t os_loop_waited(const struct os_loop *loop)
{
	return loop->waited;
}

void os_late_init(struct os_late *l, struct os_loop *loop, void (*fn)(void *ctx), void *ctx)
{
	*l = (struct os_late){ .loop = loop, .fn = fn, .ctx = ctx };
	list_init(&l->link);
}

void os_late_ask(struct os_late *l)
{
	if (list_empty(&l->link))
		list_add_tail(&l->loop->lates, &l->link);
}

void os_late_cancel(struct os_late *l)
{
	if (l->loop)
		list_del(&l->link);
}

static void run_lates(struct os_loop *loop)
{
	struct list *first;

	list_add_tail(&loop->lates, &loop->late_mark);
	while ((first = list_first(&loop->lates)) != &loop->late_mark) {
		struct os_late *l = container_of(first, struct os_late, link);

		list_del(first);
		l->fn(l->ctx);
	}
	list_del(&loop->late_mark);
}

/* The two descriptors that libuv knows of. */
static void watch_own(struct os_loop *loop)
{
	ASSERT(uv_poll_init(&loop->uv, &loop->set_poll, loop->epoll_fd) == 0);
	ASSERT(uv_poll_init(&loop->uv, &loop->timer_poll, loop->timer_fd) == 0);
	loop->set_poll.data = loop->timer_poll.data = loop;
	uv_poll_start(&loop->set_poll, UV_READABLE, on_set);
	uv_poll_start(&loop->timer_poll, UV_READABLE, on_timer_fd);
}

struct os_loop *os_loop_new(void)
{
	struct os_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop->epoll_fd < 0 || loop->timer_fd < 0 || uv_loop_init(&loop->uv) != 0) {
		if (loop->epoll_fd >= 0)
			close(loop->epoll_fd);
		if (loop->timer_fd >= 0)
			close(loop->timer_fd);
		free(loop);
		return NULL;
	}
	list_init(&loop->changes);
	list_init(&loop->lates);
	list_init(&loop->late_mark);
	heap_init(&loop->timers);
	loop->now = os_now();
	watch_own(loop);
	return loop;
}

void os_loop_free(struct os_loop *loop)
{
	if (!loop)
		return;
	uv_close((uv_handle_t *)&loop->set_poll, NULL);
	uv_close((uv_handle_t *)&loop->timer_poll, NULL);
	for (size_t i = 0; i < loop->n_signals; i++)
		uv_close((uv_handle_t *)&loop->signals[i].handle, NULL);
	uv_run(&loop->uv, UV_RUN_NOWAIT);
	/* A watch that its owner did not free is our own bug. */
	ASSERT(uv_loop_close(&loop->uv) == 0 && loop->n_watches == 0);
	close(loop->epoll_fd);
	close(loop->timer_fd);
	free(loop);
}

static bool several_cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 1;
}

static bool timer_is_due(const struct os_loop *loop)
{
	const struct heap_node *first = heap_first(&loop->timers);

	return first && first->key <= loop->now;
}

/* Asks until something came; false: in vain, or it does not pay now. */
static bool ask(struct os_loop *loop)
{
	nsec_t from, asked_until;

	if (loop->credit <= 0 && loop->n_short >= N_SHORT)
		loop->credit = CREDIT_MAX / 2;
	if (loop->credit <= 0 || !loop->may_ask)
		return look(loop);
	loop->n_short = 0;
	from = asked_until = os_now();
	do {
		if (look(loop)) {
			loop->waited += asked_until - from;
			loop->credit = MIN(loop->credit + 1, CREDIT_MAX);
			return true;
		}
		asked_until = loop->now;
		if (timer_is_due(loop))
			break;
		sched_yield();
	} while (loop->now - from < ASK_FOR);
	loop->waited += asked_until - from;
	if (timer_is_due(loop))
		return true;
	loop->credit -= 2;
	return false;
}

/* False: there is nothing to do yet. */
static bool coalesce(struct os_loop *loop)
{
	const struct heap_node *first = heap_first(&loop->timers);
	nsec_t span = loop->coalesce, from;
	struct timespec ts;
	bool came;

	loop->coalesce = 0;
	if (span == 0 || look(loop))
		return span != 0;
	from = loop->now;
	if (first)
		span = MIN(span, first->key - MIN(first->key, from));
	if (span == 0)
		return true; /* for the timer, which even the shortest sleep would keep waiting */
	ts = (struct timespec){ 0, (long)MIN(span, NSEC_PER_SEC - 1) };
	nanosleep(&ts, NULL);
	came = look(loop);
	loop->waited += loop->now - from;
	return came;
}

static void run_uv(struct os_loop *loop, uv_run_mode mode)
{
	uv_run(&loop->uv, mode);
	loop->uv_at = loop->now = os_now();
}

static void sleep_till_called(struct os_loop *loop)
{
	nsec_t from = os_now();

	arm(loop);
	run_uv(loop, UV_RUN_ONCE);
	loop->waited += loop->now - from;
	loop->n_short += loop->now - from < SHORT_SLEEP;
}

/* What the callbacks left to do. */
static void end_turn(struct os_loop *loop)
{
	loop->now = os_now();
	run_timers(loop);
	run_lates(loop);
	tell_changes(loop);
}

void os_loop_run(struct os_loop *loop)
{
	loop->may_ask = several_cores();
	loop->uv_at = 0; /* signals of before come first */
	while (!loop->stopped) {
		end_turn(loop);
		if (loop->stopped)
			break;
		if (!list_empty(&loop->lates) || loop->now - loop->uv_at > UV_EVERY)
			run_uv(loop, UV_RUN_NOWAIT);
		else if (!coalesce(loop) && !ask(loop))
			sleep_till_called(loop);
	}
	/* Who says stop may have queued its last words before. */
	run_lates(loop);
	loop->stopped = false;
}

void os_loop_stop(struct os_loop *loop)
{
	loop->stopped = true;
}

/* ---- signals ---- */

static void on_uv_signal(uv_signal_t *handle, int signum)
{
	struct on_signal *s = handle->data;

	s->loop->now = os_now();
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

void os_signals_hold(void)
{
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
}
