/*
 * wg/device.c - the device: its key, its peers, its events. It routes; the work is in the other files.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "wg/device_internal.h"

/* ---- keys ---- */

void wg_public_from_private(const struct wg_private_key *priv, struct wg_public_key *ret)
{
	uint8_t clamped[KEY_LEN];

	memcpy(clamped, priv->b, KEY_LEN);
	noise_clamp(clamped);
	noise_pub(clamped, ret->b);
	sodium_memzero(clamped, sizeof(clamped));
}

void wg_generate_private(struct rng *rng, struct wg_private_key *ret)
{
	rng_bytes(rng, ret->b, KEY_LEN);
	noise_clamp(ret->b);
}

bool wg_public_key_is_valid(const struct wg_public_key *k)
{
	/* A multiple of 8 takes every low-order point to zero, which libsodium refuses. */
	static const uint8_t eight[KEY_LEN] = { 8 };
	uint8_t out[KEY_LEN];

	return crypto_scalarmult_curve25519(out, eight, k->b) == 0;
}

const struct wg_public_key *wg_device_public(const struct wg_device *dev)
{
	return (const struct wg_public_key *)dev->self.pub;
}

const struct wg_private_key *wg_device_private(const struct wg_device *dev)
{
	return (const struct wg_private_key *)dev->self.priv;
}

wg_peer_id wg_route(const struct wg_device *dev, const struct ip_addr *dst)
{
	const struct wg_peer *peer = wg_allowedips_lookup(&dev->allowed, dst);

	return peer ? peer->id : 0;
}

/* ---- events ---- */

void wg_device_tell(struct wg_device *dev, enum wg_event_kind kind)
{
	dev->news.kinds |= 1u << kind;
}

void wg_peer_tell(struct wg_peer *peer, enum wg_event_kind kind)
{
	/* The later of the two is how it is. */
	if (kind == WG_EVENT_SESSION_UP || kind == WG_EVENT_SESSION_DOWN)
		peer->news.kinds &= ~(1u << WG_EVENT_SESSION_UP | 1u << WG_EVENT_SESSION_DOWN);
	peer->news.kinds |= 1u << kind;
	if (list_empty(&peer->news.link))
		list_add_tail(&peer->dev->news.link, &peer->news.link);
}

static enum wg_event_kind take_first(unsigned *kinds)
{
	enum wg_event_kind first = (enum wg_event_kind)__builtin_ctz(*kinds);

	*kinds &= *kinds - 1;
	return first;
}

bool wg_device_next_event(struct wg_device *dev, struct wg_event *ret)
{
	struct list *first = list_first(&dev->news.link);
	struct wg_peer *peer;

	if (dev->news.kinds) {
		*ret = (struct wg_event){ .kind = take_first(&dev->news.kinds),
					  .timestamp = dev->last_timestamp,
					  .on = dev->stats.under_load };
		return true;
	}
	if (!first)
		return false;
	peer = container_of(first, struct wg_peer, news.link);
	*ret = (struct wg_event){ .kind = take_first(&peer->news.kinds), .peer = peer->id, .endpoint = peer->path.remote };
	if (!peer->news.kinds)
		list_del(first);
	return true;
}

void wg_peer_tell_state(struct wg_peer *peer, nsec_t now)
{
	bool up = wg_session_usable(peer->current, now);

	if (up == peer->told_up && !(up && peer->after_gap))
		return;
	/* A gap that a handshake is about to close is not told. */
	if (!up && peer->handshake_index != 0)
		return;
	peer->told_up = up;
	peer->after_gap = false;
	wg_peer_tell(peer, up ? WG_EVENT_SESSION_UP : WG_EVENT_SESSION_DOWN);
}

void wg_peer_roam(struct wg_peer *peer, const struct path_addr *path)
{
	bool moved = !endpoint_equal(&peer->path.remote, &path->remote);

	peer->path = *path;
	peer->heard_at = (struct path_addr){ 0 };
	if (moved)
		wg_peer_tell(peer, WG_EVENT_ENDPOINT);
}

/* ---- life ---- */

struct wg_device *wg_device_new(const struct wg_config *cfg, nsec_t now, uint64_t wall_ns)
{
	struct wg_device *dev = calloc(1, sizeof(*dev));

