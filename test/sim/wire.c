/*
 * test/sim/wire.c - see wire.h.
 *
 * A key is known by its receiver index: the node that chose the index chose it for one handshake, and indices are random.
 * The initiator may send once it has the response; the responder only after a data message of the initiator was delivered
 * to it. Initiations are opened with the addressee's private key, which the simulator has.
 */
#include "test/sim/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "wg/messages.h"
#include "wg/noise.h"

#define TAI64_BASE (0x400000000000000aULL)
static const uint8_t no_mac[WG_MAC_LEN];
#define SLACK (2 * NSEC_PER_SEC) /* a datagram is sealed when it is taken, and leaves a little later */

struct wire_key {
	uint32_t index;      /* chosen by @to */
	uint32_t pair_index; /* of the other direction */
	int from, to;
	bool by_responder, may_send;
	nsec_t born; /* for its sender */
	uint64_t next_counter;
	uint8_t *came; /* by counter: was it delivered? */
	size_t came_cap;
};

struct wire_init {
	uint32_t index;
	int from, to;
	uint32_t came_in, answered_in; /* incarnations of @to */
	bool proves; /* it carries a cookie's MAC2 */
};

static void *grow(void *items, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return items;
	*cap = *cap ? *cap * 2 : 64;
	items = realloc(items, *cap * size);
	ASSERT(items);
	return items;
}

static struct wire_key *find_key(struct wire *w, uint32_t index)
{
	for (size_t i = w->n_keys; i-- > 0;)
		if (w->keys[i].index == index)
			return &w->keys[i];
	return NULL;
}

static struct wire_init *find_init(struct wire *w, uint32_t index)
{
	for (size_t i = w->n_inits; i-- > 0;)
		if (w->inits[i].index == index)
			return &w->inits[i];
	return NULL;
}

static void add_key(struct wire *w, const struct wire_key *k)
{
	w->keys = grow(w->keys, w->n_keys, &w->keys_cap, sizeof(*w->keys));
	w->keys[w->n_keys++] = *k;
}

/* ---- places ---- */

static bool has_place(const struct wire_places *at, const struct endpoint *ep)
{
	for (size_t i = 0; i < at->n; i++)
		if (endpoint_equal(&at->at[i], ep))
			return true;
	return false;
}

static void add_place(struct wire_places *at, const struct endpoint *ep)
{
	if (has_place(at, ep))
		return;
	ASSERT(at->n < WIRE_PLACES);
	at->at[at->n++] = *ep;
}

static bool may_send_to(const struct wire *w, int node, int peer, const struct endpoint *ep)
{
	return has_place(&w->places[node][peer], ep);
}

/* A peer whose timestamp is refused is called back where it was and where it was heard. */
static bool may_call(const struct wire *w, int node, int peer, const struct endpoint *ep)
{
	return may_send_to(w, node, peer, ep) || has_place(&w->heard[node][peer], ep);
}

void wire_may_send_to(struct wire *w, int node, int peer, const struct endpoint *ep)
{
	add_place(&w->places[node][peer], ep);
}

static enum rule check_place(const struct wire *w, int from, int to, int peer, const struct endpoint *dst)
{
	if (to >= 0 && to != peer)
		return RULE_ADDRESSEE;
	return may_send_to(w, from, peer, dst) ? RULE_NONE : RULE_ROAM;
}

/* ---- sent ---- */

