/*
 * wg/timers.c - the five timers of a peer, driven by events named after what happened (6 of the paper).
 *
 *  RETRANSMIT     an initiation went out; again every 5 s + jitter, for 90 s
 *  KEEPALIVE      data came in; if nothing goes out in 10 s, an empty message does
 *  NEW_HANDSHAKE  data went out; if nothing comes in within 15 s, the session is suspect
 *  ZERO           a session began; after 540 s without a new one all keys are wiped
 *  PERSISTENT     nothing crossed for the configured time
 */
#include "wg/device_internal.h"

#define N_ATTEMPTS_MAX (WG_REKEY_ATTEMPT / WG_REKEY_TIMEOUT)

static void reschedule(struct wg_peer *peer)
{
	nsec_t first = NSEC_NEVER;

	for (int i = 0; i < WG_N_TIMERS; i++)
		first = nsec_min(first, peer->timer_at[i]);
	if (first == NSEC_NEVER)
		heap_remove(&peer->dev->timers, &peer->timer_node);
	else
		heap_set(&peer->dev->timers, &peer->timer_node, first);
}

static void set(struct wg_peer *peer, enum wg_timer t, nsec_t at)
{
	peer->timer_at[t] = at;
	reschedule(peer);
}

bool wg_timers_is_set(const struct wg_peer *peer, enum wg_timer t)
{
	return peer->timer_at[t] != NSEC_NEVER;
}

void wg_timers_stop(struct wg_peer *peer, enum wg_timer t)
{
	if (wg_timers_is_set(peer, t))
		set(peer, t, NSEC_NEVER);
}

static nsec_t jitter(struct wg_peer *peer)
{
	return wg_scaled(peer->dev, rng_below(peer->dev->cfg.rng, WG_REKEY_JITTER_MAX));
}

void wg_timers_init(struct wg_peer *peer)
{
	heap_node_init(&peer->timer_node);
	for (int i = 0; i < WG_N_TIMERS; i++)
		peer->timer_at[i] = NSEC_NEVER;
}

void wg_timers_fini(struct wg_peer *peer)
{
	heap_remove(&peer->dev->timers, &peer->timer_node);
}

/*
 * Only what we send starts it anew. Other implementations let what comes do it too; with keepalives of both sides one would
 * always be first, and a NAT that goes by outbound packets alone (RFC 4787, REQ-6) would forget the other.
 */
static void restart_persistent(struct wg_peer *peer, nsec_t now)
{
	if (peer->keepalive_s)
		set(peer, WG_TIMER_PERSISTENT, now + wg_scaled(peer->dev, peer->keepalive_s * NSEC_PER_SEC));
}

void wg_timers_data_sent(struct wg_peer *peer, nsec_t now)
{
	if (!wg_timers_is_set(peer, WG_TIMER_NEW_HANDSHAKE))
		set(peer, WG_TIMER_NEW_HANDSHAKE,
		    now + wg_scaled(peer->dev, WG_KEEPALIVE + WG_REKEY_TIMEOUT) + jitter(peer));
}

void wg_timers_data_received(struct wg_peer *peer, nsec_t now)
{
	if (!wg_timers_is_set(peer, WG_TIMER_KEEPALIVE))
		set(peer, WG_TIMER_KEEPALIVE, now + wg_scaled(peer->dev, WG_KEEPALIVE));
	else
		peer->need_another_keepalive = true;
}

void wg_timers_authenticated_sent(struct wg_peer *peer, nsec_t now)
{
	wg_timers_stop(peer, WG_TIMER_KEEPALIVE);
	restart_persistent(peer, now);
}

void wg_timers_authenticated_received(struct wg_peer *peer, nsec_t now)
{
	wg_timers_stop(peer, WG_TIMER_NEW_HANDSHAKE);
}

void wg_timers_handshake_initiated(struct wg_peer *peer, nsec_t now)
{
	set(peer, WG_TIMER_RETRANSMIT, now + wg_scaled(peer->dev, WG_REKEY_TIMEOUT) + jitter(peer));
}

void wg_timers_handshake_complete(struct wg_peer *peer, nsec_t now)
{
	wg_timers_stop(peer, WG_TIMER_RETRANSMIT);
	peer->n_attempts = 0;
	peer->sent_lastminute = false;
	peer->last_handshake = MAX(now, 1ULL);
	peer->last_handshake_wall = now + peer->dev->wall_offset;
}

void wg_timers_session_derived(struct wg_peer *peer, nsec_t now)
{
	set(peer, WG_TIMER_ZERO, now + wg_scaled(peer->dev, 3 * WG_REJECT_AFTER));
}

void wg_timers_keepalive_changed(struct wg_peer *peer, nsec_t now)
{
	if (!peer->keepalive_s) {
		wg_timers_stop(peer, WG_TIMER_PERSISTENT);
		return;
	}
	/* Turning it on is a wish for a mapping now. */
	wg_send_keepalive(peer, now);
	restart_persistent(peer, now);
}

static void on_retransmit(struct wg_peer *peer, nsec_t now)
{
	if (peer->n_attempts >= N_ATTEMPTS_MAX) {
		wg_timers_stop(peer, WG_TIMER_KEEPALIVE);
		wg_handshake_forget(peer);
		wg_send_purge_staged(peer);
		if (!wg_timers_is_set(peer, WG_TIMER_ZERO))
			wg_timers_session_derived(peer, now);
		wg_peer_tell(peer, WG_EVENT_HANDSHAKE_FAILED);
		return;
	}
	peer->n_attempts++;
	peer->path.local.family = IP_NONE;
	wg_handshake_initiate(peer, now, true);
}

static void on_keepalive(struct wg_peer *peer, nsec_t now)
{
	wg_send_keepalive(peer, now);
	if (peer->need_another_keepalive) {
		peer->need_another_keepalive = false;
		set(peer, WG_TIMER_KEEPALIVE, now + wg_scaled(peer->dev, WG_KEEPALIVE));
	}
}

static void on_zero(struct wg_peer *peer)
{
	wg_handshake_forget(peer);
	wg_session_drop_all(peer);
}

static void fire(struct wg_peer *peer, enum wg_timer t, nsec_t now)
{
	switch (t) {
	case WG_TIMER_RETRANSMIT:
		on_retransmit(peer, now);
		break;
	case WG_TIMER_KEEPALIVE:
		on_keepalive(peer, now);
		break;
	case WG_TIMER_NEW_HANDSHAKE:
		peer->path.local.family = IP_NONE;
		wg_handshake_initiate(peer, now, false);
		break;
	case WG_TIMER_ZERO:
		on_zero(peer);
		break;
	case WG_TIMER_PERSISTENT:
		wg_send_keepalive(peer, now);
		restart_persistent(peer, now);
		break;
	case WG_N_TIMERS:
		break;
	}
}

void wg_timers_run(struct wg_peer *peer, nsec_t now)
{
	for (int i = 0; i < WG_N_TIMERS; i++) {
		if (peer->timer_at[i] > now)
			continue;
		set(peer, (enum wg_timer)i, NSEC_NEVER);
		fire(peer, (enum wg_timer)i, now);
	}
	wg_peer_tell_state(peer, now);
}
