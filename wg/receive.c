/*
 * wg/receive.c - from datagrams to inner packets.
 *
 * Data messages are collected, opened as one batch straight from the receive slot into packet buffers, and then judged one by
 * one in order: authentic, counter new, then (and only then) roaming, timers and key confirmation, then the inner
 * source address. A handshake message in between ends the batch first, so that it sees the effect of what came before.
 */
#include <string.h>

#include "base/endian.h"
#include "wg/device_internal.h"

#define BATCH 64

struct opening {
	const struct wg_datagram *d;
	struct wg_keypair *kp;
	uint64_t counter;
	struct pktbuf *pb;
};

struct batch {
	struct opening items[BATCH];
	struct wg_aead_job jobs[BATCH];
	size_t n;
};

/* Length by the inner header, which cuts the padding off; false when it is no packet or longer than what came. */
static bool inner_len(const uint8_t *p, size_t have, size_t *ret_len, struct ip_addr *ret_src)
{
	*ret_src = (struct ip_addr){ 0 };
	if (have >= 20 && p[0] >> 4 == 4) {
		*ret_len = get_be16(p + 2);
		ret_src->family = IP_V4;
		memcpy(ret_src->b, p + 12, 4);
		return *ret_len >= 20 && *ret_len <= have;
	}
	if (have >= 40 && p[0] >> 4 == 6) {
		*ret_len = 40u + get_be16(p + 4);
		ret_src->family = IP_V6;
		memcpy(ret_src->b, p + 8, 16);
		return *ret_len <= have;
	}
	return false;
}

static void deliver(struct wg_device *dev, struct pktbuf *pb)
{
	pb->next = NULL;
	*dev->rx_last = pb;
	dev->rx_last = &pb->next;
}

/* 6.2: the initiator renews a session that it only receives on before the session ends. */
static void keep_key_fresh(struct wg_peer *peer, nsec_t now)
{
	const struct wg_keypair *kp = peer->current;

	if (peer->sent_lastminute || !kp || !kp->initiator ||
	    now - kp->born < wg_scaled(peer->dev, WG_REKEY_AFTER_RECV))
		return;
	peer->sent_lastminute = true;
	wg_handshake_initiate(peer, now, false);
}

/* The packet is authentic and new. */
static void accept_from(struct wg_peer *peer, nsec_t now, const struct opening *o)
{
	peer->rx_bytes += o->d->len;
	wg_peer_roam(peer, o->d->path);
	if (wg_session_confirm(peer, o->kp, now)) {
		wg_timers_handshake_complete(peer, now);
		wg_send_staged(peer, now);
		wg_peer_tell_state(peer, now);
	}
	keep_key_fresh(peer, now);
	wg_timers_authenticated_received(peer, now);
}

/* Return: was the buffer passed on? */
static bool judge(struct wg_device *dev, nsec_t now, struct opening *o, bool authentic)
{
	struct wg_peer *peer = o->kp->peer;
	struct ip_addr src;
	size_t len;

	if (!authentic) {
		peer->n_auth_failed++;
		return false;
	}
	if (o->kp->dead || now - o->kp->born >= wg_scaled(dev, WG_REJECT_AFTER))
		return false;
	if (!wg_replay_accept(&o->kp->replay, o->counter)) {
		peer->n_replayed++;
		return false;
	}
	accept_from(peer, now, o);
	if (o->pb->len == 0)
		return false; /* a keepalive */
	wg_timers_data_received(peer, now);
	if (!inner_len(o->pb->data, o->pb->len, &len, &src) ||
	    wg_allowedips_lookup(&dev->allowed, &src) != peer) {
		peer->n_bad_source++;
		return false;
	}
	o->pb->len = (uint16_t)len;
	memcpy(o->pb->priv, &peer->id, sizeof(peer->id));
	deliver(dev, o->pb);
	return true;
}

static void flush(struct wg_device *dev, nsec_t now, struct batch *b)
{
	if (b->n == 0)
		return;
	dev->aead->open(b->jobs, b->n, 0);
	for (size_t i = 0; i < b->n; i++)
		if (!judge(dev, now, &b->items[i], b->jobs[i].ok))
			pktbuf_free(b->items[i].pb);
	b->n = 0;
}

static void collect(struct wg_device *dev, nsec_t now, struct batch *b, const struct wg_datagram *d)
{
	const struct wg_msg_data *msg = (const struct wg_msg_data *)d->p;
	struct wg_index_entry *e = wg_index_find(dev, get_le32(msg->receiver));
	struct opening *o = &b->items[b->n];
	size_t plain = d->len - WG_DATA_OVERHEAD;

	if (!e || !e->keypair || plain > PKTBUF_DATA) {
		dev->stats.n_rx_unknown++;
		return;
	}
	*o = (struct opening){ .d = d, .kp = e->keypair, .counter = get_le64(msg->counter) };
	/* A cheap look before the work; the binding one comes after authentication. */
	if (!wg_replay_check(&o->kp->replay, o->counter)) {
		e->peer->n_replayed++;
		return;
	}
	o->pb = pktbuf_alloc(dev->cfg.pool, &e->peer->owner);
	if (!o->pb) {
		dev->stats.n_rx_no_buffer++;
		return;
	}
	o->pb->len = (uint16_t)plain;
	b->jobs[b->n] = (struct wg_aead_job){ .key = o->kp->keys.recv,
					      .counter = o->counter,
					      .src = d->p + sizeof(*msg),
					      .dst = o->pb->data,
					      .len = d->len - sizeof(*msg) };
	if (++b->n == BATCH)
		flush(dev, now, b);
}

/* 0 when it is no message of ours. */
static enum wg_message_type classify(const struct wg_datagram *d)
{
	if (d->len == sizeof(struct wg_msg_initiation) && wg_type_is(d->p, WG_MSG_INITIATION))
		return WG_MSG_INITIATION;
	if (d->len == sizeof(struct wg_msg_response) && wg_type_is(d->p, WG_MSG_RESPONSE))
		return WG_MSG_RESPONSE;
	if (d->len == sizeof(struct wg_msg_cookie) && wg_type_is(d->p, WG_MSG_COOKIE))
		return WG_MSG_COOKIE;
	if (d->len >= WG_DATA_OVERHEAD && wg_type_is(d->p, WG_MSG_DATA))
		return WG_MSG_DATA;
	return (enum wg_message_type)0;
}

void wg_device_input(struct wg_device *dev, nsec_t now, const struct wg_datagram *d, size_t n)
{
	struct batch b;

	b.n = 0;
	dev->clock = now;
	for (size_t i = 0; i < n; i++) {
		switch (classify(&d[i])) {
		case WG_MSG_DATA:
			collect(dev, now, &b, &d[i]);
			break;
		case WG_MSG_INITIATION:
		case WG_MSG_RESPONSE:
		case WG_MSG_COOKIE:
			flush(dev, now, &b);
			wg_handshake_input(dev, now, &d[i]);
			break;
		default:
			dev->stats.n_rx_unknown++;
		}
	}
	flush(dev, now, &b);
	wg_session_bury(dev);
}

bool wg_device_next_rx(struct wg_device *dev, struct wg_rx *ret)
{
	struct pktbuf *pb = dev->rx_first;

	if (!pb)
		return false;
	dev->rx_first = pb->next;
	if (!dev->rx_first)
		dev->rx_last = &dev->rx_first;
	pb->next = NULL;
	ret->pb = pb;
	memcpy(&ret->peer, pb->priv, sizeof(ret->peer));
	return true;
}
