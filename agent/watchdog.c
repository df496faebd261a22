/*
 * agent/watchdog.c - see watchdog.h.
 *
 *	state     looks every        a stale look leads to
 *	HEALTHY   60 s               SUSPECT, and a handshake is tried: an idle session has merely run out
 *	SUSPECT   15 s               the second in a row: a rebuild, REBUILT
 *	REBUILT   5, 10, 20 ... s    another rebuild with twice the time; after five without a session COOLING
 *	COOLING   60 s, for 30 min   handshakes alone; then SUSPECT with nothing counted
 *
 * A look that finds a session, or nobody to expect one from, leads to HEALTHY from anywhere; so does the event that a
 * session stands, at once. After a suspend the look that was missed comes first thing, since the clock counts on.
 */
#include "agent/watchdog.h"

static void set_state(struct watchdog *w, enum watchdog_state s, nsec_t deadline)
{
	/* A cooldown follows upon failed rebuilds, a rebuild never upon an untested suspicion. */
	ASSERT(s != WATCHDOG_COOLING || w->state == WATCHDOG_REBUILT || w->state == WATCHDOG_COOLING);
	w->state = s;
	w->deadline = deadline;
}

static void be_healthy(struct watchdog *w, nsec_t now)
{
	w->n_stale = w->n_rebuilds = 0;
	w->rebuild_now = false;
	set_state(w, WATCHDOG_HEALTHY, now + WATCHDOG_TICK_HEALTHY);
}

void watchdog_init(struct watchdog *w, nsec_t now)
{
	*w = (struct watchdog){ 0 };
	be_healthy(w, now);
}

static enum watchdog_action rebuild(struct watchdog *w, nsec_t now)
{
	w->backoff = w->n_rebuilds++ == 0 ? WATCHDOG_BACKOFF_MIN : MIN(2 * w->backoff, WATCHDOG_BACKOFF_MAX);
	w->n_stale = 0;
	w->rebuild_now = false;
	w->last_rebuild = now;
	set_state(w, WATCHDOG_REBUILT, now + w->backoff);
	return WATCHDOG_DO_REBUILD;
}

static enum watchdog_action suspect(struct watchdog *w, nsec_t now)
{
	if (++w->n_stale >= WATCHDOG_N_STALE)
		return rebuild(w, now);
	set_state(w, WATCHDOG_SUSPECT, now + WATCHDOG_TICK_UNHEALTHY);
	return WATCHDOG_DO_NUDGE;
}

static enum watchdog_action rebuild_failed(struct watchdog *w, nsec_t now)
{
	if (w->n_rebuilds < WATCHDOG_N_REBUILDS)
		return rebuild(w, now);
	w->n_rebuilds = 0;
	w->cool_until = now + WATCHDOG_COOLDOWN;
	set_state(w, WATCHDOG_COOLING, now + WATCHDOG_TICK_HEALTHY);
	return WATCHDOG_DO_NUDGE;
}

static enum watchdog_action cool(struct watchdog *w, nsec_t now)
{
	if (now >= w->cool_until)
		return suspect(w, now);
	set_state(w, WATCHDOG_COOLING, nsec_min(now + WATCHDOG_TICK_HEALTHY, w->cool_until));
	return WATCHDOG_DO_NUDGE;
}

enum watchdog_action watchdog_tick(struct watchdog *w, nsec_t now, enum watchdog_seen seen)
{
	if (now < w->deadline)
		return WATCHDOG_DO_NOTHING;
	if (w->rebuild_now && seen != WATCHDOG_SEEN_IDLE)
		return rebuild(w, now);
	if (seen != WATCHDOG_SEEN_STALE) {
		be_healthy(w, now);
		return WATCHDOG_DO_NOTHING;
	}
	switch (w->state) {
	case WATCHDOG_REBUILT:
		return rebuild_failed(w, now);
	case WATCHDOG_COOLING:
		return cool(w, now);
	default:
		return suspect(w, now);
	}
}

void watchdog_session_up(struct watchdog *w, nsec_t now)
{
	be_healthy(w, now);
}

void watchdog_network_changed(struct watchdog *w, nsec_t now)
{
	w->rebuild_now = true;
	if (w->state == WATCHDOG_COOLING)
		w->n_rebuilds = 0;
	w->deadline = w->last_rebuild ? MAX(now, w->last_rebuild + WATCHDOG_BACKOFF_MIN) : now;
}

const char *watchdog_state_name(enum watchdog_state s)
{
	static const char *const names[] = { "healthy", "suspect", "rebuilt", "cooling" };

	return names[s];
}