	if (!dev || sodium_init() < 0)
		goto fail;
	dev->cfg = *cfg;
	dev->cfg.mtu = cfg->mtu ? cfg->mtu : WG_MTU_DEFAULT;
	dev->cfg.n_peers_max = cfg->n_peers_max ? cfg->n_peers_max : 65536;
	dev->cfg.tx_bytes_max = cfg->tx_bytes_max ? cfg->tx_bytes_max : 1u << 20;
	dev->cfg.time_scale = cfg->time_scale ? cfg->time_scale : 1;
	dev->aead = wg_aead_find(cfg->aead);
	if (!dev->aead || dev->cfg.mtu < WG_MTU_MIN || dev->cfg.mtu > WG_MTU_MAX)
		goto fail;
	dev->last_timestamp = cfg->timestamp_watermark;
	dev->clock = now;
	dev->rx_last = &dev->rx_first;
	rng_bytes(cfg->rng, dev->load.hash_key, sizeof(dev->load.hash_key));
	list_init(&dev->runs);
	list_init(&dev->free_runs);
	list_init(&dev->to_lend);
	list_init(&dev->news.link);
	heap_init(&dev->timers);
	wg_device_set_wall(dev, now, wall_ns);
	return dev;
fail:
	free(dev);
	return NULL;
}

void wg_device_free(struct wg_device *dev)
{
	struct wg_rx rx;

	if (!dev)
		return;
	for (size_t i = 0; i < dev->n_slots; i++)
		if (dev->peers[i])
			wg_peer_remove(dev, dev->peers[i]->id);
	while (wg_device_next_rx(dev, &rx))
		pktbuf_free(rx.pb);
	wg_session_bury(dev);
	wg_send_fini(dev);
	wg_load_fini(&dev->load);
	wg_allowedips_fini(&dev->allowed);
	free(dev->indices.slots);
	wg_peers_fini(dev);
	sodium_memzero(dev, sizeof(*dev));
	free(dev);
}

void wg_device_set_wall(struct wg_device *dev, nsec_t now, uint64_t wall_ns)
{
	dev->wall_offset = wall_ns - now;
}

bool wg_device_set_aead(struct wg_device *dev, const char *name)
{
	const struct wg_aead *aead = wg_aead_find(name);

	if (aead)
		dev->aead = aead;
	return aead;
}

bool wg_device_open_lane(struct wg_device *dev, unsigned lane)
{
	return lane < WG_AEAD_LANES && (!dev->aead->open_lane || dev->aead->open_lane(lane));
}

const char *wg_device_aead(const struct wg_device *dev)
{
	return dev->aead->name;
}

void wg_device_set_private(struct wg_device *dev, const struct wg_private_key *priv, nsec_t now)
{
	struct wg_peer *ourselves;

	dev->clock = now;
	sodium_memzero(&dev->self, sizeof(dev->self));
	dev->has_key = priv != NULL;
	if (priv) {
		memcpy(dev->self.priv, priv->b, KEY_LEN);
		noise_clamp(dev->self.priv);
		noise_pub(dev->self.priv, dev->self.pub);
		ourselves = wg_peer_by_key(dev, dev->self.pub);
		if (ourselves)
			wg_peer_remove(dev, ourselves->id);
	}
	wg_cookie_checker_init(&dev->checker, dev->self.pub);
	for (size_t i = 0; i < dev->n_slots; i++) {
		struct wg_peer *peer = dev->peers[i];

		if (!peer)
			continue;
		wg_handshake_forget(peer);
		wg_session_drop_all(peer);
		sodium_memzero(&peer->shared, sizeof(peer->shared));
		peer->last_initiation_sent = 0;
		if (peer->n_staged > 0)
			wg_handshake_initiate(peer, now, false);
		wg_peer_tell_state(peer, now);
	}
	wg_session_bury(dev);
}

/* ---- peers ---- */

enum err wg_peer_add(struct wg_device *dev, const struct wg_public_key *key, nsec_t now, wg_peer_id *ret)
{
	struct wg_peer *peer;

	dev->clock = now;
	if (dev->has_key && memcmp(key->b, dev->self.pub, KEY_LEN) == 0)
		return ERR_INVALID;
	if (wg_peer_by_key(dev, key->b))
		return ERR_EXISTS;
	if (dev->n_peers >= dev->cfg.n_peers_max)
		return ERR_FULL;
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return ERR_NOMEM;
	peer->dev = dev;
	peer->key = *key;
	peer->low_order = !wg_public_key_is_valid(key);
	list_init(&peer->staged);
	list_init(&peer->news.link);
	wg_cookie_maker_init(&peer->cookie, key->b);
	wg_timers_init(peer);
	if (wg_peers_take(dev, peer) != OK) {
		free(peer);
		return ERR_NOMEM;
	}
	*ret = peer->id;
	return OK;
}

void wg_peer_remove(struct wg_device *dev, wg_peer_id id)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	if (!peer)
		return;
	wg_timers_fini(peer);
	list_del(&peer->news.link);
	wg_send_forget_peer(peer);
	wg_handshake_forget(peer);
	wg_session_drop_all(peer);
	wg_session_bury(dev);
	wg_allowedips_remove_all(&dev->allowed, peer);
	pktbuf_disown_all(dev->cfg.pool, &peer->owner);
	wg_peers_drop(dev, peer);
	sodium_memzero(peer, sizeof(*peer));
	free(peer);
}