static enum rule open_initiation(struct wire *w, int from, int to, const struct wg_msg_initiation *m, uint64_t *ret_at)
{
	static const char prologue[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
	struct noise_static self;
	uint8_t key[KEY_LEN], t[WG_TIMESTAMP_LEN];
	struct noise n;

	memcpy(self.priv, w->priv[to]->b, KEY_LEN);
	memcpy(self.pub, w->pub[to].b, KEY_LEN);
	noise_start(&n, (struct bytes){ (const uint8_t *)prologue, sizeof(prologue) - 1 }, self.pub);
	if (!noise_read_1_static(&n, &self, m->ephemeral, m->static_key, key) ||
	    !noise_read_1_payload(&n, &self, key, NULL, (struct bytes){ m->timestamp, sizeof(m->timestamp) }, t))
		return RULE_INIT_OPEN;
	if (memcmp(key, w->pub[from].b, KEY_LEN) != 0)
		return RULE_INIT_KEY;
	*ret_at = (get_be64(t) - TAI64_BASE) * NSEC_PER_SEC + get_be32(t + 8);
	return RULE_NONE;
}

/* An initiation to the stranger's address does not show for whom it is. -1: for nobody who may be thought there */
static int who_can_open(struct wire *w, int from, const struct endpoint *dst, const struct wg_msg_initiation *m)
{
	uint64_t at;

	for (int peer = 0; peer < SIM_NODES; peer++)
		if (may_call(w, from, peer, dst) && open_initiation(w, from, peer, m, &at) == RULE_NONE)
			return peer;
	return -1;
}

static enum rule check_initiation(struct wire *w, nsec_t now, int from, int to, const struct endpoint *dst,
				  const struct wg_msg_initiation *m)
{
	uint64_t at;
	enum rule r = may_call(w, from, to, dst) ? RULE_NONE : RULE_ROAM;

	if (r == RULE_NONE)
		r = open_initiation(w, from, to, m, &at);
	if (r != RULE_NONE)
		return r;
	/* Called back. */
	if (memcmp(m, w->last_init[from], sizeof(*m)) == 0 && !endpoint_equal(dst, &w->last_dst[from])) {
		w->n_called_back++;
		return RULE_NONE;
	}
	if (at <= w->timestamp[from])
		return RULE_INIT_TIME;
	w->timestamp[from] = at;
	memcpy(w->last_init[from], m, sizeof(*m));
	w->last_dst[from] = *dst;
	/* A socket that was full lets them go in one burst. */
	if (w->initiated_in[from][to] == w->incarnation[from] && now - w->initiated_at[from][to] < 5 * NSEC_PER_SEC &&
	    now > w->stuck_until[from] + 5 * NSEC_PER_SEC)
		return RULE_INIT_RATE;
	if (find_key(w, get_le32(m->sender)) || find_init(w, get_le32(m->sender)))
		return RULE_INDEX;
	w->initiated_in[from][to] = w->incarnation[from];
	w->initiated_at[from][to] = now;
	w->inits = grow(w->inits, w->n_inits, &w->inits_cap, sizeof(*w->inits));
	w->inits[w->n_inits++] = (struct wire_init){ .index = get_le32(m->sender),
						     .from = from,
						     .to = to,
						     .proves = memcmp(m->macs.mac2, no_mac, sizeof(no_mac)) != 0 };
	w->n_crossed += w->initiated_at[to][from] && now - w->initiated_at[to][from] < 100 * NSEC_PER_MSEC;
	w->n_init++;
	return RULE_NONE;
}

static enum rule check_response(struct wire *w, nsec_t now, int from, int to, const struct endpoint *dst,
				const struct wg_msg_response *m)
{
	uint32_t responder = get_le32(m->sender), initiator = get_le32(m->receiver);
	struct wire_init *init = find_init(w, initiator);
	enum rule r;

	if (!init || init->to != from || init->came_in != w->incarnation[from])
		return RULE_RESPONSE_UNASKED;
	if (init->answered_in == w->incarnation[from])
		return RULE_RESPONSE_TWICE;
	if (find_key(w, responder) || find_init(w, responder))
		return RULE_INDEX;
	r = check_place(w, from, to, init->from, dst);
	if (r != RULE_NONE)
		return r;
	init->answered_in = w->incarnation[from];
	w->n_proven += init->proves;
	add_key(w, &(struct wire_key){ .from = init->from, .to = from, .index = responder, .pair_index = initiator });
	add_key(w, &(struct wire_key){ .from = from,
				       .to = init->from,
				       .index = initiator,
				       .pair_index = responder,
				       .by_responder = true,
				       .born = now });
	w->n_resp++;
	return RULE_NONE;
}

static enum rule check_key(const struct wire *w, nsec_t now, const struct wire_key *k, uint64_t counter)
{
	nsec_t slack = w->stuck_until[k->from] > k->born ? NSEC_NEVER / 2 : SLACK;

