/*
 * ssh/breaker.h - the circuit breaker of one host: after failures in a row, attempts to log in rest for a while.
 *
 *	CLOSED     attempts go on; BREAKER_FAILURES of them failing in a row open it
 *	OPEN       none before @until
 *	HALF_OPEN  one is under way, the probe; others wait for its outcome
 *
 * No I/O: time is an argument. An attempt that breaker_ask() let go must end by one breaker_done().
 */
#ifndef SSH_BREAKER_H
#define SSH_BREAKER_H

#include "base/err.h"
#include "base/types.h"

#define BREAKER_FAILURES 5
#define BREAKER_PAUSE (10 * NSEC_PER_SEC) /* the first; each that follows without a success doubles it */
#define BREAKER_PAUSE_MAX (300 * NSEC_PER_SEC)
#define BREAKER_BUSY (30 * NSEC_PER_SEC) /* a server that drops us unheard is busy, not broken, for so long */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
enum breaker_answer { BREAKER_GO, BREAKER_WAIT, BREAKER_REFUSE };

struct breaker {
	enum breaker_state state;
	unsigned n_failures; /* in a row */
	unsigned n_pauses;   /* since the last success */
	nsec_t first, last;  /* failures that counted */
	nsec_t until;        /* OPEN: the next attempt */
	enum err reason;     /* of the last failure */
};

/** breaker_ask() - may an attempt begin? BREAKER_GO: it has begun. BREAKER_WAIT: ask again after the next breaker_done(). */
enum breaker_answer breaker_ask(struct breaker *b, nsec_t now);
/**
 * breaker_done() - an attempt ended
 * @began: when breaker_ask() let it go. Attempts that ran beside each other fail together, and count once.
 * @e: OK; ERR_HOST_KEY: the server is well, the refusal ours; ERR_CLOSED: dropped before it named itself;
 *     ERR_CANCELLED and our own want of something (ERR_NOMEM ...): says nothing; else a failure.
 * Return: did the state change?
 */
bool breaker_done(struct breaker *b, nsec_t now, nsec_t began, enum err e);
/** breaker_nudge() - the host gave a sign of life: if it was out of reach, the next attempt may begin now */
void breaker_nudge(struct breaker *b, nsec_t now);
/** breaker_reset() - a person says so, or the host is configured anew. Return: was it not closed? */
bool breaker_reset(struct breaker *b);
/** breaker_reason() - what the last failure was, for people; ours, never a server's words */
const char *breaker_reason(const struct breaker *b);

#endif
