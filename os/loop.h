/*
 * os/loop.h - the event loop: readiness of descriptors, nanosecond timers, signals. libuv underneath.
 *
 * One loop a process, one thread. The clock is read once a turn (CLOCK_BOOTTIME: it counts suspend) and
 * passed on. Timers come from one timerfd, so that pacing below 10 ms is exact.
 */
#ifndef OS_LOOP_H
#define OS_LOOP_H

#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/rng.h"
#include "base/types.h"

struct os_loop;

/** os_loop_new() - NULL when out of memory or descriptors */
struct os_loop *os_loop_new(void);
void os_loop_free(struct os_loop *loop);
/** os_loop_run() - until os_loop_stop() */
void os_loop_run(struct os_loop *loop);
void os_loop_stop(struct os_loop *loop);
/** os_loop_now() - the time of this turn */
nsec_t os_loop_now(const struct os_loop *loop);

/**
 * os_loop_coalesce() - what comes within @span may wait to be told together
 *
 * If nothing is to be done at the end of this turn, the loop sleeps for so long (or until a timer is due) and no descriptor wakes it, once. Else
 * each small piece that many send wakes it, at their cost.
 */
void os_loop_coalesce(struct os_loop *loop, nsec_t span);

/** os_loop_waited() - for how long it had nothing to do, asleep or asking in vain, since it was made */
nsec_t os_loop_waited(const struct os_loop *loop);

/** os_now() - CLOCK_BOOTTIME now; os_wall_now() - Unix time now; both ns */
nsec_t os_now(void);
uint64_t os_wall_now(void);
/** os_rng() - the kernel's randomness (getrandom, buffered; dies rather than give weak bytes) */
struct rng *os_rng(void);
/** os_rng_forget() - in a child that was not made by fork(): what was drawn ahead is the parent's */
void os_rng_forget(void);

/* ---- timers: embedded, owned by the caller ---- */
struct os_timer {
	struct os_loop *loop;
	void (*fn)(void *ctx);
	void *ctx;
	struct heap_node node; /* its key is the time */
};
void os_timer_init(struct os_timer *t, struct os_loop *loop, void (*fn)(void *ctx), void *ctx);
/** os_timer_set() - once, at @at (replaces an earlier time); the past is now, behind all that is due; NSEC_NEVER cancels */
void os_timer_set(struct os_timer *t, nsec_t at);
void os_timer_cancel(struct os_timer *t);

/* ---- the end of a turn, after callbacks and timers: where what they queued is sent as one batch ---- */
struct os_late {
	struct os_loop *loop;
	void (*fn)(void *ctx);
	void *ctx;
	struct list link;
};
void os_late_init(struct os_late *l, struct os_loop *loop, void (*fn)(void *ctx), void *ctx);
/** os_late_ask() - call it once, at the end of this turn; asked from within such a call: of the next, which comes at once */
void os_late_ask(struct os_late *l);
void os_late_cancel(struct os_late *l);

/* ---- descriptors ---- */
#define OS_READ 1
#define OS_WRITE 2
#define OS_HANGUP 4 /* delivered with either; error or the other side gone */
struct os_watch;
/** os_watch_new() - call @fn(ctx, events) while @fd is ready for what os_watch_set() asked; not owning @fd */
MUST_CHECK enum err os_watch_new(struct os_loop *loop, int fd, void (*fn)(void *ctx, int events), void *ctx,
				 struct os_watch **ret);
void os_watch_set(struct os_watch *w, int events);
/** os_watch_free() - safe from within its own callback; close the fd afterwards */
void os_watch_free(struct os_watch *w);

/* ---- signals ---- */
/** os_signal_on() - call @fn(ctx, signum) from the loop; kept until the loop is freed */
MUST_CHECK enum err os_signal_on(struct os_loop *loop, int signum, void (*fn)(void *ctx, int signum), void *ctx);
/**
 * os_signals_hold() - SIGTERM, SIGINT and SIGHUP find nobody from here on
 *
 * For a program that is ending in order: with its loop go the functions of os_signal_on(), and one more signal would kill it.
 */
void os_signals_hold(void);

#endif