	if (!k->may_send)
		return k->by_responder ? RULE_CONFIRM : RULE_EARLY;
	if (counter < k->next_counter)
		return RULE_NONCE;
	return now - k->born > WG_REJECT_AFTER + slack ? RULE_EXPIRED : RULE_NONE;
}

static enum rule check_data(struct wire *w, nsec_t now, int from, int to, const struct endpoint *dst, const uint8_t *p,
			    size_t len)
{
	const struct wg_msg_data *m = (const struct wg_msg_data *)p;
	struct wire_key *k = find_key(w, get_le32(m->receiver));
	size_t inner = len - WG_DATA_OVERHEAD;
	enum rule r;

	if (!k || k->from != from)
		return RULE_NO_KEY;
	r = check_key(w, now, k, get_le64(m->counter));
	if (r == RULE_NONE)
		r = check_place(w, from, to, k->to, dst);
	if (r != RULE_NONE)
		return r;
	k->next_counter = get_le64(m->counter) + 1;
	if (inner > w->mtu[from])
		return RULE_LONG;
	if (inner % WG_PADDING != 0 && inner != w->mtu[from])
		return RULE_PADDING;
	w->n_data += inner > 0;
	w->n_keepalive += inner == 0;
	return RULE_NONE;
}

enum rule wire_sent(struct wire *w, nsec_t now, int from, int to, const struct endpoint *dst, const uint8_t *p,
		    size_t len)
{
	if (len == sizeof(struct wg_msg_initiation) && wg_type_is(p, WG_MSG_INITIATION)) {
		if (to < 0)
			to = who_can_open(w, from, dst, (const struct wg_msg_initiation *)p);
		return to < 0 ? RULE_ROAM : check_initiation(w, now, from, to, dst, (const struct wg_msg_initiation *)p);
	}
	if (len == sizeof(struct wg_msg_response) && wg_type_is(p, WG_MSG_RESPONSE))
		return check_response(w, now, from, to, dst, (const struct wg_msg_response *)p);
	if (len == sizeof(struct wg_msg_cookie) && wg_type_is(p, WG_MSG_COOKIE)) {
		w->n_cookie++;
		return w->load_is_possible ? RULE_NONE : RULE_COOKIE;
	}
	if (len >= WG_DATA_OVERHEAD && wg_type_is(p, WG_MSG_DATA))
		return check_data(w, now, from, to, dst, p, len);
	return RULE_SHAPE;
}

/* ---- delivered ---- */

static void initiation_came(struct wire *w, int to, const struct endpoint *src, const uint8_t *p)
{
	struct wire_init *init = find_init(w, get_le32(p + 4));

	if (!init || init->to != to)
		return;
	add_place(&w->heard[to][init->from], src);
	if (init->answered_in == w->incarnation[to])
		return;
	init->came_in = w->incarnation[to];
	wire_may_send_to(w, to, init->from, src);
}

static void response_came(struct wire *w, nsec_t now, int to, const struct endpoint *src, const uint8_t *p)
{
	struct wire_key *k = find_key(w, get_le32(p + 4));

	if (!k || k->from != to)
		return;
	if (!k->may_send) {
		w->n_rekeyed += w->derived_at[to][k->to] && now - w->derived_at[to][k->to] < WG_REJECT_AFTER;
		w->derived_at[to][k->to] = now;
		k->born = now;
	}
	k->may_send = true;
	wire_may_send_to(w, to, k->to, src);
}

/* Return: is it the first time? */
static bool note_came(struct wire_key *k, uint64_t counter)
{
	size_t cap = k->came_cap ? k->came_cap : 256;

	if (counter >= 1u << 20)
		return true;
	while (cap <= counter)
		cap *= 2;
	if (cap > k->came_cap) {
		k->came = realloc(k->came, cap);
		ASSERT(k->came);
		memset(k->came + k->came_cap, 0, cap - k->came_cap);
		k->came_cap = cap;
	}
	if (k->came[counter])
		return false;
	k->came[counter] = 1;
	return true;
}

static void data_came(struct wire *w, nsec_t now, int to, const struct endpoint *src, const uint8_t *p)
{
	struct wire_key *k = find_key(w, get_le32(p + 4)), *other;

	if (!k || k->to != to || !note_came(k, get_le64(p + 8)))
		return;
	wire_may_send_to(w, to, k->from, src);
	if (k->by_responder)
		return;
	other = find_key(w, k->pair_index);
	if (other && other->pair_index == k->index)
		other->may_send = true;
}

void wire_delivered(struct wire *w, nsec_t now, int to, const struct endpoint *src, const uint8_t *p, size_t len)
{
	if (len == sizeof(struct wg_msg_initiation) && wg_type_is(p, WG_MSG_INITIATION))
		initiation_came(w, to, src, p);
	else if (len == sizeof(struct wg_msg_response) && wg_type_is(p, WG_MSG_RESPONSE))
		response_came(w, now, to, src, p);
	else if (len >= WG_DATA_OVERHEAD && wg_type_is(p, WG_MSG_DATA))
		data_came(w, now, to, src, p);
}

bool wire_is_used_up(struct wire *w, int node, const uint8_t *p)
{
	const struct wire_init *init = wg_type_is(p, WG_MSG_INITIATION) ? find_init(w, get_le32(p + 4)) : NULL;

	return !wg_type_is(p, WG_MSG_INITIATION) || (init && init->answered_in == w->incarnation[node]);
}

void wire_fini(struct wire *w)
{
	for (size_t i = 0; i < w->n_keys; i++)
		free(w->keys[i].came);
	free(w->keys);
	free(w->inits);
}
