/*
 * wg/handshake.c - the three handshake messages, in and out (5.4.2, 5.4.3, 5.4.7).
 *
 * Our own initiation under way lives in the peer; answering one needs no state, so that two sides that initiate at the
 * same moment both end with sessions. Nothing of a message is committed before it is authentic, and a responder's
 * work is bounded: MAC1 first, then load, then one DH until the static key is known.
 */
#include <sodium.h>
#include <string.h>

#include "base/endian.h"
#include "wg/device_internal.h"

static const char prologue[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
#define TAI64_BASE (0x400000000000000aULL)
#define N_INITIATIONS_AT_ONCE 8U

static struct bytes wg_prologue(void)
{
	return (struct bytes){ (const uint8_t *)prologue, sizeof(prologue) - 1 };
}

/* ---- initiating ---- */

/* max(clock, last sent + 1): a clock that jumps back does not lock us out. */
static void next_timestamp(struct wg_device *dev, nsec_t now, uint8_t out[WG_TIMESTAMP_LEN])
{
	uint64_t t = MAX(now + dev->wall_offset, dev->last_timestamp + 1);

	dev->last_timestamp = t;
	put_be64(out, TAI64_BASE + t / NSEC_PER_SEC);
	put_be32(out + 8, (uint32_t)(t % NSEC_PER_SEC));
	wg_device_tell(dev, WG_EVENT_TIMESTAMP);
}

void wg_device_raise_timestamp(struct wg_device *dev, uint64_t timestamp)
{
	/* Beyond the year 2262 it is nonsense, and would leave no room. */
	if (timestamp <= INT64_MAX)
		dev->last_timestamp = MAX(dev->last_timestamp, timestamp);
}

uint64_t wg_peer_last_timestamp(const struct wg_peer *peer)
{
	uint64_t sec = peer->latest_timestamp[0] - TAI64_BASE;

	return peer->latest_timestamp[0] < TAI64_BASE || sec > INT64_MAX / NSEC_PER_SEC ? 0 :
	       sec * NSEC_PER_SEC + peer->latest_timestamp[1];
}

void wg_handshake_forget(struct wg_peer *peer)
{
	if (peer->handshake_index)
		wg_index_drop(peer->dev, peer->handshake_index);
	peer->handshake_index = 0;
	noise_clear(&peer->handshake);
}

static bool create_initiation(struct wg_peer *peer, nsec_t now, struct wg_msg_initiation *msg)
{
	struct wg_device *dev = peer->dev;
	uint8_t ephemeral[KEY_LEN], timestamp[WG_TIMESTAMP_LEN];
	uint32_t index;
	bool ok;

	wg_handshake_forget(peer);
	if (wg_index_new(dev, peer, NULL, &index) != OK)
		return false;
	rng_bytes(dev->cfg.rng, ephemeral, sizeof(ephemeral));
	noise_clamp(ephemeral);
	next_timestamp(dev, now, timestamp);
	memset(msg, 0, sizeof(*msg));
	msg->type[0] = WG_MSG_INITIATION;
	put_le32(msg->sender, index);
	noise_start(&peer->handshake, wg_prologue(), peer->key.b);
	ok = noise_write_1(&peer->handshake, &dev->self, peer->key.b, &peer->shared, ephemeral,
			   (struct bytes){ timestamp, sizeof(timestamp) }, msg->ephemeral, msg->static_key,
			   msg->timestamp);
	sodium_memzero(ephemeral, sizeof(ephemeral));
	peer->handshake_index = index;
	if (!ok)
		wg_handshake_forget(peer);
	return ok;
}

/* To the peer's endpoint, and to where it was heard from with a timestamp that was refused. */
static void send_initiation(struct wg_peer *peer, const struct wg_msg_initiation *msg)
{
	struct wg_device *dev = peer->dev;
	const struct endpoint *known = &peer->path.remote, *heard = &peer->heard_at.remote;

	if (endpoint_is_set(known))
		wg_send_message(dev, peer, &peer->path, msg, sizeof(*msg));
	if (endpoint_is_set(heard) && !endpoint_equal(heard, known))
		wg_send_message(dev, peer, &peer->heard_at, msg, sizeof(*msg));
}

void wg_handshake_initiate(struct wg_peer *peer, nsec_t now, bool is_retry)
{
	struct wg_device *dev = peer->dev;
	struct wg_msg_initiation msg;

	if (!is_retry)
		peer->n_attempts = 0;
	if (!dev->has_key || peer->low_order ||
	    !(endpoint_is_set(&peer->path.remote) || endpoint_is_set(&peer->heard_at.remote)))
		return;
	if (peer->last_initiation_sent &&
	    now - peer->last_initiation_sent < wg_scaled(dev, WG_REKEY_TIMEOUT))
		return;
	peer->last_initiation_sent = MAX(now, 1ULL);
	/* First: without memory for this one there is another. */
	wg_timers_handshake_initiated(peer, now);
	if (!create_initiation(peer, now, &msg))
		return;
	wg_cookie_sign(&peer->cookie, now, (uint8_t *)&msg, sizeof(msg));
	dev->stats.n_handshakes_out++;
	send_initiation(peer, &msg);
	wg_timers_authenticated_sent(peer, now);
}

/* ---- responding ---- */

/* Strictly greater than the last one accepted from this peer (5.1). */
static bool timestamp_is_new(const struct wg_peer *peer, const uint8_t t[WG_TIMESTAMP_LEN])
{
	uint64_t sec = get_be64(t), nsec = get_be32(t + 8);

	return sec > peer->latest_timestamp[0] ||
	       (sec == peer->latest_timestamp[0] && nsec > peer->latest_timestamp[1]);
}

static void respond(struct wg_peer *peer, struct noise *n, nsec_t now, const struct wg_msg_initiation *in,
		    const struct path_addr *path)
{
	struct wg_device *dev = peer->dev;
	struct wg_msg_response msg = { .type = { WG_MSG_RESPONSE } };
	uint8_t ephemeral[KEY_LEN];
	uint32_t index;
	bool ok;

	if (wg_index_new(dev, peer, NULL, &index) != OK)
		return;
	put_le32(msg.sender, index);
	memcpy(msg.receiver, in->sender, 4);
	rng_bytes(dev->cfg.rng, ephemeral, sizeof(ephemeral));
	noise_clamp(ephemeral);
	ok = noise_write_2(n, peer->key.b, peer->psk.b, ephemeral, (struct bytes){ NULL, 0 }, msg.ephemeral,
			   msg.empty);
	sodium_memzero(ephemeral, sizeof(ephemeral));
	if (!ok || !wg_session_new(peer, n, index, get_le32(in->sender), false, now)) {
		wg_index_drop(dev, index);
		return;
	}
	wg_cookie_sign(&peer->cookie, now, (uint8_t *)&msg, sizeof(msg));
	wg_send_message(dev, peer, path, &msg, sizeof(msg));
	wg_timers_authenticated_sent(peer, now);
}

/* Return: the known peer that sent it, its payload authentic; NULL otherwise. */
static struct wg_peer *read_initiation(struct wg_device *dev, struct noise *n, const struct wg_msg_initiation *msg,
				       uint8_t timestamp[WG_TIMESTAMP_LEN])
{
	uint8_t key[KEY_LEN];
	struct wg_peer *peer;

	noise_start(n, wg_prologue(), dev->self.pub);
	if (!noise_read_1_static(n, &dev->self, msg->ephemeral, msg->static_key, key))
		return NULL;
	peer = wg_peer_by_key(dev, key);
	if (!peer || !noise_read_1_payload(n, &dev->self, key, &peer->shared,
					   (struct bytes){ msg->timestamp, sizeof(msg->timestamp) }, timestamp))
		return NULL;
	return peer;
}

/*
 * 50 a second, and a few at once: commands that follow each other within milliseconds, each with a tunnel of its own, are no
 * flood, and one that is dropped costs them 5 s.
 */
static bool may_initiate(struct wg_peer *peer, nsec_t now)
{
	if (peer->initiations_paid > now + N_INITIATIONS_AT_ONCE * WG_INITIATION_MIN_INTERVAL)
		return false;
	peer->initiations_paid = MAX(peer->initiations_paid, now) + WG_INITIATION_MIN_INTERVAL;
	return true;
}

/* Return: was it a known peer's and fresh? */
static bool consume_initiation(struct wg_device *dev, nsec_t now, const struct wg_datagram *d)
{
	const struct wg_msg_initiation *msg = (const struct wg_msg_initiation *)d->p;
	uint8_t timestamp[WG_TIMESTAMP_LEN];
	struct noise n;
	struct wg_peer *peer = read_initiation(dev, &n, msg, timestamp);
	bool fresh = false;

	if (!peer)
		goto out;
	if (!timestamp_is_new(peer, timestamp)) {
		/*
		 * It may be honest, with a clock that was set back while we were away: call it ourselves. It may also be an
		 * old one: so the peer is called where it was, and where this came from, and only while it does not answer.
		 */
		if (!wg_session_usable(peer->current, now) || peer->handshake_index != 0) {
			peer->heard_at = *d->path;
			wg_handshake_initiate(peer, now, false);
		}
		goto out;
	}
	if (!may_initiate(peer, now))
		goto out;
	fresh = true;
	peer->latest_timestamp[0] = get_be64(timestamp);
	peer->latest_timestamp[1] = get_be32(timestamp + 8);
	peer->rx_bytes += d->len;
	dev->stats.n_handshakes_in++;
	wg_peer_roam(peer, d->path);
	wg_timers_authenticated_received(peer, now);
	respond(peer, &n, now, msg, d->path);
out:
	noise_clear(&n);
	return fresh;
}

/* ---- our initiation is answered ---- */

static void consume_response(struct wg_device *dev, nsec_t now, const struct wg_datagram *d)
{
	const struct wg_msg_response *msg = (const struct wg_msg_response *)d->p;
	struct wg_index_entry *e = wg_index_find(dev, get_le32(msg->receiver));
	struct wg_peer *peer = e && !e->keypair ? e->peer : NULL;
	uint32_t index;

	if (!peer || peer->handshake_index != e->index)
		return;
	if (!noise_read_2(&peer->handshake, &dev->self, peer->psk.b, msg->ephemeral,
			  (struct bytes){ msg->empty, sizeof(msg->empty) }, NULL)) {
		peer->n_auth_failed++;
		return;
	}
	index = peer->handshake_index;
	peer->handshake_index = 0;
	if (!wg_session_new(peer, &peer->handshake, index, get_le32(msg->sender), true, now)) {
		wg_index_drop(dev, index);
		return;
	}
	peer->rx_bytes += d->len;
	wg_peer_roam(peer, d->path);
	wg_timers_authenticated_received(peer, now);
	wg_timers_handshake_complete(peer, now);
	/* The first message under the new keys confirms them to the responder. */
	if (peer->n_staged == 0)
		wg_send_keepalive(peer, now);
	else
		wg_send_staged(peer, now);
	wg_peer_tell_state(peer, now);
}

static void consume_cookie(struct wg_device *dev, nsec_t now, const struct wg_datagram *d)
{
	const struct wg_msg_cookie *msg = (const struct wg_msg_cookie *)d->p;
	struct wg_index_entry *e = wg_index_find(dev, get_le32(msg->receiver));

	/* No roaming, no timer: a cookie says nothing of where the peer is. */
	if (e && wg_cookie_consume(&e->peer->cookie, now, msg))
		e->peer->rx_bytes += d->len;
}

/* ---- admission ---- */

static void send_cookie(struct wg_device *dev, nsec_t now, const struct wg_datagram *d)
{
	struct wg_msg_cookie msg;

	wg_cookie_reply(&dev->checker, now, dev->cfg.rng, d->p, d->len, d->p + 4, &d->path->remote, &msg);
	dev->stats.n_rx_cookie_sent++;
	wg_send_message(dev, NULL, d->path, &msg, sizeof(msg));
}

/* MAC1, and under load MAC2 and the source's share. Return: may it be worked on? */
static bool admit(struct wg_device *dev, nsec_t now, const struct wg_datagram *d, bool *ret_charged)
{
	enum wg_mac_state mac = wg_cookie_check(&dev->checker, now, dev->cfg.rng, d->p, d->len, &d->path->remote);
	bool was_high = dev->stats.under_load, limited, high;

	*ret_charged = false;
	if (mac == WG_MAC_INVALID) {
		dev->stats.n_rx_bad_mac1++;
		return false;
	}
	limited = wg_load_count(&dev->load, now, &d->path->remote.ip);
	high = wg_load_is_high(&dev->load, now);
	if (high != was_high) {
		dev->stats.under_load = high;
		wg_device_tell(dev, WG_EVENT_UNDER_LOAD);
	}
	if (!limited)
		return true;
	if (mac != WG_MAC_PROVEN) {
		send_cookie(dev, now, d);
		return false;
	}
	*ret_charged = wg_load_take(&dev->load, now, &d->path->remote.ip);
	if (!*ret_charged)
		dev->stats.n_rx_handshake_dropped++;
	return *ret_charged;
}

void wg_handshake_input(struct wg_device *dev, nsec_t now, const struct wg_datagram *d)
{
	bool charged, fresh = true;

	if (!dev->has_key)
		return;
	if (d->p[0] == WG_MSG_COOKIE) {
		consume_cookie(dev, now, d);
		return;
	}
	if (!admit(dev, now, d, &charged))
		return;
	if (d->p[0] == WG_MSG_INITIATION)
		fresh = consume_initiation(dev, now, d);
	else
		consume_response(dev, now, d);
	if (charged && fresh)
		wg_load_give_back(&dev->load, &d->path->remote.ip);
}