void wg_peer_set_psk(struct wg_device *dev, wg_peer_id id, const struct wg_psk *psk)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	if (peer)
		peer->psk = *psk;
}

void wg_peer_set_endpoint(struct wg_device *dev, wg_peer_id id, const struct endpoint *ep, nsec_t now)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	if (!peer)
		return;
	peer->path = (struct path_addr){ .remote = *ep };
	if (peer->handshake_index == 0 && peer->n_staged == 0)
		return;
	/* An attempt under way went to the old place. */
	peer->last_initiation_sent = 0;
	wg_handshake_initiate(peer, now, false);
}

void wg_peer_clear_src(struct wg_device *dev, wg_peer_id id)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	if (!peer)
		return;
	peer->path.local = (struct ip_addr){ 0 };
	peer->path.ifindex = 0;
	list_for_each(it, &dev->runs) {
		struct wg_run *run = container_of(it, struct wg_run, link);

		if (run->peer != peer)
			continue;
		/* Only the source: an initiation may be for another place than the peer's endpoint. */
		run->path.local = peer->path.local;
		run->path.ifindex = 0;
	}
}

void wg_peer_set_keepalive(struct wg_device *dev, wg_peer_id id, uint16_t seconds, nsec_t now)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	dev->clock = now;
	if (!peer || peer->keepalive_s == seconds)
		return;
	peer->keepalive_s = seconds;
	wg_timers_keepalive_changed(peer, now);
}

enum err wg_peer_allow(struct wg_device *dev, wg_peer_id id, const struct ip_prefix *p)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	return peer ? wg_allowedips_insert(&dev->allowed, p, peer) : ERR_NOT_FOUND;
}

void wg_peer_clear_allowed(struct wg_device *dev, wg_peer_id id)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	if (peer)
		wg_allowedips_remove_all(&dev->allowed, peer);
}

void wg_peer_connect(struct wg_device *dev, wg_peer_id id, nsec_t now)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	dev->clock = now;
	if (peer && !wg_session_usable(peer->current, now))
		wg_handshake_initiate(peer, now, false);
}

void wg_peer_rehandshake(struct wg_device *dev, wg_peer_id id, nsec_t now)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	dev->clock = now;
	if (peer)
		wg_handshake_initiate(peer, now, false);
}

void wg_peer_send_keepalive(struct wg_device *dev, wg_peer_id id, nsec_t now)
{
	struct wg_peer *peer = wg_peer_get(dev, id);

	dev->clock = now;
	if (peer && wg_session_usable(peer->current, now))
		wg_send_keepalive(peer, now);
}

bool wg_peer_is_up(const struct wg_device *dev, wg_peer_id id, nsec_t now)
{
	const struct wg_peer *peer = wg_peer_get(dev, id);

	return peer && wg_session_usable(peer->current, now);
}

bool wg_peer_get_info(const struct wg_device *dev, wg_peer_id id, nsec_t now, struct wg_peer_info *ret)
{
	const struct wg_peer *peer = wg_peer_get(dev, id);

	if (!peer)
		return false;
	*ret = (struct wg_peer_info){
		.key = peer->key,
		.psk = peer->psk,
		.endpoint = peer->path.remote,
		.keepalive_s = peer->keepalive_s,
		.last_handshake = peer->last_handshake,
		.last_handshake_wall = peer->last_handshake_wall,
		.last_timestamp = wg_peer_last_timestamp(peer),
		.rx_bytes = peer->rx_bytes,
		.tx_bytes = peer->tx_bytes,
		.n_bad_source = peer->n_bad_source,
		.n_replayed = peer->n_replayed,
		.n_auth_failed = peer->n_auth_failed,
		.n_staged = peer->n_staged,
		.is_up = wg_session_usable(peer->current, now),
	};
	return true;
}

size_t wg_peer_get_allowed(const struct wg_device *dev, wg_peer_id id, size_t skip, struct ip_prefix *ret, size_t max)
{
	const struct wg_peer *peer = wg_peer_get(dev, id);

	return peer ? wg_allowedips_list(&dev->allowed, peer, skip, ret, max) : 0;
}

/* ---- time ---- */

nsec_t wg_device_deadline(const struct wg_device *dev)
{
	const struct heap_node *first = heap_first(&dev->timers);

	return first ? first->key : NSEC_NEVER;
}

void wg_device_expire(struct wg_device *dev, nsec_t now)
{
	struct heap_node *first;

	dev->clock = now;
	while ((first = heap_first(&dev->timers)) && first->key <= now)
		wg_timers_run(container_of(first, struct wg_peer, timer_node), now);
	wg_session_bury(dev);
}

void wg_device_get_stats(const struct wg_device *dev, struct wg_device_stats *ret)
{
	*ret = dev->stats;
	ret->under_load = wg_load_is_high(&dev->load, dev->clock);
}
