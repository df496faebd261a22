/* test/lib/wgwatch.c - see wgwatch.h. */
#include "test/lib/wgwatch.h"

#include "base/endian.h"
#include "wg/messages.h"
#include "wg/wg.h"

static struct wgwatch_key *find(struct wgwatch *w, uint32_t index)
{
	for (size_t i = w->n; i > 0 && i + WGWATCH_KEYS > w->n; i--)
		if (w->keys[(i - 1) % WGWATCH_KEYS].index == index)
			return &w->keys[(i - 1) % WGWATCH_KEYS];
	return NULL;
}

static struct wgwatch_key *offer(struct wgwatch *w, int to, uint32_t index)
{
	struct wgwatch_key *k = &w->keys[w->n++ % WGWATCH_KEYS];

	*k = (struct wgwatch_key){ .index = index, .to = to };
	return k;
}

static const char *check_response(struct wgwatch *w, int side, const struct wg_msg_response *m)
{
	struct wgwatch_key *init = find(w, get_le32(m->receiver)), *k;

	if (!init || init->to == side)
		return "a response to no initiation";
	init->by_responder = true;
	init->may_send = false;
	init->pair = get_le32(m->sender);
	k = offer(w, side, init->pair);
	k->pair = get_le32(m->receiver);
	return NULL;
}

static const char *check_data(struct wgwatch *w, int side, const struct wg_msg_data *m, size_t len)
{
	struct wgwatch_key *k = find(w, get_le32(m->receiver));
	size_t inner = len - WG_DATA_OVERHEAD, mtu = w->mtu ? w->mtu : WG_MTU_DEFAULT;

	if (!k || k->to == side)
		return "data under a key that was not offered";
	if (!k->may_send)
		return k->by_responder ? "data before confirmation" : "data before the response";
	if (get_le64(m->counter) < k->next_counter)
		return "a counter is used again";
	k->next_counter = get_le64(m->counter) + 1;
	if (inner > mtu)
		return "longer than the MTU";
	return inner % WG_PADDING != 0 && inner != mtu ? "not padded" : NULL;
}

const char *wgwatch_sent(struct wgwatch *w, int side, const uint8_t *p, size_t len)
{
	if (len == sizeof(struct wg_msg_initiation) && wg_type_is(p, WG_MSG_INITIATION))
		offer(w, side, get_le32(((const struct wg_msg_initiation *)p)->sender));
	else if (len == sizeof(struct wg_msg_response) && wg_type_is(p, WG_MSG_RESPONSE))
		return check_response(w, side, (const struct wg_msg_response *)p);
	else if (len >= WG_DATA_OVERHEAD && wg_type_is(p, WG_MSG_DATA))
		return check_data(w, side, (const struct wg_msg_data *)p, len);
	else if (len != sizeof(struct wg_msg_cookie) || !wg_type_is(p, WG_MSG_COOKIE))
		return "no message of the protocol";
	return NULL;
}

/* A test may carry a message by hand: then this is the first that is seen of it. */
static void learn(struct wgwatch *w, int side, const uint8_t *p, size_t len)
{
	bool init = len == sizeof(struct wg_msg_initiation) && wg_type_is(p, WG_MSG_INITIATION);
	bool resp = len == sizeof(struct wg_msg_response) && wg_type_is(p, WG_MSG_RESPONSE);

	/* Both have the sender's index behind the type. */
	if ((init || resp) && !find(w, get_le32(p + 4)))
		(void)wgwatch_sent(w, !side, p, len);
}

/* The key that @side may use from now on. */
void wgwatch_came(struct wgwatch *w, int side, const uint8_t *p, size_t len)
{
	struct wgwatch_key *k = NULL;

	learn(w, side, p, len);
	if (len == sizeof(struct wg_msg_response) && wg_type_is(p, WG_MSG_RESPONSE)) {
		k = find(w, get_le32(((const struct wg_msg_response *)p)->sender));
	} else if (len >= WG_DATA_OVERHEAD && wg_type_is(p, WG_MSG_DATA)) {
		k = find(w, get_le32(((const struct wg_msg_data *)p)->receiver));
		k = k && k->to == side && k->pair ? find(w, k->pair) : NULL;
	}
	if (k && k->to != side)
		k->may_send = true;
}
