/*
 * os/crew.h - threads that do pieces of the loop's work: handed over in order, taken back by the loop where they are late.
 *
 * The loop's thread alone calls these functions. A piece is a call of the crew's function with an argument that the caller
 * keeps alive and lets alone until the piece is done or taken back; the function only computes: no lock, no allocation, no
 * system call, so that a child of fork() finds none of a crew's locks taken, and nothing it could need is held. What it wrote is
 * seen by the loop once os_crew_is_done() said yes.
 */
#ifndef OS_CREW_H
#define OS_CREW_H

#include "base/err.h"
#include "os/loop.h"

#define OS_CREW_PIECES 16 /* at once */
#define OS_CREW_THREADS_MAX 8

struct os_crew;
struct os_crew_piece;

struct os_crew_config {
	unsigned n_threads;
	/* @thread: 1 to n_threads */
	void (*work)(void *arg, unsigned thread);
	/* From the loop, some time after a piece is done that os_crew_call() was asked for. */
	void (*on_done)(void *ctx);
	void *ctx;
};

/** os_crew_new() - start them. ERR_NOMEM, ERR_FULL (no descriptor), ERR_UNSUPPORTED (no thread to be had). */
MUST_CHECK enum err os_crew_new(struct os_loop *loop, const struct os_crew_config *cfg, struct os_crew **ret);
/** os_crew_free() - end them; each piece must be done or taken back */
void os_crew_free(struct os_crew *crew);

/** os_crew_hand() - Return: NULL: as many as possible are on their way */
struct os_crew_piece *os_crew_hand(struct os_crew *crew, void *arg);
/** os_crew_take_back() - true: nobody had begun it, the caller does it, and @p is gone */
bool os_crew_take_back(struct os_crew *crew, struct os_crew_piece *p);
/** os_crew_is_done() - true: @p is gone */
bool os_crew_is_done(struct os_crew *crew, struct os_crew_piece *p);
/** os_crew_call() - have on_done() called once a piece is done; once for each time. Ask is_done() again after: one may just have been. */
void os_crew_call(struct os_crew *crew);
/** os_crew_handed() - when was @p handed over? */
nsec_t os_crew_handed(const struct os_crew_piece *p);

struct os_crew_stats {
	uint64_t n_handed, n_done, n_taken_back;
	uint64_t n_late; /* done more than OS_CREW_LATE after they were handed over: a thread waited for a core */
	nsec_t delay;    /* from handing over to the begin, the sum of all that are done */
	nsec_t work;     /* from begin to end, as well */
};
#define OS_CREW_LATE NSEC_PER_MSEC
void os_crew_get_stats(const struct os_crew *crew, struct os_crew_stats *ret);

#endif
