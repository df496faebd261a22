/*
 * agent/watchdog.h - when a dead tunnel is rebuilt: a machine without clock, socket or log.
 *
 * Its caller looks at the peers when the deadline is reached and tells what it saw; the answer says what to do. Nothing
 * here ever gives up for good.
 */
#ifndef AGENT_WATCHDOG_H
#define AGENT_WATCHDOG_H

#include "base/types.h"

#define WATCHDOG_STALE (180 * NSEC_PER_SEC)        /* a handshake older than WireGuard's reject-after time */
#define WATCHDOG_TICK_HEALTHY (60 * NSEC_PER_SEC)
#define WATCHDOG_TICK_UNHEALTHY (15 * NSEC_PER_SEC)
#define WATCHDOG_N_STALE 2                         /* stale cycles in a row that trigger a rebuild */
#define WATCHDOG_BACKOFF_MIN (5 * NSEC_PER_SEC)    /* what a rebuild gets to bring a session; doubles */
#define WATCHDOG_BACKOFF_MAX (300 * NSEC_PER_SEC)
#define WATCHDOG_N_REBUILDS 5                      /* failed in a row before the cooldown */
#define WATCHDOG_COOLDOWN (1800 * NSEC_PER_SEC)

enum watchdog_seen {
	WATCHDOG_SEEN_ALIVE, /* a peer has a session that is not stale */
	WATCHDOG_SEEN_STALE, /* every peer that should answer is stale */
	WATCHDOG_SEEN_IDLE,  /* nobody is expected to answer: only peers that dial in, and nothing waits to be sent */
};

enum watchdog_action {
	WATCHDOG_DO_NOTHING,
	WATCHDOG_DO_NUDGE,   /* start handshakes with the stale peers */
	WATCHDOG_DO_REBUILD,
};

enum watchdog_state { WATCHDOG_HEALTHY, WATCHDOG_SUSPECT, WATCHDOG_REBUILT, WATCHDOG_COOLING };

struct watchdog {
	enum watchdog_state state;
	unsigned n_stale;   /* cycles in a row */
	unsigned n_rebuilds; /* since the last session */
	nsec_t backoff;     /* what the last rebuild got */
	nsec_t cool_until;
	nsec_t last_rebuild; /* 0 = never */
	nsec_t deadline;
	bool rebuild_now;
};

void watchdog_init(struct watchdog *w, nsec_t now);
/** watchdog_tick() - at the deadline (calls before it give DO_NOTHING) */
enum watchdog_action watchdog_tick(struct watchdog *w, nsec_t now, enum watchdog_seen seen);
/** watchdog_session_up() - a session stands: whatever was suspected is over */
void watchdog_session_up(struct watchdog *w, nsec_t now);
/**
 * watchdog_network_changed() - the next tick, due at once, rebuilds: whatever failed before was another network
 *
 * Not within WATCHDOG_BACKOFF_MIN of the last rebuild: a network that flaps is looked at when that is over.
 */
void watchdog_network_changed(struct watchdog *w, nsec_t now);
static inline nsec_t watchdog_deadline(const struct watchdog *w)
{
	return w->deadline;
}
const char *watchdog_state_name(enum watchdog_state s);

#endif
