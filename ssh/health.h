/*
 * ssh/health.h - is the other end of a connection still there? No I/O: time is an argument.
 *
 * A connection that was silent for HEALTH_ASK_AFTER is asked (a request that the server must answer). Any byte is an answer. None
 * for HEALTH_SILENT: what is about to use it better takes another; none for HEALTH_DEAD: it is dead.
 */
#ifndef SSH_HEALTH_H
#define SSH_HEALTH_H

#include "base/types.h"

#define HEALTH_ASK_AFTER (30 * NSEC_PER_SEC)
#define HEALTH_FRESH (2 * NSEC_PER_SEC) /* heard so lately: a user need not ask first */
#define HEALTH_SILENT (3 * NSEC_PER_SEC)
#define HEALTH_DEAD (15 * NSEC_PER_SEC)

struct ssh_health {
	nsec_t heard;
	nsec_t asked; /* 0: no answer is owed */
};

static inline void ssh_health_heard(struct ssh_health *h, nsec_t now)
{
	h->heard = now;
	h->asked = 0;
}

static inline void ssh_health_asked(struct ssh_health *h, nsec_t now)
{
	h->asked = now;
}

/** ssh_health_wants_ask() - is it time to ask? @to_use: somebody is about to use it */
static inline bool ssh_health_wants_ask(const struct ssh_health *h, nsec_t now, bool to_use)
{
	return !h->asked && now >= h->heard + (to_use ? HEALTH_FRESH : HEALTH_ASK_AFTER);
}

static inline bool ssh_health_is_silent(const struct ssh_health *h, nsec_t now)
{
	return h->asked && now >= h->asked + HEALTH_SILENT;
}

static inline bool ssh_health_is_dead(const struct ssh_health *h, nsec_t now)
{
	return h->asked && now >= h->asked + HEALTH_DEAD;
}

/** ssh_health_next() - when one of these answers changes */
static inline nsec_t ssh_health_next(const struct ssh_health *h, nsec_t now)
{
	if (!h->asked)
		return h->heard + HEALTH_ASK_AFTER;
	return now < h->asked + HEALTH_SILENT ? h->asked + HEALTH_SILENT : h->asked + HEALTH_DEAD;
}

#endif
