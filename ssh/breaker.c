/*
 * ssh/breaker.c - see breaker.h.
 *
 * What counts as a failure:
 *   no answer, refused, reset, protocol   counts
 *   login refused                         counts: servers lock out who goes on trying with the wrong key
 *   dropped before it named itself            counts, but opens only when BREAKER_BUSY has passed since the first failure: sshd
 *                                         drops at random when many come at once (MaxStartups), and a retry is right then
 *   host key refused                      does not count: the server is well, and the warning must be seen every time
 *   no algorithm in common                does not count: no login was tried, and what is missing must be seen every time
 *   our own want of memory, a cancel      does not count
 */
#include "ssh/breaker.h"

enum weight { SUCCESS, FAILURE, BUSY, REACHED, NOTHING };

static enum weight weigh(enum err e)
{
	switch (e) {
	case OK:
		return SUCCESS;
	case ERR_CLOSED:
		return BUSY;
	case ERR_HOST_KEY:
	case ERR_ALGORITHM:
		return REACHED;
	case ERR_CANCELLED:
	case ERR_AGAIN:
	case ERR_NOMEM:
	case ERR_FULL:
	case ERR_INTERNAL:
	case ERR_PAUSED:
		return NOTHING;
	default:
		return FAILURE;
	}
}

bool breaker_reset(struct breaker *b)
{
	bool was = b->state != BREAKER_CLOSED;

	*b = (struct breaker){ .state = BREAKER_CLOSED };
	return was;
}

enum breaker_answer breaker_ask(struct breaker *b, nsec_t now)
{
	if (b->state == BREAKER_CLOSED)
		return BREAKER_GO;
	if (b->state == BREAKER_HALF_OPEN)
		return BREAKER_WAIT;
	if (now < b->until)
		return BREAKER_REFUSE;
	b->state = BREAKER_HALF_OPEN;
	return BREAKER_GO;
}

static void open(struct breaker *b, nsec_t now)
{
	nsec_t pause = BREAKER_PAUSE << MIN(b->n_pauses, 10U);

	b->until = now + nsec_min(pause, BREAKER_PAUSE_MAX);
	b->n_pauses++;
	b->state = BREAKER_OPEN;
}

static void count(struct breaker *b, nsec_t now, enum err e)
{
	if (b->n_failures == 0)
		b->first = now;
	b->n_failures++;
	b->last = now;
	b->reason = e;
}

static bool fail_closed(struct breaker *b, nsec_t now, nsec_t began, enum err e, bool busy)
{
	/* It ran beside one that failed already: the same failure. */
	if (b->n_failures > 0 && began < b->last)
		return false;
	count(b, now, e);
	if (b->n_failures < BREAKER_FAILURES || (busy && now < b->first + BREAKER_BUSY))
		return false;
	open(b, now);
	return true;
}

bool breaker_done(struct breaker *b, nsec_t now, nsec_t began, enum err e)
{
	enum weight w = weigh(e);

	if (w == SUCCESS)
		return breaker_reset(b);
	if (b->state == BREAKER_CLOSED)
		return (w == FAILURE || w == BUSY) && fail_closed(b, now, began, e, w == BUSY);
	if (b->state == BREAKER_OPEN)
		return false; /* one from before it opened */
	/* Not the probe, but one from before it: no news. */
	if (began < b->until)
		return false;
	if (w == REACHED)
		return breaker_reset(b);
	if (w == NOTHING) {
		b->state = BREAKER_OPEN; /* with the old time, which has passed */
		return true;
	}
	count(b, now, e);
	open(b, now);
	return true;
}

void breaker_nudge(struct breaker *b, nsec_t now)
{
	bool unreachable = b->reason == ERR_TIMEOUT || b->reason == ERR_NO_ROUTE || b->reason == ERR_UNREACHABLE;

	if (b->state == BREAKER_OPEN && unreachable)
		b->until = nsec_min(b->until, now);
}

const char *breaker_reason(const struct breaker *b)
{
	switch (b->reason) {
	case ERR_TIMEOUT:
	case ERR_NO_ROUTE:
	case ERR_UNREACHABLE:
		return "the host did not answer";
	case ERR_REFUSED:
		return "no SSH server answers there";
	case ERR_AUTH:
		return "the server refused the login";
	case ERR_CLOSED:
		return "the server drops new connections";
	case ERR_RESET:
		return "the connection was lost before the login";
	case ERR_PROTOCOL:
		return "the server does not speak SSH as it should";
	default:
		return err_text(b->reason);
	}
}
