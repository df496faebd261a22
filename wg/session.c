/*
 * wg/session.c - the three keypairs of a peer: previous, current, next (6.1 and the kernel's rules).
 *
 * The initiator of a handshake knows that the other side has the keys (it answered), so its new pair becomes
 * current at once. The responder does not know until the first transport message under the new keys: its pair
 * waits as next, and is never used to send before that (key confirmation). The previous pair stays to open what was on its way.
 */
#include <sodium.h>
#include <stdlib.h>

#include "wg/device_internal.h"

static void keypair_end(struct wg_keypair **slot)
{
	struct wg_keypair *kp = *slot;

	if (!kp)
		return;
	*slot = NULL;
	wg_index_drop(kp->peer->dev, kp->local_index);
	sodium_memzero(&kp->keys, sizeof(kp->keys));
	kp->dead = true;
	kp->dead_next = kp->peer->dev->dead;
	kp->peer->dev->dead = kp;
}

void wg_session_bury(struct wg_device *dev)
{
	while (dev->dead) {
		struct wg_keypair *kp = dev->dead;

		dev->dead = kp->dead_next;
		sodium_memzero(kp, sizeof(*kp));
		free(kp);
	}
}

void wg_session_drop_all(struct wg_peer *peer)
{
	keypair_end(&peer->current);
	keypair_end(&peer->previous);
	keypair_end(&peer->next);
}

bool wg_session_usable(const struct wg_keypair *kp, nsec_t now)
{
	return kp && !kp->dead && now - kp->born < wg_scaled(kp->peer->dev, WG_REJECT_AFTER) &&
	       kp->send_counter < WG_REJECT_AFTER_MESSAGES;
}

/* A session may run out unseen, between two timers. */
static void note_gap(struct wg_peer *peer, nsec_t now)
{
	if (!wg_session_usable(peer->current, now))
		peer->after_gap = true;
}

static void install_as_initiator(struct wg_peer *peer, struct wg_keypair *kp)
{
	keypair_end(&peer->previous);
	if (peer->next) {
		peer->previous = peer->next;
		peer->next = NULL;
		keypair_end(&peer->current);
	} else {
		peer->previous = peer->current;
	}
	peer->current = kp;
}

static void install_as_responder(struct wg_peer *peer, struct wg_keypair *kp)
{
	keypair_end(&peer->next);
	keypair_end(&peer->previous);
	peer->next = kp;
}

struct wg_keypair *wg_session_new(struct wg_peer *peer, struct noise *n, uint32_t local_index,
				  uint32_t remote_index, bool initiator, nsec_t now)
{
	struct wg_keypair *kp = calloc(1, sizeof(*kp));
	struct wg_index_entry *e = wg_index_find(peer->dev, local_index);

	if (!kp) {
		noise_clear(n);
		return NULL;
	}
	kp->peer = peer;
	kp->local_index = local_index;
	kp->remote_index = remote_index;
	kp->initiator = initiator;
	kp->born = now;
	noise_split(n, initiator, &kp->keys);
	e->keypair = kp;
	if (initiator) {
		note_gap(peer, now);
		install_as_initiator(peer, kp);
	} else {
		install_as_responder(peer, kp);
	}
	wg_timers_session_derived(peer, now);
	return kp;
}

bool wg_session_confirm(struct wg_peer *peer, struct wg_keypair *kp, nsec_t now)
{
	if (kp != peer->next)
		return false;
	note_gap(peer, now);
	keypair_end(&peer->previous);
	peer->previous = peer->current;
	peer->current = peer->next;
	peer->next = NULL;
	return true;
}
