/*
 * test/sim/wire.c - see wire.h.
 *
 * A key is known by whom it addresses and by the receiver index: the node that chose the index chose it for one
 * handshake. The initiator may send once it has the response; the responder only after a data message of the
 * initiator was delivered to it. Initiations are opened with the addressee's private key, which the simulator has.
 */
#include "test/sim/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "wg/messages.h"
#include "wg/noise.h"

#define TAI64_BASE (0x400000000000000aULL)

struct wire_key {
	int to;
	uint32_t index;      /* of the addressee */
	uint32_t pair_index; /* of the sender: the other direction of the session */
	bool by_responder, may_send;
	uint64_t next_counter;
};

static struct wire_key *find(struct wire *w, int to, uint32_t index)
{
	for (size_t i = w->n_keys; i-- > 0;)
		if (w->keys[i].to == to && w->keys[i].index == index)
			return &w->keys[i];
	return NULL;
}

static void add(struct wire *w, const struct wire_key *k)
{
	if (w->n_keys == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 64;
		w->keys = realloc(w->keys, w->cap * sizeof(*w->keys));
		ASSERT(w->keys);
	}
	w->keys[w->n_keys++] = *k;
}

static const char *check_initiation(struct wire *w, int from, int to, const struct wg_msg_initiation *m)
{
	static const char prologue[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
	struct noise_static self;
	uint8_t key[KEY_LEN], t[WG_TIMESTAMP_LEN];
	struct noise n;
	uint64_t at;

	memcpy(self.priv, w->priv[to]->b, KEY_LEN);
	memcpy(self.pub, w->pub[to].b, KEY_LEN);
	noise_start(&n, (struct bytes){ (const uint8_t *)prologue, sizeof(prologue) - 1 }, self.pub);
	if (!noise_read_1_static(&n, &self, m->ephemeral, m->static_key, key) ||
	    !noise_read_1_payload(&n, &self, key, (struct bytes){ m->timestamp, sizeof(m->timestamp) }, t))
		return "an initiation that its addressee cannot open";
	if (memcmp(key, w->pub[from].b, KEY_LEN) != 0)
		return "an initiation with another's key";
	at = (get_be64(t) - TAI64_BASE) * NSEC_PER_SEC + get_be32(t + 8);
	if (at <= w->timestamp[from])
		return "initiation timestamp not greater than the last";
	w->timestamp[from] = at;
	w->n_init++;
	return NULL;
}

static const char *check_response(struct wire *w, int from, int to, const struct wg_msg_response *m)
{
	uint32_t responder = get_le32(m->sender), initiator = get_le32(m->receiver);

	if (find(w, from, responder))
		return "a receiver index used twice";
	add(w, &(struct wire_key){ .to = from, .index = responder, .pair_index = initiator });
	add(w, &(struct wire_key){ .to = to, .index = initiator, .pair_index = responder, .by_responder = true });
	w->n_resp++;
	return NULL;
}

static const char *check_data(struct wire *w, int to, const uint8_t *p, size_t len)
{
	const struct wg_msg_data *m = (const struct wg_msg_data *)p;
	struct wire_key *k = find(w, to, get_le32(m->receiver));
	size_t inner = len - WG_DATA_OVERHEAD;

	if (!k)
		return "data without a handshake";
	if (!k->may_send)
		return k->by_responder ? "data from a responder before the initiator's first" :
					 "data from an initiator before the response came";
	if (get_le64(m->counter) < k->next_counter)
		return "a nonce used twice, or counters that go back";
	k->next_counter = get_le64(m->counter) + 1;
	if (inner > w->mtu)
		return "an inner packet longer than the MTU";
	if (inner % WG_PADDING != 0 && inner != w->mtu)
		return "an inner packet that is not padded";
	w->n_data += inner > 0;
	w->n_keepalive += inner == 0;
	return NULL;
}

const char *wire_sent(struct wire *w, int from, int to, const uint8_t *p, size_t len)
{
	if (len == sizeof(struct wg_msg_initiation) && wg_type_is(p, WG_MSG_INITIATION))
		return check_initiation(w, from, to, (const struct wg_msg_initiation *)p);
	if (len == sizeof(struct wg_msg_response) && wg_type_is(p, WG_MSG_RESPONSE))
		return check_response(w, from, to, (const struct wg_msg_response *)p);
	if (len == sizeof(struct wg_msg_cookie) && wg_type_is(p, WG_MSG_COOKIE)) {
		w->n_cookie++;
		return NULL;
	}
	if (len >= WG_DATA_OVERHEAD && wg_type_is(p, WG_MSG_DATA))
		return check_data(w, to, p, len);
	return "no WireGuard message";
}

void wire_delivered(struct wire *w, int from, int to, const uint8_t *p, size_t len)
{
	const struct wg_msg_response *resp = (const struct wg_msg_response *)p;
	struct wire_key *k, *other;

	if (wg_type_is(p, WG_MSG_RESPONSE)) {
		k = find(w, from, get_le32(resp->sender));
		if (k)
			k->may_send = true;
	} else if (wg_type_is(p, WG_MSG_DATA)) {
		k = find(w, to, get_le32(p + 4));
		other = k && !k->by_responder ? find(w, from, k->pair_index) : NULL;
		if (other && other->pair_index == k->index)
			other->may_send = true;
	}
}

void wire_fini(struct wire *w)
{
	free(w->keys);
}
