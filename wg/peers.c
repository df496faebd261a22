/*
 * wg/peers.c - the peers of a device: by handle and by public key.
 *
 * Peers stand in slots; a handle is slot + 1 in the low half and a generation in the high half, so a handle of a
 * peer that is gone finds nobody, whoever took its slot.
 *
 * Each initiation names its sender by the public key, and whoever knows ours can name any: so they are hashed, with a secret, as
 * keys can be chosen. With 10,000 peers to compare with, a look-up was a fifth of a handshake.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "wg/device_internal.h"

/* ---- by handle ---- */

struct wg_peer *wg_peer_get(const struct wg_device *dev, wg_peer_id id)
{
	uint32_t slot = (uint32_t)id;

	if (slot == 0 || slot > dev->n_slots || dev->generations[slot - 1] != (uint32_t)(id >> 32))
		return NULL;
	return dev->peers[slot - 1];
}

wg_peer_id wg_peer_next(const struct wg_device *dev, wg_peer_id after)
{
	for (size_t i = (uint32_t)after; i < dev->n_slots; i++)
		if (dev->peers[i])
			return dev->peers[i]->id;
	return 0;
}

/* ---- by key ---- */

/* What points to the peer of that key, or to the end of the chain that it would be in. There is at least one chain. */
static struct wg_peer **by_key(const struct wg_device *dev, const uint8_t key[KEY_LEN])
{
	struct wg_peer **at;
	uint64_t hash;

	crypto_shorthash((uint8_t *)&hash, key, KEY_LEN, (const uint8_t *)dev->load.hash_key);
	for (at = &dev->chains[hash & (dev->n_chains - 1)]; *at; at = &(*at)->chain)
		if (memcmp((*at)->key.b, key, KEY_LEN) == 0)
			break;
	return at;
}

struct wg_peer *wg_peer_by_key(const struct wg_device *dev, const uint8_t key[KEY_LEN])
{
	return dev->n_chains ? *by_key(dev, key) : NULL;
}

wg_peer_id wg_peer_find(const struct wg_device *dev, const struct wg_public_key *key)
{
	const struct wg_peer *peer = wg_peer_by_key(dev, key->b);

	return peer ? peer->id : 0;
}

/* ---- coming and going ---- */

/* Twice as many slots, and a chain for each. */
static enum err grow(struct wg_device *dev)
{
	size_t n = dev->n_slots ? dev->n_slots * 2 : 8;
	struct wg_peer **peers = realloc(dev->peers, n * sizeof(struct wg_peer *)), **chains;
	uint32_t *generations;

	if (!peers)
		return ERR_NOMEM;
	dev->peers = peers;
	generations = realloc(dev->generations, n * sizeof(*generations));
	if (!generations)
		return ERR_NOMEM;
	dev->generations = generations;
	chains = calloc(n, sizeof(struct wg_peer *));
	if (!chains)
		return ERR_NOMEM;
	memset(peers + dev->n_slots, 0, (n - dev->n_slots) * sizeof(struct wg_peer *));
	memset(generations + dev->n_slots, 0, (n - dev->n_slots) * sizeof(*generations));
	free(dev->chains);
	dev->chains = chains;
	dev->n_chains = n;
	for (size_t i = 0; i < dev->n_slots; i++) {
		struct wg_peer *peer = dev->peers[i];

		peer->chain = NULL;
		*by_key(dev, peer->key.b) = peer;
	}
	dev->n_slots = n;
	return OK;
}

enum err wg_peers_take(struct wg_device *dev, struct wg_peer *peer)
{
	if (dev->n_peers == dev->n_slots && grow(dev) != OK)
		return ERR_NOMEM;
	while (dev->peers[dev->first_free])
		dev->first_free++;
	dev->peers[dev->first_free] = peer;
	dev->n_peers++;
	peer->id = (uint64_t)++dev->generations[dev->first_free] << 32 | (dev->first_free + 1);
	*by_key(dev, peer->key.b) = peer;
	return OK;
}

void wg_peers_drop(struct wg_device *dev, struct wg_peer *peer)
{
	size_t slot = (uint32_t)peer->id - 1;

	*by_key(dev, peer->key.b) = peer->chain;
	dev->peers[slot] = NULL;
	dev->n_peers--;
	dev->first_free = MIN(dev->first_free, slot);
}

void wg_peers_fini(struct wg_device *dev)
{
	free(dev->chains);
	free(dev->peers);
	free(dev->generations);
}
